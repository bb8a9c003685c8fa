"""Why a drink takes no money now: asked when the menu is shown, and once more before the buyer is led to pay."""

import pytest

from copeck.kernel.errors import DomainError
from device_bridge.api.buyers.choosing import Line, Menu
from device_bridge.domain.errors import DeviceOff, DrinkSoldOut
from tests.support.cups import a_device, a_drink, a_merchant

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("machine", "line", "size", "slug"),
    [
        (None, None, "medium", None),
        (DeviceOff(), None, "medium", "device-off"),
        (None, DrinkSoldOut(), "medium", "drink-sold-out"),
        (DeviceOff(), DrinkSoldOut(), "medium", "device-off"),
        (None, None, "large", "drink-unknown"),
    ],
)
def test_why_a_drink_takes_no_money(
    machine: DomainError | None, line: DomainError | None, size: str, slug: str | None
) -> None:
    menu = Menu(a_device(), a_merchant(), "ready", (Line(a_drink(), None, line),), machine)
    refusal = menu.why_not("latte", size)
    assert (refusal.type if refusal else None) == slug
