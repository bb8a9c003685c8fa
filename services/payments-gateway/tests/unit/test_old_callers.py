"""What old callers say, and what becomes of it: amounts, ids, statuses, recipients, lists, and the document's YAML."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import httpx2
import pytest
import yaml  # type: ignore[import-untyped]
from fastapi import APIRouter, Body, FastAPI
from hypothesis import given
from hypothesis import strategies as st

from copeck.kernel.errors import InvalidValueError, NotFoundError
from copeck.kernel.money import EXPONENTS, MINOR_MAX, Money, MoneyError
from copeck.web.problems import add_problem_handlers
from payments_gateway.api.compatibility.exact import ExactRoute, Major, OldBody
from payments_gateway.api.compatibility.routes import UserReference
from payments_gateway.api.compatibility.schema import media_type
from payments_gateway.api.compatibility.yaml_text import yaml_text
from payments_gateway.domain import compatibility as old
from payments_gateway.domain.compatibility import CHANGES, Change
from payments_gateway.domain.payouts import PayoutStatusError
from payments_gateway.domain.recipients import RecipientError, RecipientKind
from payments_gateway.domain.wallets import Status
from payments_gateway.exact_json import exact_json

STATUSES = ("draft", "awaiting_approval", "pending", "processing", "completed", "failed", "canceled")


class Paid(OldBody):
    """A body with an amount and a user."""

    amount: Major
    user_id: UserReference = 1


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """One route that says what it has read."""
    router = APIRouter(route_class=ExactRoute)

    @router.post("/paid")
    async def paid(body: Annotated[Paid, Body()]) -> dict[str, str]:
        return {"amount": str(body.amount), "user": str(body.user_id)}

    app = FastAPI()
    app.include_router(router, prefix="/old")
    add_problem_handlers(app)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://gateway") as made:
        yield made


async def send(client: httpx2.AsyncClient, text: str) -> httpx2.Response:
    return await client.post("/old/paid", content=text, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("200", "200"),
        ("200.5", "200.5"),
        ('"200.50"', "200.50"),
        ("2e2", "2E+2"),
        # As a float this would be 0.1000000000000000055.
        ("0.1", "0.1"),
        ("90071992547409.93", "90071992547409.93"),
    ],
)
async def test_numbers_of_a_body_are_read_exactly(client: httpx2.AsyncClient, written: str, read: str) -> None:
    answer = await send(client, f'{{"amount": {written}, "unknown": 1.5}}')
    assert answer.status_code == 200, answer.text
    assert answer.json()["amount"] == read


@pytest.mark.parametrize("written", ["true", "null", "[1]", '"one"', "{}"])
async def test_what_is_no_number_is_refused_by_its_name(client: httpx2.AsyncClient, written: str) -> None:
    answer = await send(client, f'{{"amount": {written}}}')
    assert (answer.status_code, answer.json()["field"]) == (422, "amount")


@pytest.mark.parametrize(
    "text", ['{"amount": NaN}', '{"amount": -Infinity}', "{", "[" * 5000, f'{{"amount": {"9" * 5000}}}']
)
async def test_what_is_no_json_is_said_to_be_none(client: httpx2.AsyncClient, text: str) -> None:
    answer = await send(client, text)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("written", "status"),
    [
        ("1", 200),
        ('"17"', 200),
        ('"0190a5b0-0000-7000-8000-000000000001"', 200),
        ("true", 422),
        ("-1", 422),
        ("1.0", 422),
        (str(10**18), 422),
        ('"1\\n"', 422),
        ('"anna"', 422),
    ],
)
async def test_a_user_is_named_by_number_or_uuid(client: httpx2.AsyncClient, written: str, status: int) -> None:
    assert (await send(client, f'{{"amount": 1, "user_id": {written}}}')).status_code == status


@given(st.integers(min_value=1, max_value=MINOR_MAX), st.sampled_from(sorted(EXPONENTS)))
def test_an_amount_survives_the_way_out_and_back(minor: int, currency: str) -> None:
    written = exact_json(old.major(minor, currency))
    assert old.amount_of(json.loads(written, parse_float=Decimal), "amount", currency) == Money(minor, currency)


def test_answers_have_no_more_digits_than_they_need() -> None:
    assert [exact_json(old.major(minor)) for minor in (100000, 20050, 20055, 1, 0)] == [
        "1000", "200.5", "200.55", "0.01", "0",
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["200.555", "0", "-1", "0.001", "90000000.01", "1E+9999999", "NaN"])
def test_an_amount_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(MoneyError) as refusal:
        old.amount_of(Decimal(value), "deposit")
    assert refusal.value.field == "deposit"


def test_only_an_opening_balance_may_be_nothing() -> None:
    assert old.amount_of(Decimal(0), "balance", zero=True).minor == 0
    with pytest.raises(MoneyError):
        old.amount_of(Decimal("-0.01"), "balance", zero=True)


def test_ids_are_numbers_or_uuids() -> None:
    assert old.reference_of("17") == 17
    assert old.reference_of("0190A5B0-0000-7000-8000-000000000001") == UUID("0190a5b0-0000-7000-8000-000000000001")
    for text in ("", "-1", "1.0", "9" * 19, "seventeen", "0190a5b0", "1\n", "١"):
        with pytest.raises(NotFoundError):
            old.reference_of(text)


def test_every_status_of_a_payment_has_its_old_word() -> None:
    assert {status.value: old.payment_status(status) for status in Status} == {
        "requested": "NEW",
        "pending": "NEW",
        "processing": "PROCESSING",
        "completed": "SUCCESS",
        "failed": "failed",
        "canceled": "failed",
    }


def test_every_change_of_a_payout_is_allowed_or_refused_with_what_is_allowed() -> None:
    allowed = {
        ("draft", "pending"): Change.SUBMIT,
        ("draft", "canceled"): Change.CANCEL,
        ("awaiting_approval", "pending"): Change.APPROVE,
        ("awaiting_approval", "canceled"): Change.CANCEL,
        ("pending", "canceled"): Change.CANCEL,
        ("failed", "pending"): Change.RETRY,
    }
    assert allowed == CHANGES
    for before in STATUSES:
        for after in (*STATUSES, "paid"):
            if before == after:
                assert old.change_of(before, after) is Change.NOTHING
            elif (before, after) in allowed:
                assert old.change_of(before, after) is allowed[before, after]
            else:
                with pytest.raises(PayoutStatusError) as refusal:
                    old.change_of(before, after)
                assert refusal.value.status == 409
                assert all(name in refusal.value.detail for status, name in allowed if status == before)
    assert old.change_of("pending", "cancelled") is Change.CANCEL


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("tk_4f9a1c7e22", RecipientKind.CARD_TOKEN),
        ({"token": "tk_4f9a1c7e22"}, RecipientKind.CARD_TOKEN),
        ({"phone": "+79001234567", "bank_id": "100000000004"}, RecipientKind.SBP),
        ('{"phone": "+79001234567", "bank_id": "100000000004"}', RecipientKind.SBP),
        ({"account": "4" * 20, "bic": "044525225", "name": "Иван Петров"}, RecipientKind.ACCOUNT),
        ({"kind": "sbp", "phone": "+79001234567", "bank_id": "100000000004"}, RecipientKind.SBP),
    ],
)
def test_a_recipient_is_read_from_text_or_members(given: Any, kind: RecipientKind) -> None:
    assert old.recipient_of(given).kind is kind


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ("4111 1111 1111 1111", "recipient"),
        ("Иван Петров, на карту", "recipient"),
        ("", "recipient"),
        ("{", "recipient"),
        ("[1]", "recipient"),
        ({"name": "Иван"}, "recipient"),
        ({"phone": "8 900 123 45 67", "bank_id": "1"}, "recipient.phone"),
        ({"token": "4111111111111111"}, "recipient.token"),
        ({"token": {"deep": [1]}}, "recipient.token"),
    ],
)
def test_a_recipient_that_is_none_is_refused_and_not_repeated(given: Any, field: str) -> None:
    with pytest.raises(RecipientError) as refusal:
        old.recipient_of(given)
    assert refusal.value.field == field
    assert "1111" not in refusal.value.detail


def test_lists_are_searched_by_words_and_ordered_by_known_fields() -> None:
    assert old.search_terms(" аванс, Петров\tRUB ") == ("аванс", "Петров", "RUB")
    with pytest.raises(InvalidValueError):
        old.search_terms("a " * 11)
    assert old.ordering_of("-amount,created_at") == (("amount", True), ("created_at", False))
    assert old.ordering_of("secret,-amount,amount") == (("amount", True),)
    assert old.ordering_of("") == old.ordering_of("secret") == (("created_at", True),)


@pytest.mark.parametrize(
    ("accept", "wanted", "kind"),
    [
        ("", None, "application/json"),
        ("*/*", None, "application/json"),
        ("application/yaml", None, "application/yaml"),
        ("application/vnd.oai.openapi+json", None, "application/vnd.oai.openapi+json"),
        ("application/vnd.oai.openapi, */*;q=0.1", None, "application/vnd.oai.openapi"),
        ("text/html", "yaml", "application/yaml"),
        ("application/yaml", "json", "application/json"),
    ],
)
def test_the_schema_has_the_type_that_is_asked_for(accept: str, wanted: str | None, kind: str) -> None:
    assert media_type(accept, wanted) == kind


_SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), _VALUES, max_size=4))
def test_yaml_says_what_json_says(document: dict[str, Any]) -> None:
    assert (yaml.safe_load(yaml_text(document)) or {}) == document


def test_yaml_is_for_people() -> None:
    document = {"openapi": "3.1.0", "paths": {"/users/": {"post": {"tags": ["a", "b"], "limits": [{"max": 1e18}, {}]}}}}
    assert yaml_text(document) == (
        'openapi: "3.1.0"\npaths:\n  "/users/":\n    post:\n      tags:\n        - "a"\n        - "b"\n'
        "      limits:\n        - max: 1000000000000000000\n        - {}\n"
    )
