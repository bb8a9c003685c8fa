"""`copeck machines simulate`: virtual machines at the stack that runs, made as a merchant would make them."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.e2e.scenario import Site, eventually

Copeck = Callable[..., Any]


@pytest.mark.covers("copeck machines simulate")
def test_machines_are_made_connected_and_sell(site: Site, copeck: Copeck) -> None:
    prefix = f"sim-{uuid4().hex[:6]}"
    copeck("machines", "simulate", "--count", "2", "--prefix", prefix)
    told = copeck("machines", "simulate", "--count", "3", "--prefix", prefix)
    names = [f"{prefix}-{number:04d}" for number in range(1, 4)]
    assert told["machines"] == names
    with httpx2.Client(base_url=site.machines_url, timeout=30) as fleet:

        def online() -> bool | None:
            return all(fleet.get(f"/control/machines/{name}").json()["online"] for name in names) or None

        eventually(online, "the machines are online")
        assert "<svg" in fleet.get(f"/machines/{names[0]}").text
        shown = fleet.get(f"/control/machines/{names[2]}").json()
        assert {line["drink"] for line in shown["menu"]} == {"espresso", "cappuccino", "latte"}
    with httpx2.Client(base_url=site.public_url, timeout=30) as buyer:

        def sells() -> bool | None:
            page = buyer.get(f"/m/{names[2]}")
            return (page.status_code == 200 and "Латте" in page.text and "159" in page.text) or None

        eventually(sells, "the buyer's page offers a latte")
