"""What must hold afterwards, against the provider's own log. Each check names its invariant and returns violations."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import psycopg

from tests.chaos.buyers import Purchase

_CARDS = ("4000000000003055", "4000056655665556", "4242424242424242")
_LOG_BYTES_MAX = 200 * 1024 * 1024


@dataclass
class Truth:
    """The provider's log, the database, and where the rest is to be found."""

    database: psycopg.Connection[tuple[Any, ...]]
    totals: list[dict[str, Any]]
    purchases: list[Purchase]
    management_url: str
    operator_environment: dict[str, str]
    logs: Path
    sent: list[dict[str, Any]] = field(default_factory=list)
    """What providers sent for payouts, by reference."""
    mock_minor: int = 0
    """What the mock provider holds of ours."""

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a query."""
        return self.database.execute(statement, parameters).fetchall()


Check = Callable[[Truth], Iterator[str]]
T = TypeVar("T", bound=Truth)


def charges_are_booked_once_or_refunded(truth: Truth) -> Iterator[str]:
    """I-09 and the promise: for each order, what the provider took less what it gave back is what the books say."""
    paid = dict(
        truth.rows(
            "SELECT aggregate_id::text, sum(CASE WHEN debit_account LIKE 'provider:cloudpayments:%%' "
            "THEN amount_minor ELSE 0 END) - sum(CASE WHEN credit_account LIKE 'provider:cloudpayments:%%' "
            "THEN amount_minor ELSE 0 END) FROM state.transfers AS transfer "
            "WHERE EXISTS (SELECT FROM state.invoices WHERE id = transfer.aggregate_id) GROUP BY 1"
        )
    )
    status = {
        str(row[0]): row[1:]
        for row in truth.rows("SELECT id, status, amount_minor, refunded_minor FROM state.invoices")
    }
    seen = set()
    for total in truth.totals:
        invoice = total["invoice_id"]
        seen.add(invoice)
        kept = total["charged_minor"] - total["refunded_minor"]
        booked = int(paid.get(invoice, 0))
        if kept != booked:
            yield f"invoice {invoice}: the provider holds {kept}, the books say {booked}"
        state, amount, refunded = status.get(invoice, ("unknown", 0, 0))
        expected = amount - refunded if state in ("paid", "partially_refunded") else 0
        if kept != expected:
            yield f"invoice {invoice} is {state}: {expected} should be kept, {kept} is"
    for invoice, booked in paid.items():
        if invoice not in seen and booked:
            yield f"invoice {invoice}: {booked} in the books and nothing at the provider (I-07: a forged callback?)"


def acknowledged_charges_have_an_effect(truth: Truth) -> Iterator[str]:
    """Whoever was told that a charge went through has the thing or the money."""
    charged = {total["invoice_id"]: total for total in truth.totals}
    for purchase in truth.purchases:
        total = charged.get(purchase.invoice_id)
        if purchase.charges_seen and (total is None or total["charges"] < purchase.charges_seen):
            yield f"purchase {purchase.number}: {purchase.charges_seen} charges seen, the provider's log has {total}"


def subscriptions_follow_invoices(truth: Truth) -> Iterator[str]:
    """A paid invoice means an active subscription; an unpaid one does not."""
    invoices = dict(truth.rows("SELECT id::text, status FROM state.invoices"))
    active = {str(row[0]): row[1] for row in truth.rows("SELECT id, status FROM subscriptions.subscriptions")}
    for purchase in truth.purchases:
        if not purchase.invoice_id:
            continue
        invoice, subscription = invoices.get(purchase.invoice_id), active.get(purchase.subscription_id)
        should = invoice in ("paid", "partially_refunded")
        if should != (subscription == "active"):
            yield f"invoice {purchase.invoice_id} is {invoice}, subscription {purchase.subscription_id} {subscription}"


def chains_have_no_gaps(truth: Truth) -> Iterator[str]:
    """I-02, I-06: versions count from 1 without gaps, and each cause moved an aggregate once a step."""
    for aggregate, count, last in truth.rows(
        "SELECT aggregate_id, count(*), max(version) FROM state.transitions GROUP BY 1 HAVING count(*) <> max(version)"
    ):
        yield f"{aggregate} has {count} steps, the last is {last}"
    for row in truth.rows(
        "SELECT invoice.id FROM state.invoices AS invoice LEFT JOIN state.transitions AS step "
        "ON step.aggregate_id = invoice.id AND step.version = invoice.version "
        "WHERE step.status IS DISTINCT FROM invoice.status"
    ):
        yield f"invoice {row[0]} is not in the status of its last step"


def epochs_never_go_back(truth: Truth) -> Iterator[str]:
    """The fence: along an aggregate's chain, a shard's epochs never decrease."""
    for row in truth.rows(
        "SELECT aggregate_id FROM (SELECT aggregate_id, epoch < lag(epoch) OVER "
        "(PARTITION BY aggregate_id, shard ORDER BY version) AS back FROM state.transitions) AS steps WHERE back"
    ):
        yield f"a later step of {row[0]} was written under an earlier epoch"


def books_balance(truth: Truth) -> Iterator[str]:
    """I-03, I-04, I-09: nothing is left in suspense or in transit; balances equal their transfers."""
    for account, currency, balance in truth.rows(
        "SELECT account, currency, sum(amount) FROM ("
        "SELECT debit_account AS account, currency, -amount_minor AS amount FROM state.transfers "
        "UNION ALL SELECT credit_account, currency, amount_minor FROM state.transfers) AS side "
        "WHERE account IN ('suspense:late', 'refunds:in_transit', 'payouts:in_transit') "
        "GROUP BY 1, 2 HAVING sum(amount) <> 0"
    ):
        yield f"{account} still holds {balance} {currency}"


def nothing_is_left_to_do(truth: Truth) -> Iterator[str]:
    """I-05, I-08, I-13: outboxes, queues and dead letters are empty, no outcome is unknown, nothing is set aside."""
    for schema in ("subscriptions", "gateway", "reminders", "auth", "devices"):
        ((count,),) = truth.rows(f"SELECT count(*) FROM {schema}.outbox")
        if count:
            yield f"{count} rows are left in {schema}.outbox"
    for shard, lag in truth.rows(
        "SELECT shard, written_seq - published_seq FROM state_api.outbox_v1 WHERE written_seq > published_seq"
    ):
        yield f"shard {shard} has {lag} unpublished events"
    for row in truth.rows("SELECT message_id, reason FROM state.quarantine WHERE resolved_at IS NULL"):
        yield f"message {row[0]} is in quarantine: {row[1]}"
    for row in truth.rows("SELECT id, status FROM state.refunds WHERE status NOT IN ('succeeded', 'failed')"):
        yield f"refund {row[0]} is {row[1]}"
    for row in truth.rows("SELECT id, invoice_id FROM state.payments WHERE status = 'unknown'"):
        yield f"attempt {row[0]} of invoice {row[1]} is unknown"
    with httpx2.Client(base_url=truth.management_url, timeout=10, trust_env=False) as client:
        for queue in client.get("/api/queues/billing").json():
            if queue.get("messages"):
                yield f"queue {queue['name']} has {queue['messages']} messages"


def no_card_number_anywhere(truth: Truth) -> Iterator[str]:
    """I-14: no card number in logs or tables."""
    for file in truth.logs.glob("*.log"):
        if file.name.startswith(("cloudpayments", "postgres", "rabbitmq")) or file.stat().st_size > _LOG_BYTES_MAX:
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        for card in _CARDS:
            if card in text:
                yield f"{file.name} holds a card number"
    for table in ("state.payments", "gateway.attempts", "gateway.callbacks", "gateway.requests"):
        pattern = "|".join(_CARDS)
        body = "convert_from(body, 'UTF8')" if table == "gateway.callbacks" else "row::text"
        ((count,),) = truth.rows(f"SELECT count(*) FROM {table} AS row WHERE {body} ~ %s", pattern)
        if count:
            yield f"{table} holds a card number in {count} rows"


def money_is_whole(truth: Truth) -> Iterator[str]:
    """I-12: every column of money is an integer."""
    for row in truth.rows(
        "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
        "WHERE column_name LIKE '%%_minor' AND data_type <> 'bigint'"
    ):
        yield f"{'.'.join(row[:3])} is {row[3]}"


def operator_commands_are_clean(truth: Truth) -> Iterator[str]:
    """`ledger verify` and `replay --check` find nothing."""
    for arguments in (("ledger", "verify"), ("replay", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "copeck.operator", *arguments, "--json"],
            env={**os.environ, **truth.operator_environment}, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        if done.returncode:
            yield f"copeck {' '.join(arguments)} ended with {done.returncode}: {(done.stdout + done.stderr)[-600:]}"


CHECKS: tuple[Check, ...] = (
    charges_are_booked_once_or_refunded,
    acknowledged_charges_have_an_effect,
    subscriptions_follow_invoices,
    chains_have_no_gaps,
    epochs_never_go_back,
    books_balance,
    nothing_is_left_to_do,
    no_card_number_anywhere,
    money_is_whole,
    operator_commands_are_clean,
)

# What takes time after the last fault; everything else is judged once these are content.
SETTLING: tuple[Check, ...] = (
    nothing_is_left_to_do,
    charges_are_booked_once_or_refunded,
    subscriptions_follow_invoices,
    books_balance,
)


def violations(truth: T, checks: Sequence[Callable[[T], Iterator[str]]], limit: int = 20) -> dict[str, list[str]]:
    """Run checks; returns violations by check."""
    found: dict[str, list[str]] = {}
    for check in checks:
        broken = []
        for line in check(truth):
            broken.append(line)
            if len(broken) >= limit:
                break
        if broken:
            found[check.__name__] = broken
    return found


def emulator_payouts(emulator_url: str) -> list[dict[str, Any]]:
    """Return what the provider sent for payouts, by the reference that we gave it."""
    with httpx2.Client(base_url=emulator_url, timeout=30, trust_env=False) as client:
        items: list[dict[str, Any]] = client.get("/sandbox/payouts").json()["items"]
    return [
        {"reference": item["invoice_id"], "transfers": item["transfers"], "amount_minor": item["amount_minor"]}
        for item in items
    ]


def emulator_totals(emulator_url: str) -> list[dict[str, Any]]:
    """Return the provider's sums per order."""
    with httpx2.Client(base_url=emulator_url, timeout=30, trust_env=False) as client:
        items: list[dict[str, Any]] = json.loads(client.get("/sandbox/totals").text)["items"]
    uuid_like = re.compile(r"^[0-9a-f-]{36}$")
    return [item for item in items if item["invoice_id"] and uuid_like.match(item["invoice_id"])]
