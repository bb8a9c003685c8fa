"""What the books must say, in a hundred lines: an independent account of money that tests hold against the real one.

It knows no events, no steps and no transfers: only who has how much, and how far each thing has come.
"""

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from uuid import UUID

PROVIDER, LATE, BACK, OUT = "provider:cloudpayments:main", "suspense:late", "refunds:in_transit", "payouts:in_transit"
FEES, LOSSES, HOUSE = "fees:commission", "losses:chargeback", "house:payouts"
WALLET, OTHER, MERCHANT = "wallet:anna", "wallet:boris", "merchant:m1"


def is_wallet(account: str) -> bool:
    """Tell whether an account never goes below zero."""
    return account in (WALLET, OTHER)


@dataclass
class Bill:
    """An invoice: `open`, `held`, `paid`, `ended`, `disputed` or `lost`."""

    amount: int
    commission: int
    to: str
    policy: str
    state: str = "open"
    held: UUID | None = None
    gone: int = 0
    going: int = 0
    returned: int = 0

    @property
    def rest(self) -> int:
        """Return what can still be refunded."""
        return self.amount - self.gone - self.going

    @property
    def accepts_late(self) -> bool:
        """Tell whether late money pays the bill after all: by its policy, or as it goes to the wallet of the bill."""
        return self.policy == "accept" or (self.policy == "wallet" and self.to == WALLET)

    def share(self, amount: int) -> int:
        """Return the commission that goes back with a further refund: Python rounds fractions half-even."""
        due = round(Fraction(self.commission * (self.gone + self.going + amount), self.amount))
        return max(0, due - self.returned)


@dataclass
class Back:
    """A refund."""

    bill: Bill
    amount: int
    share: int
    late: bool
    state: str = "requested"


@dataclass
class Payout:
    """A payout from a wallet, a merchant's balance or the house."""

    source: str
    amount: int
    commission: int
    approval: bool
    state: str
    attempt: int = 0
    approved: bool = False
    unknown: bool = False


@dataclass
class Reference:
    """Who has how much."""

    money: Counter[str] = field(default_factory=Counter)

    def move(self, debit: str, credit: str, amount: int) -> None:
        """Move money."""
        self.money[debit] -= amount
        self.money[credit] += amount

    def take(self, source: str, target: str, amount: int) -> None:
        """Move money that is gone already: what a wallet lacks is lost."""
        own = min(amount, self.money[source]) if is_wallet(source) else amount
        self.move(source, target, own)
        self.move(LOSSES, target, amount - own)

    def receive(self, source: str, bill: Bill) -> None:
        """Book the price of a bill."""
        self.move(source, bill.to, bill.amount)
        self.move(bill.to, FEES, bill.commission)
        bill.state = "paid"

    def charge(self, bill: Bill, attempt: UUID, amount: int) -> bool:
        """Book money that a provider took; tells whether it has to go back by a refund."""
        fits = amount == bill.amount
        if fits and (bill.state == "open" or (bill.state == "held" and bill.held == attempt)):
            self.receive(PROVIDER, bill)
            return False
        if fits and bill.accepts_late and bill.state == "ended":
            self.receive(PROVIDER, bill)
            return False
        if bill.state == "held" and bill.held == attempt:
            bill.state = "ended"
        self.move(PROVIDER, WALLET if bill.policy == "wallet" else BACK, amount)
        return bill.policy != "wallet"

    def open_refund(self, back: Back) -> None:
        """Send a part of a bill on its way back."""
        self.move(FEES, back.bill.to, back.share)
        self.take(back.bill.to, BACK, back.amount)
        back.bill.going += back.amount
        back.bill.returned += back.share

    def end_refund(self, back: Back, state: str) -> None:
        """Take news of a refund."""
        if state == "failed":
            self.move(BACK, LATE if back.late else back.bill.to, back.amount)
            if not back.late:
                self.move(back.bill.to, FEES, back.share)
                back.bill.going -= back.amount
                back.bill.returned -= back.share
        elif state == "succeeded":
            if back.state == "failed" and back.late:
                self.move(LATE, BACK, back.amount)
            elif back.state == "failed":
                back.share = back.bill.share(back.amount)
                self.open_refund(back)
            self.move(BACK, PROVIDER, back.amount)
            if not back.late:
                back.bill.going -= back.amount
                back.bill.gone += back.amount
        back.state = state

    def affords(self, out: Payout) -> bool:
        """Tell whether the source has a payout and its commission; the house always has."""
        return out.source == HOUSE or self.money[out.source] >= out.amount + out.commission

    def go(self, out: Payout) -> None:
        """Send a payout on its way, to the second person first where it needs one; short of money, it fails."""
        if self.affords(out) and out.approval and not out.approved:
            out.state = "awaiting_approval"
        else:
            self.debit(out)

    def debit(self, out: Payout) -> None:
        """Send a payout on its way, or fail it."""
        out.state = "pending" if self.affords(out) else "failed"
        if out.state == "pending":
            self.pay(out)
            out.attempt += 1

    def pay(self, out: Payout, sign: int = 1) -> None:
        """Take a payout and its commission off its source, or give them back."""
        self.move(out.source, OUT, sign * out.amount)
        self.move(out.source, FEES, sign * out.commission)

    def complete(self, out: Payout, underway: bool) -> None:
        """Book what was paid out; what was given back is taken again, of a wallet only what is there.

        The commission is taken again where the whole is there, or where the source may owe us.
        """
        if not underway and (self.affords(out) or not is_wallet(out.source)):
            self.pay(out)
        elif not underway:
            self.take(out.source, OUT, out.amount)
        self.move(OUT, PROVIDER, out.amount)
