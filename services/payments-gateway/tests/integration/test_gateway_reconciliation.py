"""What the provider's list says against what was heard: after an outage, of strangers, of refunds that name nobody."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.domain.operations import Seen
from payments_gateway.domain.provider import AttemptStatus, Exchange, Findings, Shop, Transaction
from payments_gateway.handlers import metrics, reconciliation
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.operations import talking
from payments_gateway.store import attempts as attempt_store

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
