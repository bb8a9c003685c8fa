"""Machines behind the Tmetr telemetry: its HTTP API has a drink made, and never says whether it was.

The order's id at the telemetry is chosen once, with the order. A call whose outcome is unknown is not made again:
nothing says that the telemetry recognises an order that it has passed on already.
"""

import time
from collections import OrderedDict
from datetime import UTC, datetime

from device_bridge.domain.drivers import Answer, BrewInstruction, DriverPolicy, Handed, Target, not_sent
from device_bridge.drivers.mqtt.profiles import address_id
from device_bridge.drivers.tmetr import mapping
from device_bridge.drivers.tmetr.client import Fault, TmetrClient, TmetrError

POLICY = DriverPolicy(
    completion_signal=False,
    deadline_policy="assume_success",
    repeatable=False,
    revocable=False,
    reports_state=True,
    through="worker",
)
"""The telemetry's answer is the machine's consent; heartbeats are asked for by `poller.py`."""
_DRINKS_KEPT_MAX = 10_000
_DRINK_KEPT_S = 300.0
_HANDED = {
    Fault.NOT_EXECUTED: Handed.UNREACHABLE,
    Fault.REFUSED: Handed.REJECTED,
    Fault.UNKNOWN: Handed.UNKNOWN,
}


class TmetrDriver:
    """Looks the drink up, and has it made."""

    policy = POLICY

    def __init__(self, client: TmetrClient | None) -> None:
        self._client = client
        self._drinks: OrderedDict[tuple[str, str, str], tuple[float, str]] = OrderedDict()

    async def brew(self, target: Target, instruction: BrewInstruction) -> Answer:
        """Ask for the telemetry's id of the drink, then for the cup; only the second call moves anything."""
        if self._client is None:
            return Answer(Handed.UNREACHABLE, "telemetry", "no telemetry is configured")
        try:
            device = address_id(target.device_id, target.address)
        except ValueError as error:
            return not_sent(instruction, "address", str(error))
        offset = mapping.hours_offset(target.time_zone, datetime.now(UTC))
        try:
            drink = await self._drink_id(device, instruction.drink_id, instruction.size, offset)
        except TmetrError as error:
            # Nothing was handed on yet, whatever became of the question.
            handed = Handed.REJECTED if error.fault is Fault.REFUSED else Handed.UNREACHABLE
            return Answer(handed, error.code, "the drink could not be looked up")
        try:
            await self._client.make(
                device=device,
                order=instruction.machine_order_id or str(instruction.order_id),
                drink=drink,
                size=mapping.size_made(instruction.size),
                price_minor=instruction.price_minor,
                offset=offset,
            )
        except TmetrError as error:
            return Answer(_HANDED[error.fault], error.code, "command/make")
        return Answer(Handed.ACCEPTED)

    async def revoke(self, target: Target, instruction: BrewInstruction) -> Answer:
        """There is no such call."""
        return not_sent(instruction, "not_revocable", revoking=True)

    async def _drink_id(self, device: str, drink: str, size: str, offset: str) -> str:
        key = (device, drink, size)
        known = self._drinks.get(key)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        assert self._client is not None  # noqa: S101 - asked for by `brew` only, which has looked
        document = await self._client.drink(device=device, drink=drink, size=mapping.size_asked(size), offset=offset)
        found = document.get("drink_id") or document.get("drinkId")
        if not isinstance(found, str) or not found:
            raise TmetrError(Fault.REFUSED, "unknown_drink")
        self._drinks[key] = (time.monotonic() + _DRINK_KEPT_S, found)
        while len(self._drinks) > _DRINKS_KEPT_MAX:
            self._drinks.popitem(last=False)
        return found
