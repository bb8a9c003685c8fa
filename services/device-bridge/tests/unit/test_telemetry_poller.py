"""The telemetry's poller: prices that take long hold up neither heartbeats nor other machines' prices."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from copeck.kernel.clock import SystemClock
from device_bridge.drivers.tmetr.poller import TelemetryPoller
from device_bridge.store.foreign import ForeignMachine

pytestmark = pytest.mark.unit


class Telemetry:
    """Answers for heartbeats at once, and for prices never."""

    def __init__(self) -> None:
        self.heartbeats_asked = 0
        self.prices_asked: list[str] = []
        self.closed = False
        self.heard = asyncio.Condition()

    async def heartbeats(self, _ids: list[str]) -> dict[str, Any]:
        async with self.heard:
            self.heartbeats_asked += 1
            self.heard.notify_all()
        return {"content": []}

    async def drink(self, *, device: str, **_: Any) -> dict[str, Any]:
        async with self.heard:
            self.prices_asked.append(device)
            self.heard.notify_all()
        await asyncio.Event().wait()
        return {}

    async def close(self) -> None:
        self.closed = True


async def test_heartbeats_are_asked_whatever_the_prices_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect: a telemetry that was slow with prices made every machine count as off."""
    telemetry: Any = Telemetry()
    settings = SimpleNamespace(tmetr_heartbeats_s=0.01, tmetr_prices_s=0.03)
    context: Any = SimpleNamespace(settings=settings, clock=SystemClock())
    poller = TelemetryPoller(context, telemetry)
    machines = [ForeignMachine(f"kofe-{n}", f"tm-{n}", "UTC", (("latte", "small"),)) for n in (1, 2)]

    async def known() -> list[ForeignMachine]:
        return machines

    monkeypatch.setattr(poller, "_machines", known)
    running = asyncio.create_task(poller.run())
    async with asyncio.timeout(10), telemetry.heard:
        await telemetry.heard.wait_for(lambda: telemetry.prices_asked)
        before = telemetry.heartbeats_asked
        await telemetry.heard.wait_for(lambda: telemetry.heartbeats_asked > before)
        await telemetry.heard.wait_for(lambda: len(telemetry.prices_asked) >= 3)
    assert telemetry.prices_asked[:3] == ["tm-1", "tm-2", "tm-1"], "each round goes on behind the last machine asked"
    await poller.stop()
    async with asyncio.timeout(10):
        await running
    assert telemetry.closed
