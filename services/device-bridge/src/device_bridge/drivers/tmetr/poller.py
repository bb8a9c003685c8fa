"""Asks the telemetry what it never says by itself: which machines are alive, and what their drinks cost."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from copeck.observability.metrics import Counter
from copeck.storage.errors import is_transient
from device_bridge.drivers.tmetr import mapping
from device_bridge.drivers.tmetr.client import ROWS_MAX, Fault, TmetrClient, TmetrError
from device_bridge.handlers import reports
from device_bridge.store import foreign

if TYPE_CHECKING:
    from device_bridge.handlers.context import Context

log = logging.getLogger(__name__)

ASKED = Counter(
    "copeck_telemetry_asked_total", "Questions to the telemetry, by what became of them", ["what", "outcome"]
)
MODEL = "tmetr"


class TelemetryPoller:
    """A part of the process: runs until it is stopped."""

    def __init__(self, context: "Context", client: TmetrClient) -> None:
        self._context = context
        self._client = client
        self._stopping = asyncio.Event()
        self._priced = ""

    async def run(self) -> None:
        """Ask for heartbeats often and for prices now and then, until `stop`.

        Each in a task of its own: a machine must not count as off because another one's prices take long.
        """
        settings = self._context.settings
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self._again(self._round_of_heartbeats, settings.tmetr_heartbeats_s))
                parts.create_task(self._again(self._round_of_prices, settings.tmetr_prices_s))
        finally:
            await self._client.close()

    async def _again(self, ask: Callable[[], Awaitable[None]], every_s: float) -> None:
        """Ask until `stop`; what fails is asked again next time."""
        while not self._stopping.is_set():
            try:
                await ask()
            except Exception as error:
                if not is_transient(error):
                    log.exception("the telemetry's answers could not be written down")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await self._stopping.wait()

    async def _round_of_heartbeats(self) -> None:
        await self.ask_heartbeats(await self._machines())

    async def _round_of_prices(self) -> None:
        """Ask for prices no longer than until the next round is due; that one goes on behind the last machine asked."""
        machines = await self._machines()
        start = next((n for n, machine in enumerate(machines) if machine.device_id > self._priced), 0)
        try:
            async with asyncio.timeout(self._context.settings.tmetr_prices_s):
                await self.ask_prices(machines[start:] + machines[:start])
        except TimeoutError:
            log.warning("the telemetry has no time for all prices; those behind %s come next", self._priced)

    async def stop(self) -> None:
        """End after the questions under way."""
        self._stopping.set()

    async def _machines(self) -> list[foreign.ForeignMachine]:
        async with self._context.database.transaction() as tx:
            return await foreign.machines(tx, MODEL)

    async def ask_heartbeats(self, machines: list[foreign.ForeignMachine]) -> None:
        """Note the machines whose heartbeat at the telemetry is recent."""
        for start in range(0, len(machines), ROWS_MAX):
            some = machines[start : start + ROWS_MAX]
            try:
                document = await self._client.heartbeats([machine.foreign_id for machine in some])
            except TmetrError as error:
                ASKED.labels("heartbeats", error.fault.value).inc()
                continue
            ASKED.labels("heartbeats", "done").inc()
            alive = mapping.alive(document, self._context.clock.now())
            if found := [machine.device_id for machine in some if machine.foreign_id in alive]:
                await reports.on_heartbeats(self._context, found)

    async def ask_prices(self, machines: list[foreign.ForeignMachine]) -> None:
        """Note the prices of every drink; one that is not known is noted as that."""
        for machine in machines:
            self._priced = machine.device_id
            offset = mapping.hours_offset(machine.time_zone, self._context.clock.now())
            prices = []
            for drink, size in machine.drinks:
                if self._stopping.is_set():
                    return
                price = await self._price(machine.foreign_id, drink, size, offset)
                if price is not None:
                    prices.append((drink, size, price))
            if prices:
                await reports.on_prices(self._context, machine.device_id, prices)

    async def _price(self, device: str, drink: str, size: str, offset: str) -> int | None:
        try:
            document = await self._client.drink(
                device=device, drink=drink, size=mapping.size_asked(size), offset=offset
            )
        except TmetrError as error:
            ASKED.labels("price", error.fault.value).inc()
            return 0 if error.fault is Fault.REFUSED else None
        ASKED.labels("price", "done").inc()
        return mapping.price_of(document)
