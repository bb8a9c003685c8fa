"""What a coffee machine and the platform say to each other over MQTT: topics, payloads and signatures, version 1.

| topic | who publishes | QoS, retained | payload |
|---|---|---|---|
| `cm/v1/<device>/cmd/<command_id>` | platform | 1, no | `MachineCommand`, signed |
| `cm/v1/<device>/ack/<command_id>` | machine | 1, no | `MachineAck`, repeated until it is confirmed |
| `cm/v1/<device>/ack/<command_id>/ok` | platform | 1, no | `AckConfirmation`, after the platform's commit |
| `cm/v1/<device>/state` | machine, and its Will | 1, yes | `MachineState` |
| `cm/v1/<device>/heartbeat` | machine, each 30 s | 0, no | `MachineHeartbeat` |
| `cm/v1/<device>/telemetry` | machine | 1, no | `MachineTelemetry` |

Moments are whole milliseconds of the Unix epoch (the signed link, which travels in a QR code, has whole seconds).
Payloads are JSON; fields are only ever added. A machine keeps the ids of its last `COMMANDS_REMEMBERED` commands,
answers a repeated one with what it said of it last, and refuses what has expired (`rejected`, `expired`) or is signed
with another key (`rejected`, `bad_signature`).
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from copeck.contracts.base import AmountMinorOrZero, ContractError, Currency

ROOT = "cm/v1"
VERSION = 1
HEARTBEAT_INTERVAL_S = 30
OFFLINE_AFTER_S = 90
"""A machine whose last heartbeat is older than this counts as off."""
COMMANDS_REMEMBERED = 256
LINK_MAX_AGE_S = 600
LINK_MAX_AHEAD_S = 120
PAYLOAD_BYTES_MAX = 16 * 1024

DEVICE_PATTERN = r"^[A-Za-z0-9_-]{3,40}$"
_DEVICE = re.compile(DEVICE_PATTERN)
_MOMENT_MS_MAX = 253_402_300_799_999

DeviceId = Annotated[str, Field(pattern=DEVICE_PATTERN)]
DrinkId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Size = Literal["small", "medium", "large"]
MomentMs = Annotated[int, Field(ge=0, le=_MOMENT_MS_MAX)]
Code = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_.-]*$")]
CommandKind = Literal["brew", "revoke"]
AckState = Literal["accepted", "started", "done", "failed", "rejected", "revoked"]
ReportedState = Literal["ready", "busy", "error", "sold_out", "off"]
Heard = Literal["ack", "state", "heartbeat", "telemetry"]


class MachineMessage(BaseModel):
    """The base of every payload: strict types, unknown fields ignored, so that a newer writer is understood."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    v: Literal[1] = 1

    def payload(self) -> bytes:
        """Return the bytes to publish."""
        return self.model_dump_json().encode()


class MachineCommand(MachineMessage):
    """Brew a drink, or forget a brew command that has not started. `command_id` is the key of idempotency.

    A `revoke` has the id and every other field of the command that it takes back; only `kind`, the moments and the
    signature differ. A machine that has not seen the command yet remembers it as revoked all the same.
    """

    kind: CommandKind
    command_id: UUID
    order_id: UUID
    drink: DrinkId
    size: Size
    price_minor: AmountMinorOrZero
    currency: Currency
    issued_at: MomentMs
    expires_at: MomentMs
    sig: Annotated[str, Field(max_length=64)] = ""

    def canonical(self, device: str) -> bytes:
        """Return the bytes that are signed: every field in order, one a line, bound to one machine."""
        parts = (
            ROOT, device, self.kind, self.command_id, self.order_id, self.drink, self.size, self.price_minor,
            self.currency, self.issued_at, self.expires_at,
        )  # fmt: skip
        return "\n".join(map(str, parts)).encode()

    def signed(self, key: bytes, device: str) -> "MachineCommand":
        """Return the command with its signature by the machine's key."""
        return self.model_copy(update={"sig": _hmac(key, self.canonical(device))})

    def is_signed_by(self, key: bytes, device: str) -> bool:
        """Tell whether the signature is of this key and this machine."""
        return hmac.compare_digest(_hmac(key, self.canonical(device)).encode(), self.sig.encode())


class MachineAck(MachineMessage):
    """What a machine says of one command. `n` counts its reports, so that a confirmation names one of them."""

    command_id: UUID
    state: AckState
    code: Code = ""
    at: MomentMs
    n: Annotated[int, Field(ge=0, le=2**53)] = 0


class AckConfirmation(MachineMessage):
    """The platform has committed the report number `n`: the machine need not repeat it."""

    n: Annotated[int, Field(ge=0, le=2**53)]


class MachineState(MachineMessage):
    """What a machine is, retained; its Will says only that it is not online. `sold_out` lists drinks with sizes."""

    online: bool
    state: ReportedState = "off"
    error: Code = ""
    sold_out: Annotated[list[tuple[DrinkId, Size]], Field(max_length=200, strict=False)] = Field(default_factory=list)
    at: MomentMs = 0


class MachineHeartbeat(MachineMessage):
    """The machine is alive. `at` is its own clock, which may be wrong."""

    at: MomentMs = 0


class TelemetryPrice(BaseModel):
    """The price of one drink in one size, as the machine has it; 0 means that it does not know."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    drink: DrinkId
    size: Size
    price_minor: AmountMinorOrZero


class MachineTelemetry(MachineMessage):
    """Prices that are set in the machine."""

    prices: Annotated[list[TelemetryPrice], Field(max_length=200)]


@dataclass(frozen=True, slots=True)
class HeardTopic:
    """A topic that a machine writes to, taken apart; `command_id` is there for `ack` only."""

    device: str
    heard: Heard
    command_id: UUID | None = None


SUBSCRIPTIONS: tuple[tuple[str, int], ...] = (
    (f"{ROOT}/+/ack/+", 1),
    (f"{ROOT}/+/state", 1),
    (f"{ROOT}/+/telemetry", 1),
    (f"{ROOT}/+/heartbeat", 0),
)
"""What the platform listens to, with the quality of service that it asks for."""

_HEARD: dict[str, Heard] = {"state": "state", "heartbeat": "heartbeat", "telemetry": "telemetry"}


def command_topic(device: str, command_id: UUID | str) -> str:
    """Return where a command is published; `+` in place of the id is what the machine subscribes to."""
    return f"{ROOT}/{device}/cmd/{command_id}"


def ack_topic(device: str, command_id: UUID | str) -> str:
    """Return where a machine reports on a command."""
    return f"{ROOT}/{device}/ack/{command_id}"


def confirmation_topic(device: str, command_id: UUID | str) -> str:
    """Return where the platform confirms a report; `+` in place of the id is what the machine subscribes to."""
    return f"{ROOT}/{device}/ack/{command_id}/ok"


def state_topic(device: str) -> str:
    """Return where a machine's state is retained."""
    return f"{ROOT}/{device}/state"


def heartbeat_topic(device: str) -> str:
    """Return where a machine's heartbeats go."""
    return f"{ROOT}/{device}/heartbeat"


def telemetry_topic(device: str) -> str:
    """Return where a machine publishes its prices."""
    return f"{ROOT}/{device}/telemetry"


def read_topic(topic: str) -> HeardTopic:
    """Take a topic apart that a machine wrote to; ContractError when it is none of ours."""
    parts = topic.split("/")
    if parts[:2] != ["cm", "v1"] or len(parts) not in (4, 5) or not _DEVICE.fullmatch(parts[2]):
        raise ContractError(f"no machine writes to {topic!r}")
    if len(parts) == 4 and (heard := _HEARD.get(parts[3])):
        return HeardTopic(parts[2], heard)
    if len(parts) == 5 and parts[3] == "ack":
        try:
            return HeardTopic(parts[2], "ack", UUID(parts[4]))
        except ValueError as error:
            raise ContractError(f"{parts[4]!r} is no command's id") from error
    raise ContractError(f"no machine writes to {topic!r}")


M = TypeVar("M", bound=MachineMessage)


def read_payload(model: type[M], payload: bytes) -> M:
    """Read a payload by its contract; ContractError says what is wrong with it, without its values."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ContractError(f"a payload of {len(payload)} bytes is too long")
    try:
        return model.model_validate_json(payload)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()[:5])
        raise ContractError(faults) from error


def sign_link(key: bytes, *, device: str, drink: str, size: str, order: str, ts: int) -> str:
    """Return the signature of the link that a machine shows: the machine's order id, and Unix seconds."""
    return _hmac(key, "\n".join((device, drink, size, order, str(ts))).encode())


def is_link_signed_by(key: bytes, *, device: str, drink: str, size: str, order: str, ts: int, sig: str) -> bool:
    """Tell whether a link's signature is of this key; whether it is too old is `LINK_MAX_AGE_S`'s question."""
    return hmac.compare_digest(
        sign_link(key, device=device, drink=drink, size=size, order=order, ts=ts).encode(), sig.encode()
    )


def _hmac(key: bytes, message: bytes) -> str:
    return hmac.new(key, message, hashlib.sha256).hexdigest()
