"""Brokers by profile: how the contract's messages are addressed there, and what the broker can do. Pure.

On our own broker the topics are the contract's. At Yandex IoT Core a device has its own branches,
`$devices/<id>/commands` and `$devices/<id>/events`, and what the contract has behind the machine's name comes behind
them.
"""

from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from copeck.contracts import machines
from copeck.contracts.base import ContractError

FRAME_ROOT = "technical"
EVENTS = "events"
CONTROL_RESPONSES = "$CONTROL/dynamic-security/v1/response"
"""Where our broker answers requests about accounts."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard, and from whom: `machine` is our device's id, or the broker's own name of it if `foreign`."""

    machine: str
    heard: machines.Heard
    command_id: UUID | None = None
    foreign: bool = False


class Profile(Protocol):
    """A broker's way of addressing."""

    @property
    def name(self) -> str:
        """The profile's name, as drivers and metrics call it."""
        ...

    @property
    def modern(self) -> bool:
        """It speaks MQTT 5: a message may expire by itself, a session too."""
        ...

    @property
    def subscriptions(self) -> tuple[tuple[str, int], ...]:
        """What is listened to, with the quality of service."""
        ...

    def command_topic(self, device_id: str, address: dict[str, Any], command_id: UUID) -> str:
        """Return where a command for a machine goes; ValueError when its address is not complete."""
        ...

    def confirmation_topic(self, machine: str, command_id: UUID) -> str:
        """Return where a report is confirmed, to the machine as `Heard` names it."""
        ...

    def read_topic(self, topic: str) -> Heard:
        """Take a topic apart; ContractError when no machine writes to it."""
        ...


class OwnBroker:
    """The contract's own topics; the older machines' branch beside them, where every message is a sign of life."""

    name = "own"
    modern = True
    subscriptions = (*machines.SUBSCRIPTIONS, (f"{FRAME_ROOT}/+/{EVENTS}", 0), (CONTROL_RESPONSES, 1))

    def command_topic(self, device_id: str, address: dict[str, Any], command_id: UUID) -> str:
        """The contract's topic."""
        return machines.command_topic(device_id, command_id)

    def confirmation_topic(self, machine: str, command_id: UUID) -> str:
        """The contract's topic."""
        return machines.confirmation_topic(machine, command_id)

    def read_topic(self, topic: str) -> Heard:
        """Read the contract's topics, and `technical/<device>/events`."""
        parts = topic.split("/")
        if len(parts) == 3 and parts[0] == FRAME_ROOT and parts[2] == EVENTS:
            return Heard(parts[1], "heartbeat")
        heard = machines.read_topic(topic)
        return Heard(heard.device, heard.heard, heard.command_id)


class YandexBroker:
    """Yandex IoT Core, as the registry: `$devices/<id>/commands/…` to machines, `$devices/<id>/events/…` from them.

    A machine's address is `{"id": "<its id there>"}`. There is no retained message on these topics: a machine says its
    state when it connects and when it changes, and silence of 90 s counts as off.
    """

    name = "yandex"
    modern = False
    subscriptions = (("$devices/+/events/#", 1),)

    def command_topic(self, device_id: str, address: dict[str, Any], command_id: UUID) -> str:
        """The commands of the device's own branch."""
        return f"$devices/{address_id(device_id, address)}/commands/cmd/{command_id}"

    def confirmation_topic(self, machine: str, command_id: UUID) -> str:
        """Also a command of the device's branch: the registry has no other topic to write to."""
        return f"$devices/{machine}/commands/ack/{command_id}/ok"

    def read_topic(self, topic: str) -> Heard:
        """Read `$devices/<id>/events/{ack/<command>,state,heartbeat,telemetry}`; a bare event is a sign of life."""
        parts = topic.split("/")
        if len(parts) < 3 or parts[0] != "$devices" or parts[2] != EVENTS:
            raise ContractError(f"no machine writes to {topic!r}")
        said = parts[3:]
        if not said:
            return Heard(parts[1], "heartbeat", foreign=True)
        try:
            # The contract's own reading, with a name in place of the broker's, which is not bound to our alphabet.
            heard = machines.read_topic("/".join((machines.ROOT, "machine", *said)))
        except ContractError:
            raise ContractError(f"no machine writes to {topic!r}") from None
        return Heard(parts[1], heard.heard, heard.command_id, foreign=True)


def address_id(device_id: str, address: dict[str, Any]) -> str:
    """Return a machine's own id at a foreign broker or telemetry; ValueError when the address lacks it."""
    found = address.get("id")
    if not isinstance(found, str) or not found or len(found) > 128 or any(sign in found for sign in "/+# \x00"):
        raise ValueError(f"the address of {device_id} needs an id")
    return found


PROFILES: dict[str, Profile] = {"own": OwnBroker(), "yandex": YandexBroker()}
