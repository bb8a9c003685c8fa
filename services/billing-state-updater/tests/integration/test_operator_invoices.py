"""`copeck invoice`: one invoice's story, and search."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from copeck.kernel.ids import new_id
from tests.support.operators import Copeck

pytestmark = pytest.mark.integration


@pytest.mark.covers("copeck invoice show")
async def test_invoice_show_tells_the_whole_story(copeck: Copeck, sold: list[UUID], database_urls: Any) -> None:
    with psycopg.connect(database_urls["admin"], autocommit=True) as connection:
        connection.execute(
            "INSERT INTO gateway.callbacks (received_at, id, provider, shop, kind, method, headers, body, verdict, "
            "answer, invoice_id) VALUES (now(), %s, 'cloudpayments', 'main', 'pay', 'POST', '{}', 'x', 'good', 0, %s)",
            [new_id(), sold[0]],
        )
    story = (await copeck("invoice", "show", str(sold[0]), "--json")).json
    assert story["invoice"]["status"] == "paid"
    assert story["invoice"]["amount"] == {"value": "199.00", "currency": "RUB"}
    assert story["unavailable"] == {}
    kinds = {entry["kind"] for entry in story["timeline"]}
    assert kinds >= {"command", "callback", "transition", "payment", "transfer", "refund", "refusal"}
    steps = [entry["what"] for entry in story["timeline"] if entry["kind"] == "transition"]
    assert steps == ["issued", "paid", "refund_requested"]
    transfers = [(e["what"], e["amount"]["value"]) for e in story["timeline"] if e["kind"] == "transfer"]
    assert transfers == [
        ("provider:cloudpayments:main → revenue:subscription", "199.00"),
        ("revenue:subscription → refunds:in_transit", "99.00"),
    ]
    refused = next(entry for entry in story["timeline"] if entry["kind"] == "refusal")
    assert (refused["actor"], refused["cause"]) == ("user:m2", "invoice.cancel")
    for entry in story["timeline"]:
        if entry["source"] == "state" and entry["kind"] != "quarantine":
            assert entry["cause_id"], entry
    text = (await copeck("invoice", "show", str(sold[0]))).out
    assert "revenue:subscription" in text
    assert "user:m1" in text


@pytest.mark.covers("copeck invoice show")
async def test_an_unknown_invoice_is_said_to_be_unknown(copeck: Copeck) -> None:
    answer = await copeck("invoice", "show", str(new_id()), "--json", status=1)
    assert "nothing is known" in answer.err
    assert "Traceback" not in answer.err
    await copeck("invoice", "show", "not-an-id", status=2)


@pytest.mark.covers("copeck invoice list")
async def test_invoice_list_searches(copeck: Copeck, sold: list[UUID]) -> None:
    found = (await copeck("invoice", "list", "--json")).json["invoices"]
    assert [row["id"] for row in found] == [str(sold[1]), str(sold[0])]
    found = (await copeck("invoice", "list", "--status", "paid", "--payer", "anna", "--json")).json["invoices"]
    assert [row["id"] for row in found] == [str(sold[0])]
    transaction = found[0]["transaction"]
    found = (await copeck("invoice", "list", "--transaction", transaction, "--json")).json["invoices"]
    assert [row["id"] for row in found] == [str(sold[0])]
    assert (await copeck("invoice", "list", "--since", "2100-01-01", "--json")).json == {"invoices": []}
    assert len((await copeck("invoice", "list", "--until", "2100-01-01", "--json")).json["invoices"]) == 2
    await copeck("invoice", "list", "--status", "bought", status=2)
    assert "199.00" in (await copeck("invoice", "list")).out
