"""Who may say where a machine is reached."""

import pytest

from device_bridge.domain.addresses import AddressForbidden, check_address

pytestmark = pytest.mark.unit

TMETR = {"id": "tm-1"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, TMETR),
        ({}, {"broker": "yandex", "id": "are1"}),
        ({}, {"topic": "technical/kofe-2"}),
        (TMETR, {"id": "tm-2"}),
        (TMETR, {}),
        (TMETR, {"drinks": {"latte": "17"}}),
        ({}, {"anything": "else"}),
    ],
)
def test_a_merchant_does_not_say_where_a_machine_is_reached(
    before: dict[str, object], after: dict[str, object]
) -> None:
    with pytest.raises(AddressForbidden) as refused:
        check_address(before, after, by_manager=False)
    assert (refused.value.status, refused.value.type) == (403, "forbidden")
    check_address(before, after, by_manager=True)


def test_a_merchant_says_how_the_machine_calls_its_drinks() -> None:
    check_address({}, {"drinks": {"latte": "17"}, "text_flag": "0"}, by_manager=False)
    check_address(TMETR, {**TMETR, "drinks": {"latte": "17"}}, by_manager=False)
