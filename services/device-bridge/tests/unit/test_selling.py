"""May this be sold now, and for how much: prices, commissions, machines that are not well, links, keys."""

from datetime import timedelta
from typing import Any

import pytest

from copeck.contracts.machines import sign_link
from copeck.kernel.errors import DomainError
from copeck.kernel.money import Money
from device_bridge.domain import links, selling
from device_bridge.domain.commission import commission_of
from device_bridge.domain.health import condition
from device_bridge.domain.keys import device_key
from device_bridge.domain.model import PriceRule
from device_bridge.domain.prices import price_of
from tests.support.cups import NOW, a_device, a_drink, a_merchant, a_state

pytestmark = pytest.mark.unit

OURS, THEIRS = 15000, 14000


@pytest.mark.parametrize(
    ("rule", "both", "only_ours", "only_theirs"),
    [
        ("catalogue", OURS, OURS, None),
        ("telemetry", THEIRS, None, THEIRS),
        ("catalogue_then_telemetry", OURS, OURS, THEIRS),
        ("telemetry_then_catalogue", THEIRS, OURS, THEIRS),
    ],
)
def test_which_price_holds(rule: PriceRule, both: int, only_ours: int | None, only_theirs: int | None) -> None:
    """Defect: where telemetry said 0, 50 roubles were invented. Nobody's price is no price."""
    assert price_of(rule, OURS, THEIRS) == both
    for unknown in (None, 0):
        assert price_of(rule, OURS, unknown) == only_ours
        assert price_of(rule, unknown, THEIRS) == only_theirs
        assert price_of(rule, unknown, unknown) is None


@pytest.mark.parametrize(
    ("minor", "bps", "commission"),
    [(15000, 500, 750), (15000, 0, 0), (10, 500, 0), (30, 500, 2), (50, 500, 2), (1, 9000, 0), (2, 9000, 1)],
)
def test_commission(minor: int, bps: int, commission: int) -> None:
    """Half-even, and something is always left for the merchant: an invoice that is all commission is refused."""
    assert commission_of(Money(minor, "RUB"), bps) == commission


@pytest.mark.parametrize(
    ("changes", "after_s", "expected"),
    [
        ({}, 0, "ready"),
        ({}, 90, "ready"),
        ({}, 91, "off"),
        ({"online": False, "state": "off"}, 0, "off"),
        ({"heartbeat_at": None}, 0, "off"),
        ({"state": "busy"}, 10, "busy"),
        ({"state": "error"}, 10, "error"),
        ({"state": "sold_out"}, 10, "sold_out"),
    ],
)
def test_how_a_machine_is(changes: dict[str, object], after_s: int, expected: str) -> None:
    assert condition(a_state(**changes), NOW + timedelta(seconds=after_s)) == expected


def test_machines_that_nobody_heard_of() -> None:
    assert condition(None, NOW) == "off"
    assert condition(None, NOW, reports_state=False) == "ready"


@pytest.mark.parametrize(
    ("merchant", "device", "state", "slug"),
    [
        ({}, {}, {}, None),
        ({}, {}, {"state": "busy"}, None),
        ({"selling": False}, {}, {}, "merchant-inactive"),
        ({"active_until": NOW}, {}, {}, "merchant-inactive"),
        ({"active_until": NOW + timedelta(seconds=1)}, {}, {}, None),
        ({}, {"selling": False, "stopped_reason": "cleaning"}, {}, "device-stopped"),
        ({}, {}, {"online": False}, "device-off"),
        ({}, {}, {"state": "error", "error_code": "no_water"}, "device-in-error"),
        ({}, {}, {"state": "sold_out"}, "device-sold-out"),
    ],
)
def test_a_machine_that_is_not_well_takes_no_money(
    merchant: dict[str, object], device: dict[str, object], state: dict[str, object], slug: str | None
) -> None:
    refused = selling.refusal(a_device(**device), a_merchant(**merchant), a_state(**state), NOW)
    assert (refused.type if refused else None) == slug


@pytest.mark.parametrize(
    ("changes", "slug"),
    [
        ({"available": False, "stopped_reason": "sour milk"}, "drink-unavailable"),
        ({"sold_out": True}, "drink-sold-out"),
        ({"price_minor": None}, "price-unknown"),
        ({"price_minor": None, "telemetry_price_minor": 100}, "price-unknown"),
    ],
)
def test_drinks_that_cannot_be_sold(changes: dict[str, object], slug: str) -> None:
    with pytest.raises(DomainError) as refused:
        selling.offer(a_device(), a_merchant(), a_drink(**changes))
    assert refused.value.type == slug


def test_an_offer() -> None:
    offer = selling.offer(a_device(), a_merchant(commission_bps=500), a_drink())
    assert (offer.price, offer.commission_minor) == (Money(15000, "RUB"), 750)


# Links: defect: the hash of a machine's link was never looked at.

KEY = device_key("s" * 40, "kiosk-1", 1)
TS = int(NOW.timestamp())


def follow(key: bytes = KEY, age_s: int = 0, **changes: str) -> str | None:
    shown = {"device": "kiosk-1", "drink": "latte", "size": "medium", "order": "m-1"}
    ts = TS - age_s
    sig = sign_link(KEY, ts=ts, **shown)
    try:
        links.verify(key, ts=ts, sig=sig, now=NOW, **(shown | changes))
    except DomainError as error:
        return error.type
    return None


def test_links_of_now_are_taken() -> None:
    assert follow() is None
    assert follow(age_s=600) is None
    assert follow(age_s=-120) is None


@pytest.mark.parametrize("age_s", [601, 86400, -121])
def test_links_of_another_time_are_refused(age_s: int) -> None:
    assert follow(age_s=age_s) == "link-stale"


@pytest.mark.parametrize("changes", [{"device": "kiosk-2"}, {"drink": "espresso"}, {"size": "small"}, {"order": "m-2"}])
def test_links_that_the_machine_did_not_make_are_refused(changes: dict[str, Any]) -> None:
    assert follow(**changes) == "link-forged"


def test_a_rotated_key_makes_old_links_worthless() -> None:
    assert follow(key=device_key("s" * 40, "kiosk-1", 2)) == "link-forged"


def test_keys_differ_by_machine_number_and_secret() -> None:
    keys = {device_key("s" * 40, "a-1", 1), device_key("s" * 40, "a-1", 11), device_key("s" * 40, "a-11", 1)}
    assert len(keys | {device_key("t" * 40, "a-1", 1)}) == 4
    assert all(len(key) == 32 for key in keys)
