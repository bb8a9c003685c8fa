"""Several at once, and the rights of the service: what the database itself does not let happen."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from copeck.kernel.ids import new_id
from services.subscriptions.tests.world import World
from subscriptions.clockwork import forget_old, run_due
from subscriptions.domain import decisions
from subscriptions.domain.machine import Status
from subscriptions.domain.model import Outcome, Subscription
from subscriptions.domain.periods import PeriodUnit
from subscriptions.handlers import invoices
from subscriptions.handlers.catch_up import BEGINNING, catch_up
from subscriptions.handlers.subscriptions import cancel

pytestmark = pytest.mark.integration


async def test_one_invoice_a_period_however_many_ask(world: World) -> None:
    """I-11."""
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    await world.hear(begun.invoice_id, "expired")
    asked = await asyncio.gather(*(world.invoice(begun.subscription.id) for _ in range(5)))
    assert len(set(asked)) == 1
    with pytest.raises(psycopg.errors.UniqueViolation, match="period_invoices_one_a_period"):
        await world.as_admin(
            "INSERT INTO subscriptions.period_invoices SELECT gen_random_uuid(), subscription_id, user_id, "
            "period_number, price_id, late_policy, 'open', 0, created_at, expires_at "
            "FROM subscriptions.period_invoices WHERE state = 'open'"
        )


async def test_one_subscription_to_a_product_however_fast(world: World) -> None:
    price, user = await world.plan(), new_id()
    begun = await asyncio.gather(*(world.subscribe(user, price) for _ in range(5)))
    assert len({one.subscription.id for one in begun}) == 1
    assert len(await world.sent("invoice.issue.v1")) == 1


async def test_copies_of_a_message_meet(world: World) -> None:
    """I-06: five deliveries of one message, and a second message of the same version, at the same time."""
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    message = world.event(begun.invoice_id, "paid", version=3)
    another = world.event(begun.invoice_id, "paid", version=3)
    copies = [invoices.on_event(world.context, one) for one in (message, message, another, message, message)]
    await asyncio.gather(*copies)
    assert (await world.subscription(begun.subscription.id)).period_number == 1
    assert len(await world.access(begun.subscription.id)) == 1


async def test_time_passes_once_with_two_clocks(world: World) -> None:
    """Active, past due, expired: each step once, whoever looks at the clock."""
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    await world.hear(begun.invoice_id, "paid")
    assert await run_due(world.context) == 0
    for moment, status in (
        (datetime(2026, 2, 28, 12, tzinfo=UTC), Status.PAST_DUE),
        (datetime(2026, 3, 3, 12, tzinfo=UTC), Status.EXPIRED),
    ):
        world.clock.set(moment)
        await asyncio.gather(*(run_due(world.context) for _ in range(3)))
        assert (await world.subscription(begun.subscription.id)).status is status
    steps = await world.rows("SELECT event FROM subscriptions.subscription_events ORDER BY version")
    assert [row["event"] for row in steps] == ["created", "period_paid", "period_ended", "deadline_passed"]
    assert [kind for kind, _ in (await world.sent())[-2:]] == ["subscription.past_due.v1", "subscription.expired.v1"]


async def test_a_scheduled_cancellation_comes_due(world: World) -> None:
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    await world.hear(begun.invoice_id, "paid")
    await world.do(begun.subscription.id, cancel, "period_end", "bored")
    world.clock.set(datetime(2026, 3, 1, tzinfo=UTC))
    await run_due(world.context)
    over = await world.subscription(begun.subscription.id)
    assert (over.status, over.reason) == (Status.CANCELED, "bored")


async def test_one_that_cannot_be_moved_holds_up_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """I-13, for what time brings."""
    price = await world.plan()
    broken, other = await world.subscribe(new_id(), price), await world.subscribe(new_id(), price)
    world.clock.advance(timedelta(days=10))
    tick = decisions.tick

    def breaks(subscription: Subscription, now: datetime, grace: timedelta) -> Outcome:
        if subscription.id == broken.subscription.id:
            raise ZeroDivisionError
        return tick(subscription, now, grace)

    monkeypatch.setattr(decisions, "tick", breaks)
    await run_due(world.context)
    assert (await world.subscription(other.subscription.id)).status is Status.EXPIRED
    monkeypatch.undo()
    assert await run_due(world.context) == 0
    world.clock.advance(timedelta(minutes=5))
    await run_due(world.context)
    assert (await world.subscription(broken.subscription.id)).status is Status.EXPIRED


async def test_paid_after_it_expired_begins_at_the_payment(world: World) -> None:
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    world.clock.advance(timedelta(days=10))
    await run_due(world.context)
    assert (await world.subscription(begun.subscription.id)).status is Status.EXPIRED
    await world.hear(begun.invoice_id, "paid")
    again = await world.subscription(begun.subscription.id)
    assert (again.status, again.ended_at) == (Status.ACTIVE, None)
    assert again.period_start == world.clock.now()


async def test_what_expired_gives_way_to_what_came_after(world: World) -> None:
    """Two payments, one product: the late one goes back."""
    price, user = await world.plan(), new_id()
    first = await world.subscribe(user, price)
    assert first.invoice_id is not None
    world.clock.advance(timedelta(days=10))
    await run_due(world.context)
    second = await world.subscribe(user, price)
    await world.hear(first.invoice_id, "paid")
    assert (await world.subscription(first.subscription.id)).status is Status.EXPIRED
    assert (await world.subscription(second.subscription.id)).status is Status.INCOMPLETE
    assert len(await world.sent("invoice.refund.v1")) == 1


async def test_old_notes_are_forgotten(world: World) -> None:
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    await world.hear(begun.invoice_id, "paid")
    world.clock.set(datetime.now(UTC) + timedelta(days=40))
    await forget_old(world.context)
    assert await world.rows("SELECT 1 FROM subscriptions.inbox") == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE subscriptions.prices SET amount_minor = 1",
        "DELETE FROM subscriptions.prices",
        "UPDATE subscriptions.audit SET actor = ''",
        "DELETE FROM subscriptions.audit",
        "UPDATE subscriptions.subscription_events SET status = 'active'",
        "DELETE FROM subscriptions.subscriptions",
        "DELETE FROM subscriptions.entitlements",
        "UPDATE state.invoices SET status = 'paid'",
        "SELECT 1 FROM state.invoices",
        "UPDATE state_api.invoices_v1 SET status = 'paid'",
    ],
)
async def test_rights(database_urls: dict[str, Any], statement: str) -> None:
    """A price is never edited, the past is not rewritten, the State Storage is another's: facts of the database."""
    async with await psycopg.AsyncConnection.connect(database_urls["subscriptions"]) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement)


@pytest.mark.parametrize(("status", "expected"), [("paid", Status.ACTIVE), ("expired", Status.INCOMPLETE)])
async def test_an_invoice_whose_event_never_came_is_followed(world: World, status: str, expected: Status) -> None:
    """A binding was lost for a while: the State Storage knows of the payment, no message says so."""
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    now = world.clock.now()
    await world.as_admin(
        "INSERT INTO state.invoices (id, version, status, updated_at, account, kind, product, payer, beneficiary, "
        "amount_minor, currency, late_policy, capture, expires_at, issued_at) VALUES "
        f"('{begun.invoice_id}', 3, '{status}', '{now.isoformat()}', 'customer:x', 'subscription', 'cinema', 'x', "
        f"'revenue:cinema', 19900, 'RUB', 'refund', 'automatic', '{now.isoformat()}', '{now.isoformat()}')"
    )
    assert (await catch_up(world.context)).followed == 0
    world.clock.advance(timedelta(minutes=1))
    assert (await catch_up(world.context)).followed == 1
    assert (await world.subscription(begun.subscription.id)).status is expected
    assert (await catch_up(world.context)).followed == 0
    await world.hear(begun.invoice_id, status, version=3)
    assert len(await world.access(begun.subscription.id)) == (1 if status == "paid" else 0)


@pytest.mark.parametrize(
    ("first", "later", "expected"),
    [("paid", "charged_back", Status.CANCELED), ("expired", "paid", Status.ACTIVE)],
)
async def test_an_old_invoice_whose_event_never_came_has_its_turn(
    world: World, first: Any, later: Any, expected: Status
) -> None:
    """A year is charged back in its third month; late money is accepted after weeks. Older invoices come before it."""
    price = await world.plan("yearly", unit=PeriodUnit.YEAR, late_policy="accept")
    others = [await world.subscribe(new_id(), price) for _ in range(3)]
    begun = await world.subscribe(new_id(), price)
    assert begun.invoice_id is not None
    await world.issue_in_state(begun.invoice_id, begun.subscription.user_id)
    await world.hear(begun.invoice_id, first, version=2)
    world.clock.advance(timedelta(days=90))
    await world.set_in_state(begun.invoice_id, later)
    await world.as_admin(f"UPDATE state.invoices SET version = 3 WHERE id = '{begun.invoice_id}'")
    one = await catch_up(world.context, piece=2)
    assert one == (0, others[1].invoice_id)
    two = await catch_up(world.context, one.after, piece=2)
    assert two == (1, begun.invoice_id)
    assert (await world.subscription(begun.subscription.id)).status is expected
    assert await catch_up(world.context, two.after, piece=2) == (0, BEGINNING)
