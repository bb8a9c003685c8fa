"""What is shown of payout details and of machines, and what a line of a file sets of what is there already."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from device_bridge.api import show
from device_bridge.api.dependencies import Caller
from device_bridge.domain.catalogue_lines import DeviceLine, DrinkLine
from device_bridge.domain.model import Device, DeviceState, Drink, Merchant
from device_bridge.handlers.context import Context
from device_bridge.handlers.imports import device_values, drink_values
from device_bridge.settings import DevicesSettings

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
OWNER, OTHER = UUID(int=1), UUID(int=2)
MERCHANT = Merchant(
    id=OWNER,
    name="Coffee by the lake",
    owner=OWNER,
    active_until=None,
    mode="platform_shop",
    currency="RUB",
    commission_bps=500,
    order_ttl_s=900,
    brew_timeout_s=180,
    failures_max=3,
    selling=True,
    payout_details={"bank_account": "40702810900000012345", "bic": "044525225", "inn": "7707083893"},
    version=1,
    created_at=NOW,
    updated_at=NOW,
)
DEVICE = Device(
    id="kofe-17",
    merchant_id=OWNER,
    name="Lobby",
    location="",
    time_zone="Europe/Moscow",
    model="mqtt-v1",
    driver={},
    payment_scenario="widget",
    texts={"off": {"ru": "Спим", "en": "Asleep"}},
    selling=True,
    stopped_reason=None,
    stopped_by=None,
    stopped_at=None,
    failures_in_row=0,
    price_rule="catalogue_then_telemetry",
    key_number=1,
    version=1,
    created_at=NOW,
    updated_at=NOW,
)
DRINK = Drink(
    device_id="kofe-17",
    drink_id="latte",
    size="small",
    name="Latte",
    price_minor=None,
    telemetry_price_minor=14_900,
    telemetry_at=NOW,
    available=True,
    stopped_reason=None,
    sold_out=False,
    vat_code=None,
    payment_subject=None,
    payment_method=None,
    measure=None,
    version=1,
    updated_at=NOW,
)
DRINK_LINE = DrinkLine("latte", "small", "Latte", 15_000, False, 1, None, None, None)
DEVICE_LINE = DeviceLine("kofe-17", None, "Hall", "2nd floor", "UTC", "tmetr", "widget", "telemetry", {"id": "1"}, {})


@pytest.fixture
def context() -> Context:
    settings = DevicesSettings(database_url="postgresql://nobody@127.0.0.1:1/none", public_url="http://coffee.test")
    return Context(None, settings)  # type: ignore[arg-type]


def test_payout_details_are_shown_by_their_ends() -> None:
    shown = show.merchant(MERCHANT)
    text = shown.model_dump_json()
    assert "40702810900000012345" not in text
    assert "7707083893" not in text
    assert shown.payout_details is not None
    assert (shown.payout_details.bank_account, shown.payout_details.inn) == ("****2345", "****3893")
    assert show.merchant(replace(MERCHANT, payout_details={})).payout_details is None


def test_the_account_is_a_balance_only_where_we_collect() -> None:
    assert show.account_of(MERCHANT) == f"merchant:{OWNER}"
    assert show.account_of(replace(MERCHANT, mode="own_shop")) == f"receivable:{OWNER}"


@pytest.mark.parametrize(
    ("model", "beat", "state"),
    [
        ("mqtt-v1", NOW - timedelta(seconds=30), "busy"),
        ("mqtt-v1", NOW - timedelta(minutes=10), "off"),
        ("mqtt-v1", None, "off"),
        ("frame-v1-silent", None, "ready"),
    ],
)
def test_a_machine_that_is_not_heard_of_is_off(context: Context, model: str, beat: datetime | None, state: str) -> None:
    said = DeviceState("kofe-17", True, "busy", "", beat, NOW) if beat else None
    shown = show.device(context, replace(DEVICE, model=model), said, NOW)
    assert shown.state.state == state
    assert shown.page_url == "http://coffee.test/m/kofe-17"


@pytest.mark.parametrize(
    ("rule", "ours", "machines", "sold_at"),
    [
        ("catalogue", 15_000, 14_900, "150.00"),
        ("catalogue", None, 14_900, None),
        ("telemetry", 15_000, 14_900, "149.00"),
        ("telemetry", 15_000, 0, None),
        ("catalogue_then_telemetry", None, 14_900, "149.00"),
        ("telemetry_then_catalogue", 15_000, None, "150.00"),
    ],
)
def test_a_drink_is_shown_with_what_it_costs(rule: str, ours: int | None, machines: int | None, sold_at: str) -> None:
    drink = replace(DRINK, price_minor=ours, telemetry_price_minor=machines)
    shown = show.drink(drink, replace(DEVICE, price_rule=rule), "RUB")  # type: ignore[arg-type]
    assert (shown.sold_at.value if shown.sold_at else None) == sold_at


def test_a_line_sets_what_its_file_has_columns_for() -> None:
    assert drink_values(DRINK_LINE, None)["available"] is False
    named = drink_values(DRINK_LINE, frozenset({"drink_id", "size", "name", "price", "vat_code"}))
    assert named == {"price_minor": 15_000, "name": "Latte", "vat_code": 1}


def test_texts_without_a_column_stay() -> None:
    line = replace(DEVICE_LINE, texts={"busy": {"ru": "Варим"}})
    values = device_values(line, frozenset({"id", "name", "text_busy_ru", "text_off_en"}), DEVICE)
    assert values["texts"] == {"off": {"ru": "Спим", "en": ""}, "busy": {"ru": "Варим", "en": ""}}
    assert set(values) == {"name", "texts"}


def test_a_new_machine_takes_everything_of_its_line() -> None:
    values = device_values(DEVICE_LINE, frozenset({"id", "name"}), None)
    assert values["driver"] == {"id": "1"}
    assert values["price_rule"] == "telemetry"
    assert values["texts"] == {}


@pytest.mark.parametrize(
    ("roles", "sees", "commands"),
    [
        ({"manager"}, True, True),
        ({"operator"}, True, False),
        ({"merchant"}, False, False),
        ({"merchant", "operator"}, True, False),
        (set(), False, False),
    ],
)
def test_who_sees_and_changes_what_is_anothers(roles: set[str], sees: bool, commands: bool) -> None:
    caller = Caller(OWNER, frozenset(roles), "token")
    assert (caller.sees(OTHER), caller.commands(OTHER)) == (sees, commands)
    assert caller.commands(OWNER) == bool(roles & {"merchant", "manager"})
    assert caller.narrowed(OTHER) == (OTHER if sees else OWNER)
