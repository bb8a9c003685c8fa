"""Whatever is done in whatever order, the books are those of a small model, and everything holds after each step.

The rules send commands as services would: some make sense, some do not, some come twice. The search is the same at
every run (`derandomize`); `HYPOTHESIS_SEARCH=random` looks elsewhere and prints how to repeat what it finds.
"""

import os
from datetime import timedelta
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import Bundle, invariant, precondition, rule

from billing_state_updater.domain.outcomes import Applied, Duplicate, Outcome
from copeck.contracts import commands
from copeck.contracts.base import Command
from copeck.kernel.ids import new_id
from tests.support import stories
from tests.support.model import Payouts
from tests.support.reference import (
    BACK,
    FEES,
    HOUSE,
    LATE,
    LOSSES,
    MERCHANT,
    OTHER,
    OUT,
    PROVIDER,
    WALLET,
    Back,
    Bill,
    is_wallet,
)
from tests.support.state import CUSTOMER, NOW, dispute, issue, refund, refund_report, report, wallet_pay

REVENUE = "revenue:cinema"
# Few things, each driven far: what is wrong hides in long lives, not in many.
BILLS_MAX = 3
# The same retry a second time is a new one, once the first has failed: only its immediate repeat is no news.
REPEATABLE: type[Command] = commands.PayoutRetry


class Money(Payouts):
    """Invoices and their refunds beside wallets, payouts and corrections, driven against the reference."""

    bills: Bundle[UUID] = Bundle("bills")

    def __init__(self) -> None:
        super().__init__()
        self.bill: dict[UUID, Bill] = {}
        self.attempt: dict[UUID, str] = {}
        self.attempts_of: dict[tuple[UUID, int], UUID] = {}
        self.back: dict[UUID, Back] = {}
        self.payer: dict[UUID, str] = {}

    # Invoices.

    @precondition(lambda self: len(self.bill) < BILLS_MAX)
    @rule(
        target=bills,
        to=some.sampled_from([REVENUE, MERCHANT, WALLET, OTHER]),
        amount=some.integers(1, 1_000),
        share=some.integers(0, 999),
        policy=some.sampled_from(["refund", "wallet", "accept"]),
        begun=some.sampled_from(["", "authorized", "succeeded", "succeeded"]),
    )
    def issue(self, to: str, amount: int, share: int, policy: str, begun: str) -> UUID:
        key = new_id()
        bill = self.bill[key] = Bill(amount, amount * share // 1_000, to, policy)
        late = WALLET if policy == "wallet" else None
        kind = "topup" if is_wallet(to) else "subscription"
        terms = {"kind": kind, "beneficiary": to, "amount_minor": amount, "commission_minor": bill.commission}
        self.send(issue(key, **terms, late_policy=policy, late_wallet=late), expected=True)
        if begun:
            self.hear(key, 0, begun, 0)
        return key

    @rule(key=bills, expired=some.booleans())
    def end(self, key: UUID, expired: bool) -> None:
        bill = self.bill[key]
        is_open = bill.state == "open"
        if expired:
            self.state.world.now = NOW + timedelta(hours=2)
            self.send(commands.InvoiceExpire(account=CUSTOMER, invoice_id=key), is_open)
            self.state.world.now = NOW
        else:
            self.send(commands.InvoiceCancel(account=CUSTOMER, invoice_id=key), is_open)
        bill.state = "ended" if is_open else bill.state

    @rule(
        key=bills,
        n=some.sampled_from([0, 0, 1]),
        news=stories.told(stories.ATTEMPT_NEWS, stories.ATTEMPT_STORIES),
        other=some.sampled_from([0, 0, 0, 0, 1]),
    )
    def hear_of_attempt(self, key: UUID, n: int, news: list[str], other: int) -> None:
        """Take some news of one attempt; the last of it may speak of another amount than the bill's."""
        for status in news[:-1]:
            self.hear(key, n, status, 0)
        self.hear(key, n, news[-1], other)

    def hear(self, key: UUID, n: int, status: str, other: int) -> None:
        bill = self.bill[key]
        number = self.attempts_of.setdefault((key, n), new_id())
        before = self.attempt.get(number, "created")
        news, amount = stories.is_news(stories.ATTEMPT_RANK, before, status), bill.amount + other
        known, spoken = set(self.state.invoice(key).refunds), len(self.state.world.outgoing)
        self.send(report(key, status, number, amount_minor=amount), news)
        if not news:
            return
        self.move_attempt(bill, number, status, fits=not other)
        if status == "succeeded":
            goes_back = self.model.charge(bill, number, amount)
            made = set(self.state.invoice(key).refunds) - known
            assert len(made) == goes_back
            self.back |= {one: Back(bill, amount, 0, late=True) for one in made}
        if status == "authorized":
            wanted = bill.state == "held" and bill.held == number
            assert ("invoice.void_requested" in self.state.events()[spoken:]) != wanted

    def move_attempt(self, bill: Bill, number: UUID, status: str, *, fits: bool) -> None:
        """Take what news of an attempt say of its bill; money is booked elsewhere."""
        self.attempt[number] = status
        if status == "authorized" and bill.state == "open" and fits:
            bill.state, bill.held = "held", number
        elif status in ("failed", "canceled") and bill.state == "held" and bill.held == number:
            bill.state = "ended"

    @rule(key=bills, wallet=some.sampled_from([WALLET, WALLET, OTHER]))
    def pay_from_wallet(self, key: UUID, wallet: str) -> None:
        bill = self.bill[key]
        can = bill.state == "open" and bill.to != wallet and self.model.money[wallet] >= bill.amount
        payment = new_id()
        self.send(wallet_pay(key, payment, wallet), can)
        if can:
            self.model.receive(wallet, bill)
            # The wallet pays refunds of this bill at once, and disputes of it cannot be.
            bill.held, self.payer[key] = payment, wallet

    # Refunds and disputes.

    def paid_by_wallet(self, key: UUID) -> bool:
        return self.state.invoice(key).provider == "wallet"

    def can_refund(self, bill: Bill, amount: int) -> bool:
        if bill.state != "paid" or not 0 < amount <= bill.rest:
            return False
        return not is_wallet(bill.to) or self.model.money[bill.to] + bill.share(amount) >= amount

    @rule(key=bills, part=some.integers(1, 8))
    def ask_for_refund(self, key: UUID, part: int) -> None:
        bill = self.bill[key]
        whole = part == 8
        amount = bill.rest if whole else max(1, bill.amount * part // 8)
        number = new_id()
        self.send(refund(key, number, None if whole else amount), self.can_refund(bill, amount))
        if number in self.state.invoice(key).refunds:
            back = Back(bill, amount, bill.share(amount), late=False)
            self.model.open_refund(back)
            if self.paid_by_wallet(key):
                self.model.move(BACK, self.payer[key], amount)
                bill.going, bill.gone = bill.going - amount, bill.gone + amount
            else:
                self.back[number] = back

    @precondition(lambda self: self.back)
    @rule(data=some.data(), news=stories.told(stories.REFUND_NEWS, stories.REFUND_STORIES))
    def hear_of_refund(self, data: some.DataObject, news: list[str]) -> None:
        number = data.draw(some.sampled_from(sorted(self.back)))
        for status in news:
            self.hear_back(number, status)

    def hear_back(self, number: UUID, status: str) -> None:
        back = self.back[number]
        news = stories.is_news(stories.REFUND_RANK, back.state, status)
        beyond = back.state == "failed" and not back.late and back.amount > back.bill.rest
        invoice = next(one for one in self.state.world.invoices.values() if number in one.refunds)
        self.send(refund_report(invoice.id, number, status, back.amount), news and not beyond)
        if news and not beyond:
            self.model.end_refund(back, status)

    @rule(key=bills, part=some.integers(1, 4))
    def refund_at_the_provider(self, key: UUID, part: int) -> None:
        bill, invoice = self.bill[key], self.state.invoice(key)
        amount = max(1, bill.amount * part // 4)
        ours = [
            one
            for one in invoice.refunds.values()
            if one.status in ("requested", "pending", "unknown")
            and (one.amount_minor, one.transaction, one.refund_transaction) == (amount, invoice.transaction, "")
        ]
        if ours:
            return  # It would be taken for ours: `hear_of_refund` tells of those.
        can = bill.state == "paid" and amount <= bill.rest and not self.paid_by_wallet(key)
        paid_by = invoice.transaction or "nothing"
        there = refund_report(key, None, "succeeded", amount, transaction=f"r{new_id()}", payment_transaction=paid_by)
        self.send(there, can)
        if can:
            back = Back(bill, amount, bill.share(amount), late=False)
            self.model.open_refund(back)
            self.model.end_refund(back, "succeeded")

    @rule(key=bills, news=stories.told(stories.DISPUTE_NEWS, stories.DISPUTE_STORIES), more=some.integers(0, 1))
    def hear_of_dispute(self, key: UUID, news: list[str], more: int) -> None:
        for outcome in news:
            self.hear_dispute(key, outcome, more)

    def hear_dispute(self, key: UUID, outcome: str, more: int) -> None:
        bill, invoice = self.bill[key], self.state.invoice(key)
        has_money = bill.state == "paid" and bill.gone < bill.amount
        can = {
            "opened": has_money and invoice.reason != "dispute d1 won",
            "won": bill.state == "disputed",
            "lost": has_money or bill.state == "disputed",
        }[outcome]
        can = can and not self.paid_by_wallet(key)
        amount = bill.amount + more
        self.send(dispute(key, outcome, amount), can)
        if not can:
            return
        bill.state = {"opened": "disputed", "won": "paid", "lost": "lost"}[outcome]
        if outcome == "lost":
            own = min(amount, bill.rest)
            self.model.take(bill.to, PROVIDER, own)
            self.model.move(LOSSES, PROVIDER, amount - own)

    # Repeats.

    @rule(data=some.data())
    def say_again(self, data: some.DataObject) -> None:
        """I-06: what took effect once moves nothing when it comes again under another message id."""
        old = [command for command in self.done[:-1] if not isinstance(command, REPEATABLE)] + self.done[-1:]
        if not old:
            return
        command = data.draw(some.sampled_from(old))
        # The same message is known by its id, whatever is in it.
        assert isinstance(self.state.send(command, min(self.state.seen)), Duplicate)
        postings = len(self.state.world.postings)
        refunds = {key: len(one.refunds) for key, one in self.state.world.invoices.items()}
        outcome = self.state.send(command)
        assert len(self.state.world.postings) == postings, (command, outcome)
        assert refunds == {key: len(one.refunds) for key, one in self.state.world.invoices.items()}
        self.follow(command, outcome)

    def follow(self, command: Command, outcome: Outcome) -> None:
        """Older news may end an `unknown`, without moving money; nothing else that is repeated takes effect.

        But for a hold and a failure, of which either may be the later.
        """
        if isinstance(command, commands.PaymentReport) and isinstance(outcome, Applied):
            change = {self.attempt[command.payment_id], command.status}
            assert "unknown" in change or change == {"failed", "authorized"}
            bill = self.bill[command.invoice_id]
            fits = command.amount_minor == bill.amount
            self.move_attempt(bill, command.payment_id, command.status, fits=fits)
        elif isinstance(command, commands.RefundReport) and isinstance(outcome, Applied):
            assert command.refund_id is not None
            assert self.back[command.refund_id].state == "unknown" or command.status == "unknown"
            self.back[command.refund_id].state = command.status
        else:
            assert not isinstance(outcome, Applied), (command, outcome)

    # What holds after every step.

    @invariant()
    def everything_holds(self) -> None:
        self.state.check()

    @invariant()
    def the_books_agree(self) -> None:
        for account in (PROVIDER, LATE, BACK, OUT, FEES, LOSSES, HOUSE, WALLET, OTHER, REVENUE, MERCHANT):
            assert self.state.balance(account) == self.model.money[account], account

    @invariant()
    def the_statuses_agree(self) -> None:
        for key, bill in self.bill.items():
            invoice = self.state.invoice(key)
            assert invoice.status in stories.STATUSES[bill.state], (invoice, bill)
            assert (invoice.refunded_minor, invoice.refunding_minor) == (bill.gone, bill.going)
            if bill.state == "paid":
                expected = "refunded" if bill.gone == bill.amount else "partially_refunded" if bill.gone else "paid"
                assert invoice.status == expected
        for key, out in self.payout.items():
            assert (self.state.payout(key).status, self.state.payout(key).attempt) == (out.state, out.attempt)

    @invariant()
    def nothing_rests_where_it_should_not(self) -> None:
        """I-09: what is in suspense is what a provider refused to return; in transit is what is on its way."""
        refused = sum(back.amount for back in self.back.values() if back.late and back.state == "failed")
        assert self.state.balance(LATE) == refused
        moving = sum(back.amount for back in self.back.values() if back.state in ("requested", "pending", "unknown"))
        assert self.state.balance(BACK) == moving
        underway = sum(out.amount for out in self.payout.values() if out.state in ("pending", "processing"))
        assert self.state.balance(OUT) == underway


TestMoney = Money.TestCase
TestMoney.settings = settings(
    max_examples=160,
    stateful_step_count=50,
    deadline=None,
    derandomize=os.environ.get("HYPOTHESIS_SEARCH") != "random",
    print_blob=True,
)
