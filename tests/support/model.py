"""The half of the model that is not about invoices: wallets, payouts from every source, corrections by hand."""

from typing import Any
from uuid import UUID

from hypothesis import strategies as some
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule

from billing_state_updater.domain.outcomes import Applied, Outcome
from copeck.contracts import commands
from copeck.contracts.base import Command
from copeck.kernel.ids import new_id
from tests.support import stories
from tests.support.reference import FEES, HOUSE, LOSSES, MERCHANT, OTHER, WALLET, Payout, Reference, is_wallet
from tests.support.state import State, payout, payout_report, wallet_open

# Few things, each driven far: what is wrong hides in long lives, not in many.
PAYOUTS_MAX = 3
CORRECTED = [WALLET, OTHER, MERCHANT, HOUSE, LOSSES, FEES, "revenue:cinema"]


class Payouts(RuleBasedStateMachine):
    """Wallets, payouts and corrections; invoices are added by whoever inherits."""

    payouts: Bundle[UUID] = Bundle("payouts")

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.model = Reference()
        self.payout: dict[UUID, Payout] = {}
        self.done: list[Command] = []

    def send(self, command: Command, expected: bool) -> Outcome:
        """Send a command; `expected` says whether it must take effect."""
        outcome = self.state.send(command)
        assert isinstance(outcome, Applied) == expected, (command, outcome)
        if expected:
            self.done.append(command)
        return outcome

    @initialize(opening=some.integers(0, 5_000), other=some.integers(0, 500))
    def open_wallets(self, opening: int, other: int) -> None:
        """Open two wallets and a merchant's balance."""
        for account, amount in ((WALLET, opening), (OTHER, other), (MERCHANT, 0)):
            self.send(wallet_open(account, opening_minor=amount), expected=True)
            self.model.money[account] += amount

    @rule(
        debit=some.sampled_from(CORRECTED),
        credit=some.sampled_from(CORRECTED),
        amount=some.integers(1, 300),
        approver=some.sampled_from(["user:pavel", "user:pavel", "user:olga"]),
    )
    def correct(self, debit: str, credit: str, amount: int, approver: str) -> None:
        """Move money by hand, on the word of two people."""
        can = debit != credit and approver != "user:olga"
        can = can and (not is_wallet(debit) or self.model.money[debit] >= amount)
        terms: dict[str, Any] = {"debit": debit, "credit": credit, "amount_minor": amount, "currency": "RUB"}
        people: dict[str, Any] = {"requested_by": "user:olga", "approved_by": approver, "reason": "a test"}
        self.send(commands.LedgerCorrect(account=debit, correction_id=new_id(), **terms, **people), can)
        if can:
            self.model.move(debit, credit, amount)

    @precondition(lambda self: len(self.payout) < PAYOUTS_MAX)
    @rule(
        target=payouts,
        source=some.sampled_from([WALLET, WALLET, OTHER, MERCHANT, HOUSE]),
        amount=some.integers(1, 900),
        commission=some.integers(0, 20),
        draft=some.sampled_from([False, False, True]),
        approval=some.sampled_from([False, False, True]),
    )
    def ask_for_payout(self, source: str, amount: int, commission: int, draft: bool, approval: bool) -> UUID:
        """Ask for a payout: a draft, one that needs approval, or one that goes at once."""
        key = new_id()
        out = Payout(source, amount, commission, approval, "draft" if draft else "awaiting_approval")
        self.payout[key] = out
        terms = {"account": source, "commission_minor": commission, "draft": draft, "needs_approval": approval}
        self.send(payout(key, amount, **terms), expected=True)
        if not draft:
            self.model.go(out)
        return key

    @rule(key=payouts)
    def submit(self, key: UUID) -> None:
        """Send a draft on its way."""
        out = self.payout[key]
        self.send(commands.PayoutSubmit(account=out.source, payout_id=key), out.state == "draft")
        if out.state == "draft":
            self.model.go(out)

    @rule(key=payouts, actor=some.sampled_from(["user:boss", "user:boss", "user:anna"]))
    def approve(self, key: UUID, actor: str) -> None:
        """Approve a payout, which Anna may not: she asked for it."""
        out = self.payout[key]
        can = out.state == "awaiting_approval" and actor != "user:anna"
        self.send(commands.PayoutApprove(account=out.source, payout_id=key, actor=actor), can)
        if can:
            out.approved = True
            self.model.debit(out)

    @rule(key=payouts)
    def cancel_payout(self, key: UUID) -> None:
        """Call a payout off."""
        out = self.payout[key]
        can = out.state in ("draft", "awaiting_approval", "pending")
        self.send(commands.PayoutCancel(account=out.source, payout_id=key), can)
        if out.state == "pending":
            self.model.pay(out, -1)
        out.state = "canceled" if can else out.state

    @rule(key=payouts)
    def retry(self, key: UUID) -> None:
        """Try a failed payout again, by the second person where nobody has approved it yet."""
        out = self.payout[key]
        can = out.state == "failed" and self.model.affords(out)
        self.send(commands.PayoutRetry(account=out.source, payout_id=key), can)
        if can:
            self.model.go(out)

    @rule(
        key=payouts,
        news=stories.told(stories.PAYOUT_NEWS, stories.PAYOUT_STORIES),
        late=some.sampled_from([False, False, True]),
    )
    def hear_of_payout(self, key: UUID, news: list[str], late: bool) -> None:
        """Take some news of a payout, of its last attempt or of the one before."""
        for status in news:
            self.hear_out(key, status, late)

    def hear_out(self, key: UUID, status: str, late: bool) -> None:
        """Take one piece of news."""
        out = self.payout[key]
        attempt = max(1, out.attempt - late)
        current = attempt == out.attempt
        underway = out.state in ("pending", "processing")
        can = (
            current
            and {
                "processing": out.state == "pending",
                "unknown": underway and not out.unknown,
                "failed": underway,
                "completed": out.state in ("pending", "processing", "failed", "canceled"),
            }[status]
        )
        self.send(payout_report(key, status, attempt, account=out.source), can)
        if not can:
            return
        if status == "completed":
            self.model.complete(out, underway)
        elif status == "failed":
            self.model.pay(out, -1)
        out.unknown = status == "unknown" or (out.unknown and status == "processing")
        out.state = "processing" if status == "unknown" else status
