"""An order from the first wish to the cup, or to the money on its way back, on a real database."""

import asyncio
from datetime import timedelta

import pytest

from copeck.contracts import events
from copeck.kernel.ids import new_id
from device_bridge.domain.drivers import Answer, Handed
from device_bridge.domain.errors import ForeignCommand, LinkReplayed, NotAllowedNow
from device_bridge.domain.model import Report
from device_bridge.handlers import invoices, orders, reports, sending
from device_bridge.handlers.invoices import UnknownInvoiceError

from .fleet import Fleet

pytestmark = pytest.mark.integration


async def test_from_the_wish_to_the_cup(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.ask(receipt_address="someone@example.org")
    assert await fleet.ends(order) == ("created", "", None)
    [(kind, issued)] = await fleet.sent()
    assert kind == "invoice.issue.v1"
    assert issued["beneficiary"] == issued["account"] == f"merchant:{order.merchant_id}"
    assert (issued["amount_minor"], issued["commission_minor"], issued["late_policy"]) == (15000, 750, "refund")
    assert issued["payer"] == f"order:{order.id}"
    await fleet.hear(order, events.InvoiceIssued)
    assert await fleet.ends(order) == ("pending", "", None)
    await fleet.hear(order, events.InvoicePending)
    await fleet.hear(order, events.InvoicePaid)
    assert await fleet.ends(order) == ("make_pending", "", None)
    assert fleet.machine.told == []
    await fleet.send()
    [(word, target, instruction)] = fleet.machine.told
    command = await fleet.command(order.id)
    assert (word, instruction.command_id, instruction.order_id) == ("brew", command.id, order.id)
    assert (instruction.drink_id, instruction.size, instruction.price_minor) == ("latte", "medium", 15000)
    assert len(target.key) == 32
    await fleet.says(order, "accepted", "started", "done")
    assert await fleet.ends(order) == ("successful", "", None)
    assert await fleet.history(order) == [
        "created", "invoice_issued", "invoice_paid", "brew_commanded", "brew_accepted", "brew_started", "brew_done",
    ]  # fmt: skip
    [receipt] = await fleet.rows("SELECT kind, address, status FROM devices.receipts")
    assert receipt == {"kind": "receipt", "address": "someone@example.org", "status": "waiting"}
    assert len(await fleet.sent()) == 1
    assert await fleet.send() == 0


async def test_a_merchant_with_a_shop_of_its_own_owes_the_commission_only(fleet: Fleet) -> None:
    await fleet.device(mode="own_shop")
    order = await fleet.ask()
    [(_, issued)] = await fleet.sent()
    assert issued["beneficiary"] == f"receivable:{order.merchant_id}"
    assert issued["account"] == f"merchant:{order.merchant_id}"


async def test_a_duplicate_payment_makes_no_second_drink(fleet: Fleet) -> None:
    """Defect 4.1: a duplicate webhook made a second drink. The same message, and the same news under another id."""
    await fleet.device()
    order = await fleet.ask()
    message = await fleet.hear(order, events.InvoicePaid)
    await invoices.on_event(fleet.context, message)
    await fleet.hear(order, events.InvoicePaid)
    await asyncio.gather(*(fleet.hear(order, events.InvoicePaid) for _ in range(4)))
    await fleet.send()
    await fleet.send()
    assert fleet.machine.words == ["brew"]
    assert await fleet.rows("SELECT count(*) AS n FROM devices.brew_commands") == [{"n": 1}]


async def test_older_news_are_dropped(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.ask()
    await fleet.hear(order, events.InvoicePaid, version=3)
    await fleet.hear(order, events.InvoiceExpired, version=2)
    await fleet.hear(order, events.InvoiceIssued, version=1)
    assert await fleet.ends(order) == ("make_pending", "", None)


async def test_unpaid_orders_expire(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.ask()
    assert order.expires_at == fleet.clock.now() + timedelta(minutes=15)
    await fleet.hear(order, events.InvoiceIssued)
    await fleet.hear(order, events.InvoiceExpired)
    assert await fleet.ends(order) == ("not_paid", "expired", None)


async def test_paid_after_expiry_brews_nothing_and_shows_the_money_coming_back(fleet: Fleet) -> None:
    """Defect 4.1: an expired order's webhook was answered 400, although the money was taken."""
    await fleet.device()
    order = await fleet.ask(receipt_address="someone@example.org")
    await fleet.hear(order, events.InvoiceExpired)
    await fleet.hear(order, events.InvoiceLatePaymentReceived, status="expired")
    assert await fleet.ends(order) == ("not_paid", "payment_late", None)
    late = {"refund_id": new_id(), "origin": "late_payment"}
    await fleet.hear_refund(order, events.RefundRequested, **late)
    assert await fleet.ends(order) == ("not_paid", "payment_late", "requested")
    await fleet.hear_refund(order, events.RefundSucceeded, **late)
    assert await fleet.ends(order) == ("not_paid", "payment_late", "succeeded")
    assert await fleet.rows("SELECT kind FROM devices.receipts") == [{"kind": "refund"}]
    await fleet.send()
    assert fleet.machine.told == []


async def test_an_invoice_that_was_paid_although_we_had_given_it_up_is_refunded(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.ask()
    await fleet.hear(order, events.InvoiceExpired)
    await fleet.hear(order, events.InvoicePaid)
    assert await fleet.ends(order) == ("failed", "payment_late", "requested")
    assert fleet.machine.told == []


async def test_money_that_came_twice_tells_of_the_first_payment_too(fleet: Fleet) -> None:
    """The event of the first payment was lost, or comes after this one: the cup is made all the same, once."""
    await fleet.device()
    order = await fleet.ask()
    await fleet.hear(order, events.InvoiceIssued, version=1)
    await fleet.hear(order, events.InvoiceLatePaymentReceived, status="paid", version=3)
    assert await fleet.ends(order) == ("make_pending", "", None)
    await fleet.hear(order, events.InvoicePaid, version=2)
    await fleet.hear(order, events.InvoiceLatePaymentReceived, status="paid", version=4)
    assert await fleet.send() == 1
    assert await fleet.ends(order) == ("make_pending", "", None)
    # Of an order that we had given up, the first payment goes back as well.
    given_up = await fleet.ask()
    await fleet.hear(given_up, events.InvoiceExpired)
    await fleet.hear(given_up, events.InvoiceLatePaymentReceived, status="paid")
    assert await fleet.ends(given_up) == ("failed", "payment_late", "requested")


@pytest.mark.parametrize(("word", "reason"), [("failed", "brew_failed"), ("rejected", "machine_rejected")])
async def test_a_failed_brew_is_refunded_once(fleet: Fleet, word: str, reason: str) -> None:
    """Defect 4.1: a failed make was never refunded."""
    await fleet.device()
    order = await fleet.paid(receipt_address="someone@example.org")
    await fleet.send()
    await fleet.says(order, word, code="no_water")
    await fleet.says(order, word, code="no_water")
    await fleet.says(order, word, code="no_water", after_s=5)
    assert await fleet.ends(order) == ("failed", reason, "requested")
    [(_, refund)] = await fleet.sent("invoice.refund.v1")
    assert (refund["invoice_id"], refund["amount_minor"], refund["reason"]) == (str(order.invoice_id), None, reason)
    stored = await fleet.order(order.id)
    assert refund["refund_id"] == str(stored.refund_id)
    await fleet.hear_refund(stored, events.RefundPending)
    await fleet.hear_refund(stored, events.RefundSucceeded)
    assert await fleet.ends(order) == ("failed", reason, "succeeded")
    assert await fleet.rows("SELECT kind FROM devices.receipts") == [{"kind": "refund"}]


async def test_silence_is_asked_about_and_then_refunded(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.paid()
    await fleet.send()
    for _ in range(11):
        await fleet.pass_s(5)
    assert set(fleet.machine.words) == {"brew"}
    assert len({instruction.command_id for _, _, instruction in fleet.machine.told}) == 1
    assert len(fleet.machine.told) == 12
    await fleet.pass_s(5)
    assert fleet.machine.words[-1] == "revoke"
    assert await fleet.sent("invoice.refund.v1") == []
    await fleet.pass_s(5)
    assert fleet.machine.words[-2:] == ["revoke", "revoke"]
    await fleet.pass_s(5)
    assert await fleet.ends(order) == ("failed", "no_answer", "requested")
    assert len(await fleet.sent("invoice.refund.v1")) == 1
    await fleet.pass_s(600)
    assert len(await fleet.sent("invoice.refund.v1")) == 1


async def test_the_answer_to_the_revocation_counts(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.paid()
    await fleet.send()
    await fleet.says(order, "accepted")
    await fleet.pass_s(180)
    assert fleet.machine.words == ["brew", "revoke"]
    await fleet.says(order, "done")
    await fleet.pass_s(60)
    assert await fleet.ends(order) == ("successful", "", None)
    assert await fleet.sent("invoice.refund.v1") == []


async def test_a_machine_that_is_still_at_it_says_so_again_and_is_waited_for(fleet: Fleet) -> None:
    """Asked to forget the command, it answers with the very words that it said before; they count once more."""
    await fleet.device()
    order = await fleet.paid()
    await fleet.send()
    await fleet.says(order, "started")
    await fleet.pass_s(180)
    assert fleet.machine.words[-1] == "revoke"
    await fleet.says(order, "started", after_s=-180)
    await fleet.pass_s(30)
    assert await fleet.ends(order) == ("make_pending", "", None)
    await fleet.says(order, "done")
    assert await fleet.ends(order) == ("successful", "", None)
    assert await fleet.sent("invoice.refund.v1") == []


async def test_done_after_the_refund_is_an_incident_that_a_manager_sees(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.paid()
    await fleet.send()
    await fleet.pass_s(60)
    await fleet.pass_s(10)
    assert await fleet.ends(order) == ("failed", "no_answer", "requested")
    await fleet.says(order, "done")
    await fleet.says(order, "done")
    assert await fleet.incidents() == ["done_after_refund"]
    assert await fleet.ends(order) == ("failed", "no_answer", "requested")


async def test_a_machine_that_brews_what_nobody_paid_for_is_an_incident(fleet: Fleet) -> None:
    await fleet.device()
    for state in ("accepted", "started", "done"):
        report = Report("kiosk-1", new_id(), state, fleet.clock.now())
        await reports.on_report(fleet.context, report)
        await reports.on_report(fleet.context, report)
    assert await fleet.incidents() == ["brewed_unpaid", "brewed_unpaid"]


async def test_a_machine_says_nothing_about_another_ones_cup(fleet: Fleet) -> None:
    await fleet.device()
    await fleet.device("kiosk-2")
    order = await fleet.paid()
    await fleet.send()
    command = await fleet.command(order.id)
    with pytest.raises(ForeignCommand):
        await reports.on_report(fleet.context, Report("kiosk-2", command.id, "failed", fleet.clock.now()))
    assert await fleet.ends(order) == ("make_pending", "", None)


# Models that do not say when they have done it.


async def test_a_silent_model_is_done_by_its_policy(fleet: Fleet) -> None:
    """Defect 4.1: `successful` was never set, for there was no report of the machine."""
    await fleet.device(model="silent")
    machine = fleet.machines.driver("silent")
    machine.answer = Answer(Handed.ACCEPTED)
    order = await fleet.paid()
    await fleet.send()
    assert await fleet.ends(order) == ("make_pending", "", None)
    await fleet.pass_s(45)
    assert await fleet.ends(order) == ("successful", "", None)
    assert machine.words == ["brew"]
    assert (await fleet.history(order))[-1] == "brew_assumed_done"


async def test_a_model_without_trust_is_refunded_at_its_deadline(fleet: Fleet) -> None:
    await fleet.device(model="doubtful")
    fleet.machines.driver("doubtful").answer = Answer(Handed.ACCEPTED)
    order = await fleet.paid()
    await fleet.send()
    await fleet.pass_s(180)
    assert await fleet.ends(order) == ("failed", "deadline", "requested")


async def test_an_unknown_outcome_is_not_tried_again_where_it_could_brew_twice(fleet: Fleet) -> None:
    await fleet.device(model="silent")
    machine = fleet.machines.driver("silent")
    machine.answer = Answer(Handed.UNKNOWN, "timeout")
    order = await fleet.paid()
    for _ in range(13):
        await fleet.send()
        await fleet.pass_s(5)
    assert machine.words == ["brew"]
    assert await fleet.ends(order) == ("failed", "no_answer", "requested")


async def test_what_was_not_handed_on_is_tried_again(fleet: Fleet) -> None:
    await fleet.device(model="silent")
    machine = fleet.machines.driver("silent")
    machine.answer = Answer(Handed.UNREACHABLE, "connection_refused")
    order = await fleet.paid()
    await fleet.send()
    machine.answer = Answer(Handed.ACCEPTED)
    await fleet.pass_s(1)
    assert machine.words == ["brew", "brew"]
    await fleet.pass_s(45)
    assert await fleet.ends(order) == ("successful", "", None)


async def test_slow_calls_are_the_workers(fleet: Fleet) -> None:
    """A task that is lost is sent again; one that comes twice speaks to the machine once."""
    await fleet.device(model="slow")
    machine = fleet.machines.driver("slow")
    machine.answer = Answer(Handed.ACCEPTED)
    tasks: list[object] = []
    object.__setattr__(fleet.context, "enqueue_commands", tasks.extend)
    order = await fleet.paid()
    await fleet.send()
    command = await fleet.command(order.id)
    assert tasks == [command.id]
    assert (command.state.value, machine.told) == ("queued", [])
    await fleet.pass_s(20)
    assert tasks == [command.id] * 2
    said = await asyncio.gather(*(sending.send_one(fleet.context, command.id) for _ in range(3)))
    assert sorted(said) == ["accepted", "not due", "not due"]
    assert machine.words == ["brew"]
    assert await sending.send_one(fleet.context, new_id()) == "gone"


async def test_a_crash_after_the_claim_is_survived(fleet: Fleet) -> None:
    """What the machine recognises goes out again under the same id."""

    class Crash(BaseException):
        """The process dies."""

    await fleet.device()
    machine = fleet.machine
    whole = machine.brew

    async def dies(*_: object) -> Answer:
        raise Crash

    machine.brew = dies  # type: ignore[method-assign]
    order = await fleet.paid()
    await fleet.send()
    machine.brew = whole  # type: ignore[method-assign]
    command = await fleet.command(order.id)
    assert (command.state.value, command.sent_count) == ("sent", 1)
    await fleet.pass_s(5)
    [(_, _, instruction)] = machine.told
    assert instruction.command_id == command.id


# People who change their minds.


async def test_a_buyer_cancels(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.ask()
    await fleet.hear(order, events.InvoiceIssued)
    for _ in range(2):
        await fleet.do(lambda work: orders.cancel_unpaid(work, order.id))
    [(_, cancel)] = await fleet.sent("invoice.cancel.v1")
    assert cancel["invoice_id"] == str(order.invoice_id)
    await fleet.hear(order, events.InvoiceCanceled)
    assert await fleet.ends(order) == ("not_paid", "canceled", None)


async def test_a_payment_that_crosses_a_cancellation_goes_back(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.ask()
    await fleet.do(lambda work: orders.cancel_unpaid(work, order.id))
    await fleet.hear(order, events.InvoicePaid)
    assert await fleet.ends(order) == ("failed", "canceled", "requested")


async def test_a_paid_order_is_not_canceled(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.paid()
    with pytest.raises(NotAllowedNow):
        await fleet.do(lambda work: orders.cancel_unpaid(work, order.id))


async def test_a_refund_by_a_manager_takes_the_command_back(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.paid()
    await fleet.send()
    await fleet.says(order, "accepted")
    theirs = new_id()
    await fleet.hear_refund(order, events.RefundRequested, refund_id=theirs)
    await fleet.send()
    assert fleet.machine.words == ["brew", "revoke"]
    await fleet.says(order, "revoked")
    assert await fleet.ends(order) == ("failed", "refunded", "requested")
    assert await fleet.sent("invoice.refund.v1") == []
    assert (await fleet.order(order.id)).refund_id == theirs


# Machines and drinks that do not sell.


async def test_each_refund_that_failed_is_an_incident(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.paid()
    await fleet.send()
    await fleet.says(order, "failed")
    ours = {"refund_id": (await fleet.order(order.id)).refund_id}
    theirs = {"refund_id": new_id()}
    for refund in (ours, ours, theirs, theirs):
        await fleet.hear_refund(order, events.RefundFailed, failure_code="5051", **refund)
    assert await fleet.incidents() == ["refund_failed", "refund_failed"]


async def test_the_machines_own_order_makes_one_of_ours(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.ask(machine_order_id="m-1")
    with pytest.raises(LinkReplayed) as replayed:
        await fleet.ask(machine_order_id="m-1")
    assert replayed.value.order_id == order.id
    results = await asyncio.gather(*(fleet.ask(machine_order_id="m-2") for _ in range(5)), return_exceptions=True)
    winners = [result for result in results if not isinstance(result, BaseException)]
    assert len(winners) == 1
    assert {result.order_id for result in results if isinstance(result, LinkReplayed)} == {winners[0].id}
    assert len(results) == 5


async def test_somebody_elses_invoice_is_looked_at(fleet: Fleet) -> None:
    await fleet.device()
    order = await fleet.ask()
    with pytest.raises(UnknownInvoiceError):
        await fleet.hear(order, events.InvoicePaid, invoice_id=new_id())
    await fleet.hear(order, events.InvoicePaid, kind="subscription")
    assert await fleet.ends(order) == ("created", "", None)
