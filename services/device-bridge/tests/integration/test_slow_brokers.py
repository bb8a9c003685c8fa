"""A broker that is slow holds up the commands and the reports of its own machines, and nobody else's."""

import asyncio
import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from copeck.testkit.waiting import eventually
from device_bridge.clockwork import senders
from device_bridge.domain.brewing import BrewState
from device_bridge.domain.drivers import Answer, BrewInstruction, Target, Way
from device_bridge.domain.model import Order
from device_bridge.drivers.mqtt.profiles import PROFILES
from device_bridge.handlers import sending
from device_bridge.hearing import Hearing
from device_bridge.store import devices
from tests.support.cups import DOUBTFUL, TALKATIVE

from .fleet import Fleet, Machine

pytestmark = pytest.mark.integration

FARAWAY = Way("faraway", ("doubtful",))


@dataclass
class Hanging(Machine):
    """A machine whose broker takes its time."""

    def __post_init__(self) -> None:
        self.answers = asyncio.Event()

    async def brew(self, target: Target, instruction: BrewInstruction) -> Answer:
        """Take a brew command, and answer when the test lets it."""
        answer = await super().brew(target, instruction)
        await self.answers.wait()
        return answer


async def test_a_slow_broker_holds_up_nobody_elses_commands(fleet: Fleet) -> None:
    """Defect: a round of sending waited for its slowest call, for as long as a call may take."""
    slow = Hanging(DOUBTFUL)
    fleet.machines.by_model["doubtful"] = slow
    await fleet.device()
    await fleet.device("kiosk-2", "doubtful")
    parts = senders(fleet.context, [FARAWAY])
    running = [asyncio.create_task(part.run()) for part in parts]
    try:
        held_up = await fleet.paid("kiosk-2")
        await eventually(lambda: slow.told)
        for cups in (1, 2):
            await fleet.paid()
            await eventually(lambda cups=cups: len(fleet.machine.told) == cups)  # type: ignore[misc]
        assert (await fleet.command(held_up.id)).state is BrewState.SENT
    finally:
        slow.answers.set()
        for part in parts:
            await part.stop()
        await asyncio.gather(*running)
    assert slow.words == ["brew"]


async def test_a_slow_broker_holds_up_nobody_elses_reports(fleet: Fleet) -> None:
    """Defect: reports of all brokers shared their queues, and a batch waited until its slowest was confirmed."""
    fleet.machines.by_model["mqtt-yandex"] = Machine(TALKATIVE)
    await fleet.device()
    far = await fleet.device("kiosk-2", "mqtt-yandex")
    async with fleet.context.database.transaction() as tx:
        await devices.update(tx, replace(far, driver={"id": "its-name-there"}))
    near, foreign = await fleet.paid(), await fleet.paid("kiosk-2")
    await fleet.send()
    confirmed, answers = list[str](), asyncio.Event()

    async def publish(broker: str, _topic: str, _payload: bytes, *, expires_in_s: float | None = None) -> None:
        assert expires_in_s
        confirmed.append(broker)
        if broker == "yandex":
            await answers.wait()

    hearing = Hearing(fleet.context.settings.model_copy(update={"reports_concurrency": 1}), publish)
    hearing.attach(fleet.context)
    running = [asyncio.create_task(worker) for worker in hearing.workers()]
    try:
        await says(fleet, hearing, foreign, "yandex", "$devices/its-name-there/events")
        await eventually(lambda: confirmed)
        await says(fleet, hearing, near, "own", "cm/v1/kiosk-1")
        await eventually(lambda: len(confirmed) == 2)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert confirmed == ["yandex", "own"]
    assert [(await fleet.ends(order))[0] for order in (near, foreign)] == ["successful", "successful"]


async def says(fleet: Fleet, hearing: Hearing, order: Order, broker: str, branch: str) -> None:
    """Let a machine report over its broker that an order is made."""
    command = (await fleet.command(order.id)).id
    ack = {"v": 1, "command_id": str(command), "n": 1, "state": "done", "at": 1_770_000_000_000, "code": ""}
    profile = PROFILES[broker]
    hearing.hear(profile, profile.read_topic(f"{branch}/ack/{command}"), json.dumps(ack).encode())


@pytest.mark.parametrize(
    ("model", "address", "far"),
    [
        ("doubtful", {}, True),
        ("talkative", {"broker": "faraway"}, True),
        ("talkative", {"broker": "own"}, False),
        ("talkative", {"broker": None}, False),
        ("talkative", {}, False),
    ],
)
async def test_a_command_has_one_sender(fleet: Fleet, model: str, address: dict[str, Any], far: bool) -> None:
    device = await fleet.device(model=model)
    async with fleet.context.database.transaction() as tx:
        await devices.update(tx, replace(device, driver=address))
    await fleet.paid()
    wrong: dict[str, Any] = {"but": [FARAWAY]} if far else {"only": FARAWAY}
    right: dict[str, Any] = {"only": FARAWAY} if far else {"but": [FARAWAY]}
    assert await sending.send_due(fleet.context, **wrong) == 0
    assert await sending.send_due(fleet.context, **right) == 1
    assert fleet.machines.driver(model).words == ["brew"]
