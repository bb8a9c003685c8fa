"""What machines say at the same time shares a transaction, and ends as it would one by one."""

from datetime import timedelta
from typing import Any

import pytest

from device_bridge.handlers import reports
from device_bridge.handlers.reports import SaidOfItself

from .fleet import Fleet

pytestmark = pytest.mark.integration


async def states(fleet: Fleet) -> dict[str, tuple[Any, ...]]:
    rows = await fleet.rows("SELECT * FROM devices.device_states")
    return {row["device_id"]: (row["online"], row["state"], row["error_code"]) for row in rows}


async def test_states_that_wait_together(fleet: Fleet) -> None:
    """The last word of each counts, the unknown are left out, and what each is out of is its own."""
    for code in ("kiosk-1", "kiosk-2", "kiosk-3"):
        await fleet.device(code)
    await reports.on_state(fleet.context, "kiosk-3", online=True, state="ready", sold_out=[("latte", "medium")])
    now = fleet.clock.now()
    out = [("latte", "medium"), ("mocha", "small")]
    said = [
        SaidOfItself("kiosk-1", True, "sold_out", "", out, now),
        SaidOfItself("kiosk-1", True, "error", "no_water", (), now - timedelta(seconds=5)),
        SaidOfItself("nobody-knows-me", True, "ready"),
        SaidOfItself("kiosk-2", True, "ready", "", out, now),
        SaidOfItself("kiosk-2", True, "busy", "", (), now + timedelta(seconds=5)),
        SaidOfItself("kiosk-3", False, "off"),
    ]
    await reports.on_states(fleet.context, said)
    assert await states(fleet) == {
        "kiosk-1": (True, "sold_out", ""),
        "kiosk-2": (True, "busy", ""),
        "kiosk-3": (False, "off", ""),
    }
    sold_out = await fleet.rows("SELECT device_id FROM devices.drinks WHERE sold_out ORDER BY device_id")
    # A machine that went off says nothing of its drinks.
    assert [row["device_id"] for row in sold_out] == ["kiosk-1", "kiosk-3"]
    beaten = await fleet.rows("SELECT 1 FROM devices.device_states WHERE heartbeat_at IS NOT NULL")
    assert len(beaten) == 3


async def test_a_machine_whose_clock_was_set_back_is_still_believed(fleet: Fleet) -> None:
    await fleet.device()
    now = fleet.clock.now()
    await reports.on_state(fleet.context, "kiosk-1", online=False, state="off", at=now)
    await reports.on_state(fleet.context, "kiosk-1", online=True, state="ready", at=now - timedelta(hours=1))
    assert (await states(fleet))["kiosk-1"] == (True, "ready", "")
