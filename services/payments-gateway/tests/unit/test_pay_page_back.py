"""Whither the pay page may lead: to the page of an order of ours, and never to another site."""

import pytest

from payments_gateway.pages import back_of

pytestmark = pytest.mark.unit

ORDER = "/m/orders/0190a5b0-0000-7000-8000-000000000001"


@pytest.mark.parametrize("path", [ORDER, f"{ORDER}?k=Ab-_9"])
def test_back_to_an_order(path: str) -> None:
    assert back_of(path) == path


@pytest.mark.parametrize(
    "asked",
    [
        None, "", "/", "//evil.example/m/orders/1", "https://evil.example" + ORDER, ORDER + "?k=", ORDER + "?x=1",
        ORDER + "?k=a&next=//evil.example", ORDER + "/../../admin", "/m/orders/" + "0" * 35, ORDER + "\n", "\n" + ORDER,
        "javascript:alert(1)", ORDER + "#x", "\\" + ORDER, ORDER + "?k=" + "a" * 87,
    ],
)  # fmt: skip
def test_nowhere_else(asked: str | None) -> None:
    assert back_of(asked) is None
