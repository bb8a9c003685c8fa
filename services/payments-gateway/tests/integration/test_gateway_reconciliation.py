"""What the provider's list says against what was heard: after an outage, of strangers, of refunds that name nobody."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from payments_gateway.domain.identifiers import payout_reference
from payments_gateway.domain.instructions import payout_key
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.domain.operations import Seen
from payments_gateway.domain.provider import AttemptStatus, Exchange, Findings, Shop, Transaction
from payments_gateway.handlers import metrics, reconciliation
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.operations import talking
from payments_gateway.store import attempts as attempt_store
from payments_gateway.store import operations as operation_store

pytestmark = pytest.mark.integration

Told = Callable[..., Awaitable[UUID]]
Rows = Callable[..., Awaitable[list[dict[str, Any]]]]
EXCHANGE = Exchange("POST", "/list", {}, 200, {}, None, 1)


@dataclass
class Listed:
    """A provider that has nothing but a list."""

    made: list[tuple[datetime, Transaction]] = field(default_factory=list)
    asked: list[tuple[datetime, datetime]] = field(default_factory=list)
    up: bool = True
    code: str = "cloudpayments"
    keys_remembered: timedelta = timedelta(hours=1)

    @property
    def client(self) -> "Listed":
        return self

    async def close(self) -> None:
        """Nothing is held."""

    async def find(self, _shop: Shop, **_: object) -> Findings:
        return Findings(True, (), EXCHANGE)

    async def find_refund(self, _shop: Shop, **_: object) -> None:
        """There is no such call: the list is searched."""

    async def list_between(self, _shop: Shop, *, since: datetime, until: datetime, **_: object) -> Findings:
        self.asked.append((since, until))
        if not self.up:
            return Findings(False, (), EXCHANGE)
        return Findings(True, tuple(item for at, item in self.made if since <= at <= until), EXCHANGE)


@pytest.fixture
def listed(context: Context) -> Listed:
    provider = Listed()
    context.providers = {"cloudpayments": provider}  # type: ignore[dict-item]
    return provider


@pytest.fixture
def shop(context: Context) -> Shop:
    found = context.shops.get("cloudpayments", "main")
    assert found is not None
    return found


def paid(invoice_id: UUID, transaction_id: str = "1") -> Transaction:
    return Transaction(transaction_id, AttemptStatus.SUCCEEDED, Money(19900, "RUB"), invoice_ref=str(invoice_id))


async def test_i07_an_outage_longer_than_the_window_leaves_no_gap(
    context: Context, listed: Listed, shop: Shop, clock: ManualClock, told: Told, rows: Rows
) -> None:
    invoice_id = await told()
    assert await reconciliation.reconcile(context, shop) == 0
    listed.made.append((clock.now() + timedelta(minutes=30), paid(invoice_id)))
    listed.up = False
    clock.advance(timedelta(hours=5))
    assert await reconciliation.reconcile(context, shop) == 0
    listed.up = True
    assert await reconciliation.reconcile(context, shop) == 1
    (row,) = await rows("reconciled")
    assert row["reconciled_to"] == clock.now() - timedelta(seconds=context.settings.reconcile_lag_s)


async def test_a_tick_reads_so_many_pages_and_the_next_goes_on(
    context: Context, listed: Listed, shop: Shop, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, rows: Rows
) -> None:
    await reconciliation.reconcile(context, shop)
    clock.advance(timedelta(days=60))
    monkeypatch.setattr(reconciliation, "LIST_PAGES_MAX", 3)
    listed.asked.clear()
    for _ in range(2):
        await reconciliation.reconcile(context, shop)
    assert len(listed.asked) == 6
    first = clock.now() - reconciliation.OUTAGE_MAX
    assert [since for since, _ in listed.asked] == [first + place * reconciliation.SLICE for place in range(6)]


async def test_money_that_belongs_to_no_invoice_is_counted_once(
    context: Context, listed: Listed, shop: Shop, clock: ManualClock
) -> None:
    stranger = paid(new_id(), "77")
    listed.made += [(clock.now() - timedelta(minutes=2), stranger)]
    listed.made += [(clock.now() - timedelta(minutes=2), replace(stranger, transaction_id="78", invoice_ref=None))]
    listed.made += [
        (clock.now() - timedelta(minutes=2), replace(stranger, transaction_id="79", status=AttemptStatus.FAILED))
    ]
    counter = metrics.ORPHAN_TRANSACTIONS.labels("cloudpayments", "main")
    before = counter._value.get()
    for _ in range(3):
        assert await reconciliation.reconcile(context, shop) == 0
    assert counter._value.get() == before + 2


async def test_i08_a_refund_that_names_nobody_stops_a_second_call_once_the_key_is_forgotten(
    context: Context, listed: Listed, shop: Shop, clock: ManualClock, told: Told
) -> None:
    invoice_id = await told()
    sent_at = clock.now()
    operation = Operation(
        id=new_id(), kind=OperationKind.REFUND, invoice_id=invoice_id, account="customer:1", provider="cloudpayments",
        shop="main", amount=Money(5000, "RUB"), idempotency_key="k", status=OperationStatus.UNKNOWN, next_at=sent_at,
        created_at=sent_at, first_sent_at=sent_at, refund_id=new_id(), transaction_id="1",
    )  # fmt: skip
    refund = replace(paid(invoice_id, "9"), amount=Money(5000, "RUB"), is_refund=True, original_transaction_id="1")
    listed.made.append((sent_at, refund))

    async def seen() -> Seen:
        line = talking.Line(context, listed, shop, operation, talking.Talk())  # type: ignore[arg-type]
        found, _ = await talking._ask(line)
        return found

    assert await seen() is Seen.NOT_THERE
    clock.advance(timedelta(hours=1))
    assert await seen() is Seen.CANNOT_TELL
    # Once it is known to be another's, ours was not made.
    async with context.database.transaction() as tx:
        await attempt_store.learn(tx, "cloudpayments", "main", "9", "refunded", "test", clock.now())
    assert await seen() is Seen.NOT_THERE


async def tried(
    context: Context, status: OperationStatus, now: datetime, payout_id: UUID | None = None, attempt: int = 1
) -> tuple[Operation, Transaction]:
    """A payout's try that stands somewhere here, and has paid at the provider."""
    payout_id, transaction_id = payout_id or new_id(), f"9{status}"
    operation = Operation(
        id=new_id(), kind=OperationKind.PAYOUT, invoice_id=None, account="house:payouts", provider="cloudpayments",
        shop="main", amount=Money(1010, "RUB"), idempotency_key=payout_key(payout_id, attempt), status=status,
        next_at=now + timedelta(hours=1), created_at=now, payout_id=payout_id, payout_attempt=attempt,
        result_transaction_id=transaction_id if status is OperationStatus.SUCCEEDED else None,
    )  # fmt: skip
    async with context.database.transaction() as tx:
        assert await operation_store.add(tx, operation, now)
    reference = payout_reference(payout_id, attempt)
    paid_out = paid(payout_id, transaction_id)
    return operation, replace(paid_out, amount=operation.amount, invoice_ref=reference, is_payout=True)


async def test_i08_a_payout_that_was_paid_against_our_word_is_booked_once(
    context: Context, listed: Listed, shop: Shop, clock: ManualClock, rows: Rows, reports: Rows
) -> None:
    now = clock.now() - timedelta(minutes=2)
    failed, paid_out = await tried(context, OperationStatus.FAILED, now)
    listed.made.append((now, paid_out))
    counter = metrics.PAYOUT_DIFFERENCES.labels("cloudpayments", "main", "paid_after_all")
    before = counter._value.get()
    assert [await reconciliation.reconcile(context, shop) for _ in range(3)] == [1, 0, 0]
    (report,) = await reports()
    assert (report["status"], report["attempt"], report["payout_id"]) == ("completed", 1, str(failed.payout_id))
    (row,) = await rows("operations")
    assert (row["status"], row["result_transaction_id"]) == ("succeeded", paid_out.transaction_id)
    assert counter._value.get() == before + 1


async def test_a_payout_that_failed_and_is_under_way_there_is_told_of_once_and_booked_when_it_is_paid(
    context: Context, listed: Listed, shop: Shop, clock: ManualClock, rows: Rows, reports: Rows
) -> None:
    now = clock.now() - timedelta(minutes=2)
    _, paid_out = await tried(context, OperationStatus.FAILED, now)
    listed.made = [(now, replace(paid_out, status=AttemptStatus.PENDING))]
    counter = metrics.PAYOUT_DIFFERENCES.labels("cloudpayments", "main", "pending_there")
    before = counter._value.get()
    assert [await reconciliation.reconcile(context, shop) for _ in range(2)] == [0, 0]
    assert (counter._value.get(), await reports()) == (before + 1, [])
    assert [row["status"] for row in await rows("operations")] == ["failed"]
    listed.made = [(now, paid_out)]
    assert await reconciliation.reconcile(context, shop) == 1
    assert [report["status"] for report in await reports()] == ["completed"]


@pytest.mark.parametrize(
    ("last", "becomes", "reported"),
    [
        (OperationStatus.READY, "failed", 3),
        (OperationStatus.FAILED, "failed", 3),
        # It may have been sent: the updater sets the word on the first try aside, and somebody looks.
        *((status, status.value, 1) for status in OperationStatus if status not in ("ready", "failed")),
    ],
)
async def test_i08_a_payout_that_was_paid_at_first_is_not_paid_by_a_later_try(
    context: Context, listed: Listed, shop: Shop, clock: ManualClock, rows: Rows, reports: Rows,
    last: OperationStatus, becomes: str, reported: int,
) -> None:  # fmt: skip
    now = clock.now() - timedelta(minutes=2)
    first, paid_out = await tried(context, OperationStatus.FAILED, now)
    await tried(context, OperationStatus.FAILED, now, first.payout_id, 2)
    await tried(context, last, now, first.payout_id, 3)
    listed.made.append((now, paid_out))
    assert [await reconciliation.reconcile(context, shop) for _ in range(2)] == [1, 0]
    (report,) = await reports()
    assert (report["status"], report["attempt"], report["transaction"]) == (
        "completed", reported, paid_out.transaction_id,
    )  # fmt: skip
    tries = sorted(await rows("operations"), key=lambda row: int(row["payout_attempt"]))
    assert [row["status"] for row in tries] == ["succeeded", "failed", becomes]


async def test_i08_two_tries_that_were_given_up_and_both_paid_are_one_payout_and_one_too_many(
    context: Context, listed: Listed, shop: Shop, clock: ManualClock, rows: Rows, reports: Rows
) -> None:
    now = clock.now() - timedelta(minutes=2)
    first, paid_out = await tried(context, OperationStatus.FAILED, now)
    _, again = await tried(context, OperationStatus.FAILED, now, first.payout_id, 2)
    again = replace(again, transaction_id="10")
    listed.made += [(now, paid_out), (now, again)]
    assert [await reconciliation.reconcile(context, shop) for _ in range(2)] == [1, 0]
    (report,) = await reports()
    assert (report["status"], report["attempt"], report["transaction"]) == ("completed", 2, paid_out.transaction_id)
    facts = {(row["transaction_id"], row["kind"]) for row in await rows("facts")}
    assert facts == {(paid_out.transaction_id, "payout_paid_after_all"), ("10", "payout_paid_twice")}


async def test_a_payout_that_has_ended_at_the_provider_is_asked_about_at_once(
    context: Context, listed: Listed, shop: Shop, clock: ManualClock, rows: Rows, reports: Rows
) -> None:
    now, sent = clock.now() - timedelta(minutes=2), list[UUID]()
    context.enqueue = sent.extend
    unknown, paid_out = await tried(context, OperationStatus.UNKNOWN, now)
    listed.made.append((now, paid_out))
    assert await reconciliation.reconcile(context, shop) == 0
    assert sent == [unknown.id]
    assert [row["next_at"] for row in await rows("operations")] == [clock.now()]
    assert await reports() == []


async def test_payouts_that_are_not_ours_are_counted_once_and_move_nothing(
    context: Context, listed: Listed, shop: Shop, clock: ManualClock, reports: Rows
) -> None:
    now = clock.now() - timedelta(minutes=2)
    _, paid_out = await tried(context, OperationStatus.SUCCEEDED, now)
    _, failed = await tried(context, OperationStatus.FAILED, now)
    listed.made += [
        (now, paid_out),
        (now, replace(paid_out, transaction_id="10")),
        (now, replace(failed, amount=Money(1011, "RUB"))),
        (now, replace(paid_out, transaction_id="11", invoice_ref="by hand")),
    ]
    kinds = ("paid_twice", "other_amount", "stranger")
    counters = [metrics.PAYOUT_DIFFERENCES.labels("cloudpayments", "main", kind) for kind in kinds]
    orphans = metrics.ORPHAN_TRANSACTIONS.labels("cloudpayments", "main")
    before = [counter._value.get() for counter in (*counters, orphans)]
    assert [await reconciliation.reconcile(context, shop) for _ in range(2)] == [0, 0]
    # A merchant's own shop pays out what its owner likes.
    listed.made = [(now, replace(paid_out, transaction_id="12", invoice_ref="by hand"))]
    assert await reconciliation.reconcile(context, replace(shop, merchant=str(new_id()))) == 0
    seen = [counter._value.get() for counter in (*counters, orphans)]
    assert [after - then for after, then in zip(seen, before, strict=True)] == [1, 1, 1, 0]
    assert await reports() == []


async def test_a_difference_that_is_known_costs_no_commit_at_the_next_sweep(
    context: Context, listed: Listed, shop: Shop, clock: ManualClock
) -> None:
    now = clock.now() - timedelta(minutes=2)
    _, paid_out = await tried(context, OperationStatus.SUCCEEDED, now)
    listed.made += [(now, replace(paid_out, transaction_id=f"1{place}")) for place in range(3)]
    said: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        said.append(statement)

    engine = context.database.engine.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        asked = []
        for _ in range(2):
            said.clear()
            await reconciliation.reconcile(context, shop)
            asked.append(sum(statement.startswith("INSERT INTO gateway.facts") for statement in said))
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    assert asked == [3, 0]
