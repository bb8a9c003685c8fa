"""The paths of a subscription on a real Postgres: subscribe, pay, renew, refund, and what comes twice or late."""

from datetime import UTC, datetime, timedelta

import pytest

from copeck.contracts.envelope import Envelope
from copeck.contracts.events import CommandRefused, InvoiceCanceled, InvoiceExpired, InvoiceRefunded
from copeck.kernel.ids import new_id
from services.subscriptions.tests.world import World
from subscriptions.domain.machine import Status
from subscriptions.handlers import invoices
from subscriptions.handlers.subscriptions import AlreadySubscribedError, cancel, pause, resume

pytestmark = pytest.mark.integration


async def test_subscribing_sends_the_invoice_in_the_same_commit(world: World) -> None:
    price = await world.plan()
    user = new_id()
    begun = await world.subscribe(user, price)
    assert begun.subscription.status is Status.INCOMPLETE
    (kind, issue), (created, state) = await world.sent()
    assert kind == "invoice.issue.v1"
    assert issue["invoice_id"] == str(begun.invoice_id)
    assert issue["account"] == f"customer:{user}"
    assert (issue["amount_minor"], issue["currency"]) == (19900, "RUB")
    assert issue["beneficiary"] == "revenue:subscription"
    assert issue["references"]["subscription_id"] == str(begun.subscription.id)
    assert created == "subscription.created.v1"
    assert state["status"] == "incomplete"


async def test_paid_invoice_activates_until_the_end_of_the_month(world: World) -> None:
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    await world.hear(begun.invoice_id, "paid")
    active = await world.subscription(begun.subscription.id)
    assert active.status is Status.ACTIVE
    assert active.period_end == datetime(2026, 2, 28, 12, 0, tzinfo=UTC)
    assert await world.access(active.id) == [(world.clock.now(), active.period_end)]
    [(_, state)] = await world.sent("subscription.activated.v1")
    assert state["entitled_until"] == "2026-02-28T12:00:00Z"


async def test_the_same_message_and_an_older_one_change_nothing(world: World) -> None:
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    message = await world.hear(begun.invoice_id, "paid", version=3)
    await invoices.on_event(world.context, message)
    await world.hear(begun.invoice_id, "paid", version=3)
    await world.hear(begun.invoice_id, "expired", kind=InvoiceExpired, version=2)
    active = await world.subscription(begun.subscription.id)
    assert (active.status, active.version) == (Status.ACTIVE, 2)
    assert len(await world.access(active.id)) == 1


async def test_renewals_keep_to_the_first_day(world: World) -> None:
    """31 January, 28 February, 31 March: counted from the anchor."""
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    await world.hear(begun.invoice_id, "paid")
    world.clock.set(datetime(2026, 2, 27, tzinfo=UTC))
    second = await world.invoice(begun.subscription.id)
    await world.hear(second, "paid")
    renewed = await world.subscription(begun.subscription.id)
    assert renewed.period_end == datetime(2026, 3, 31, 12, 0, tzinfo=UTC)
    assert [kind for kind, _ in await world.sent("subscription.renewed.v1")] == ["subscription.renewed.v1"]


async def test_second_subscription_to_a_product_is_refused(world: World) -> None:
    price = await world.plan()
    user = new_id()
    begun = await world.subscribe(user, price)
    assert begun.invoice_id is not None
    await world.hear(begun.invoice_id, "paid")
    with pytest.raises(AlreadySubscribedError):
        await world.subscribe(user, price)


async def test_another_choice_replaces_what_was_not_paid(world: World) -> None:
    """And if the first invoice is paid after all, its money goes back."""
    cheap, dear = await world.plan(), await world.plan("yearly", minor=199000)
    user = new_id()
    first = await world.subscribe(user, cheap)
    second = await world.subscribe(user, dear)
    assert first.invoice_id is not None
    assert (await world.subscription(first.subscription.id)).status is Status.CANCELED
    assert [data["invoice_id"] for _, data in await world.sent("invoice.cancel.v1")] == [str(first.invoice_id)]
    await world.hear(first.invoice_id, "paid")
    assert (await world.subscription(first.subscription.id)).status is Status.CANCELED
    [(_, refund)] = await world.sent("invoice.refund.v1")
    assert refund["invoice_id"] == str(first.invoice_id)
    assert refund.get("amount_minor") is None
    assert (await world.subscription(second.subscription.id)).status is Status.INCOMPLETE


async def test_an_expired_invoice_is_replaced_on_request(world: World) -> None:
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    assert await world.invoice(begun.subscription.id) == begun.invoice_id
    await world.hear(begun.invoice_id, "expired", kind=InvoiceExpired)
    another = await world.invoice(begun.subscription.id)
    assert another != begun.invoice_id
    await world.hear(another, "paid")
    assert (await world.subscription(begun.subscription.id)).status is Status.ACTIVE


async def test_two_invoices_of_one_period_buy_it_once(world: World) -> None:
    """I-11: the second payment of a period goes back."""
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    await world.hear(begun.invoice_id, "canceled", kind=InvoiceCanceled)
    another = await world.invoice(begun.subscription.id)
    await world.hear(another, "paid")
    end = (await world.subscription(begun.subscription.id)).period_end
    await world.hear(begun.invoice_id, "paid")
    assert (await world.subscription(begun.subscription.id)).period_end == end
    [(_, refund)] = await world.sent("invoice.refund.v1")
    assert refund["invoice_id"] == str(begun.invoice_id)


async def test_a_full_refund_ends_access_and_a_partial_one_does_not(world: World) -> None:
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    await world.hear(begun.invoice_id, "paid")
    await world.hear(begun.invoice_id, "partially_refunded")
    assert (await world.subscription(begun.subscription.id)).status is Status.ACTIVE
    world.clock.advance(timedelta(days=2))
    await world.hear(begun.invoice_id, "refunded", kind=InvoiceRefunded)
    ended = await world.subscription(begun.subscription.id)
    assert (ended.status, ended.reason) == (Status.CANCELED, "refunded")
    assert [end for _, end in await world.access(ended.id)] == [world.clock.now()]


async def test_the_operators_timeline(world: World) -> None:
    """`copeck invoice show`: what this service adds to an invoice's story."""
    import psycopg

    from subscriptions.store.timeline import entries

    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    message = await world.hear(begun.invoice_id, "paid")
    with psycopg.connect(world.admin_url) as connection:
        asked, created, active = entries(connection, begun.invoice_id)
    assert (asked.kind, asked.status) == ("command", "paid")
    assert (created.status, active.status, active.cause_id) == ("incomplete", "active", message.id)


async def test_an_invoice_that_was_refused_can_be_issued_anew(world: World) -> None:
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    refusal = CommandRefused(
        command_id=new_id(), command_type="invoice.issue", aggregate=str(begun.invoice_id), code="terms", detail="no"
    )
    for _ in range(2):
        await invoices.on_event(world.context, Envelope.new(refusal, source="state-updater", clock=world.clock))
    assert await world.invoice(begun.subscription.id) != begun.invoice_id
    steps = await world.rows("SELECT event FROM subscriptions.subscription_events ORDER BY version")
    assert [row["event"] for row in steps] == ["created", "invoice_lapsed"]


async def test_late_money_is_accepted_where_the_product_says_so(world: World) -> None:
    """I-09, the policy `accept`: a canceled subscription comes back when the updater says that it is paid after all."""
    begun = await world.subscribe(new_id(), await world.plan(late_policy="accept"))
    assert begun.invoice_id is not None
    await world.do(begun.subscription.id, cancel, "now", "")
    await world.hear(begun.invoice_id, "canceled", kind=InvoiceCanceled)
    await world.hear(begun.invoice_id, "paid")
    assert (await world.subscription(begun.subscription.id)).status is Status.ACTIVE
    assert await world.sent("invoice.refund.v1") == []


async def test_a_chargeback_ends_access(world: World) -> None:
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    await world.hear(begun.invoice_id, "paid")
    await world.hear(begun.invoice_id, "disputed")
    assert (await world.subscription(begun.subscription.id)).status is Status.ACTIVE
    await world.hear(begun.invoice_id, "charged_back")
    ended = await world.subscription(begun.subscription.id)
    assert (ended.status, ended.reason) == (Status.CANCELED, "charged back")


async def test_a_newer_event_makes_the_older_ones_needless(world: World) -> None:
    """Events carry whole states: a refund that overtakes its payment leaves nothing active."""
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    await world.hear(begun.invoice_id, "refunded", kind=InvoiceRefunded, version=5)
    await world.hear(begun.invoice_id, "paid", version=3)
    assert (await world.subscription(begun.subscription.id)).status is Status.INCOMPLETE
    assert await world.access(begun.subscription.id) == []
    await world.hear(await world.invoice(begun.subscription.id), "paid")
    assert (await world.subscription(begun.subscription.id)).status is Status.ACTIVE


async def test_a_pause_moves_what_is_paid(world: World) -> None:
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    await world.hear(begun.invoice_id, "paid")
    world.clock.advance(timedelta(days=10))
    await world.do(begun.subscription.id, pause, "travelling")
    world.clock.advance(timedelta(days=5))
    await world.do(begun.subscription.id, resume)
    back = await world.subscription(begun.subscription.id)
    assert back.period_end == datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
    [first, second] = await world.access(back.id)
    assert first[1] == datetime(2026, 2, 10, 12, 0, tzinfo=UTC)
    assert second == (world.clock.now(), back.period_end)
    await world.hear(begun.invoice_id, "refunded", kind=InvoiceRefunded)
    assert (await world.subscription(back.id)).status is Status.CANCELED


async def test_money_that_arrives_in_a_pause_ends_it(world: World) -> None:
    begun = await world.subscribe(new_id(), await world.plan())
    assert begun.invoice_id is not None
    await world.hear(begun.invoice_id, "paid")
    world.clock.set(datetime(2026, 2, 25, tzinfo=UTC))
    second = await world.invoice(begun.subscription.id)
    await world.do(begun.subscription.id, pause, "")
    world.clock.advance(timedelta(hours=1))
    await world.hear(second, "paid")
    back = await world.subscription(begun.subscription.id)
    assert (back.status, back.paused_at) == (Status.ACTIVE, None)
    access = await world.access(back.id)
    assert access[-1][1] == back.period_end
    assert access[1][1] == access[2][0]
