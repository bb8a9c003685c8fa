"""Our own contract over MQTT, on any broker that has a profile."""

from datetime import UTC, datetime
from typing import Protocol

from copeck.contracts.machines import CommandKind, MachineCommand
from device_bridge.domain.drivers import NOT_TAKEN, Answer, BrewInstruction, DriverPolicy, Handed, Target, not_sent
from device_bridge.drivers.mqtt.link import NotConnectedError, NotTakenError, OutcomeUnknownError
from device_bridge.drivers.mqtt.profiles import PROFILES

POLICY = DriverPolicy(completion_signal=True, repeatable=True, revocable=True, reports_state=True, through="loop")
"""The machine answers everything by itself, recognises a repeated command, and can be asked to forget one."""
REVOKE_EXPIRES_S = 600


class Publisher(Protocol):
    """What drivers need of the connections to brokers."""

    async def publish(
        self,
        broker: str,
        topic: str,
        payload: bytes,
        *,
        expires_in_s: float | None = None,
        timeout_s: float = 5.0,
        needs_reader: bool = False,
    ) -> None:
        """Publish with quality of service 1; NotSentError and OutcomeUnknownError as in `link.py`."""
        ...


class MqttDriver:
    """Publishes signed commands; what machines say to them comes back through the loop, not as an answer."""

    policy = POLICY

    def __init__(self, publisher: Publisher, broker: str = "own") -> None:
        self._publisher = publisher
        self._broker = broker
        self._profile = PROFILES[broker]

    async def brew(self, target: Target, instruction: BrewInstruction) -> Answer:
        """Publish the command; the broker throws it away when it has expired before the machine came for it."""
        return await self._publish("brew", target, instruction)

    async def revoke(self, target: Target, instruction: BrewInstruction) -> Answer:
        """Publish the revocation, which outlives the command: a machine that comes later must not brew it either."""
        return await self._publish("revoke", target, instruction)

    async def _publish(self, kind: CommandKind, target: Target, instruction: BrewInstruction) -> Answer:
        now = datetime.now(UTC)
        command = MachineCommand(
            kind=kind,
            command_id=instruction.command_id,
            order_id=instruction.order_id,
            drink=instruction.drink_id,
            size=instruction.size,  # type: ignore[arg-type] # checked by the contract
            price_minor=instruction.price_minor,
            currency=instruction.currency,
            issued_at=_ms(instruction.issued_at),
            expires_at=_ms(instruction.expires_at),
        ).signed(target.key, target.device_id)
        left_s = (instruction.expires_at - now).total_seconds() if kind == "brew" else REVOKE_EXPIRES_S
        if left_s <= 0:
            return not_sent(instruction, "expired", "its time was over before it was sent")
        try:
            topic = self._profile.command_topic(target.device_id, target.address, instruction.command_id)
        except ValueError as error:
            return not_sent(instruction, "address", str(error), revoking=kind == "revoke")
        return await publish(self._publisher, self._broker, topic, command.payload(), left_s)


async def publish(
    publisher: Publisher,
    broker: str,
    topic: str,
    payload: bytes,
    expires_in_s: float | None,
    *,
    needs_reader: bool = False,
) -> Answer:
    """Publish and say what became of it, in the port's words."""
    try:
        await publisher.publish(broker, topic, payload, expires_in_s=expires_in_s, needs_reader=needs_reader)
    except NotConnectedError as error:
        return Answer(Handed.UNREACHABLE, "broker", f"broker {error} is not connected")
    except NotTakenError as error:
        return Answer(Handed.UNREACHABLE, NOT_TAKEN, str(error)[:200])
    except OutcomeUnknownError as error:
        return Answer(Handed.UNKNOWN, "broker", str(error)[:200])
    return Answer(Handed.SENT)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
