"""What must hold of money that went out, against the providers' own logs. Each check returns violations."""

from collections.abc import Iterator
from typing import Any

import httpx2

from tests.chaos.checks import Check, Truth


def _transfers(truth: Truth) -> dict[str, list[dict[str, Any]]]:
    """Return what the providers' logs say they sent, by payout; a reference is the payout and its attempt."""
    found: dict[str, list[dict[str, Any]]] = {}
    for item in truth.sent:
        reference = str(item["reference"])
        found.setdefault(reference.rpartition("-")[0], []).append(item)
    return found


def payouts_were_sent_once_or_never(truth: Truth) -> Iterator[str]:
    """I-08: a completed payout was sent exactly once, another never; no attempt of one was sent twice."""
    sent = _transfers(truth)
    rows = truth.rows("SELECT id::text, status, amount_minor, attempt FROM state.payouts")
    for payout, status, amount, attempt in rows:
        items = sent.pop(payout, [])
        transfers = sum(item["transfers"] for item in items)
        expected = 1 if status == "completed" else 0
        if transfers != expected:
            yield f"payout {payout} is {status} after {attempt} attempts: the providers sent it {transfers} times"
        elif transfers and sum(item["amount_minor"] for item in items) != amount:
            yield f"payout {payout} of {amount} was sent as {[item['amount_minor'] for item in items]}"
    for payout, items in sent.items():
        if any(item["transfers"] for item in items):
            yield f"a provider sent {payout}, and no such payout is known"


def payouts_have_ended(truth: Truth) -> Iterator[str]:
    """Whoever asked has an answer: no payout is on its way for ever, and no provider operation is open."""
    for row in truth.rows("SELECT id, status FROM state.payouts WHERE status IN ('pending', 'processing')"):
        yield f"payout {row[0]} is {row[1]}"
    for row in truth.rows(
        "SELECT id, kind, status FROM gateway.operations "
        "WHERE kind IN ('payout', 'charge') AND status NOT IN ('succeeded', 'failed')"
    ):
        yield f"operation {row[0]} ({row[1]}) is {row[2]}"


def deposits_are_in_the_books(truth: Truth) -> Iterator[str]:
    """What the mock provider took in less what it sent is what the books say of its account."""
    ((booked,),) = truth.rows(
        "SELECT coalesce(sum(CASE WHEN debit_account LIKE 'provider:mock:%%' THEN amount_minor ELSE 0 END), 0) - "
        "coalesce(sum(CASE WHEN credit_account LIKE 'provider:mock:%%' THEN amount_minor ELSE 0 END), 0) "
        "FROM state.transfers"
    )
    if truth.mock_minor != booked:
        yield f"the mock provider holds {truth.mock_minor} of ours, the books say {booked}"


def wallets_were_never_below_zero(truth: Truth) -> Iterator[str]:
    """I-04: at no transfer was a wallet below zero, and its balance is the sum of its transfers."""
    for row in truth.rows(
        "SELECT debit_account FROM state.transfers WHERE debit_account LIKE 'wallet:%%' AND debit_balance_minor < 0"
    ):
        yield f"{row[0]} was below zero"
    for row in truth.rows(
        "SELECT name, balance_minor, coalesce(folded, 0) FROM state.accounts LEFT JOIN ("
        "SELECT account, sum(amount) AS folded FROM ("
        "SELECT debit_account AS account, -amount_minor AS amount FROM state.transfers "
        "UNION ALL SELECT credit_account, amount_minor FROM state.transfers) AS side GROUP BY 1) AS sums "
        "ON account = name WHERE balance_minor <> coalesce(folded, 0)"
    ):
        yield f"{row[0]} has {row[1]}, its transfers make {row[2]}"


PAYOUT_CHECKS: tuple[Check, ...] = (
    payouts_were_sent_once_or_never,
    payouts_have_ended,
    deposits_are_in_the_books,
    wallets_were_never_below_zero,
)
PAYOUT_SETTLING: tuple[Check, ...] = (payouts_have_ended, payouts_were_sent_once_or_never, deposits_are_in_the_books)


def sent_by_mock(url: str) -> tuple[list[dict[str, Any]], int]:
    """Return the mock provider's withdrawals by reference, and what it holds of ours in minor units."""
    with httpx2.Client(base_url=url, timeout=30, trust_env=False) as client:
        found = client.get("/sandbox/totals").json()
    items = [
        {"reference": item["payment_id"], "transfers": item["transfers"], "amount_minor": item["amount_minor"]}
        for item in found["items"]
        if item["type"] == "withdraw"
    ]
    return items, int(found["deposited_minor"]) - int(found["withdrawn_minor"])
