"""Every amount from 1 to 1,000,000 minor units at a commission of 2 %: no kopeck appears or vanishes.

The transfers are those that the decisions make. They pass amounts on and never look into them, so a thousand amounts go
through at once, side by side in one large integer: two such integers are equal only when each of their amounts is.
What is rounded, commissions and their shares, is computed for each amount by itself.
"""

from collections import Counter
from collections.abc import Iterable
from operator import add, ge
from types import SimpleNamespace
from typing import Any

import pytest

from billing_state_updater.domain import books, payouts
from billing_state_updater.domain.aggregates import Payout
from billing_state_updater.domain.outcomes import Applied, Outcome, Transfer
from copeck.contracts import commands
from copeck.kernel.ids import new_id
from tests.support.state import State, asked, payout, payout_report, refund_report, report, said, top_up

LAST = 1_000_000
LANES = 2_000
# A lane's sums stay within half of it, below zero too, so that no lane reaches into its neighbour unseen.
LANE_BYTES = 8
WALLET, PROVIDER, FEES = "wallet:anna", "provider:mock:main", books.COMMISSION


def commission_of(amount: int) -> int:
    """Return 2 % rounded half-even, by whole numbers alone."""
    whole, rest = divmod(amount, 50)
    return whole + (rest > 25 or (rest == 25 and whole % 2 == 1))


def side_by_side(amounts: Iterable[int]) -> int:
    return int.from_bytes(b"".join(amount.to_bytes(LANE_BYTES, "little") for amount in amounts), "little")


class Books:
    """Balances of many amounts at once."""

    def __init__(self) -> None:
        self.balance: Counter[str] = Counter()

    def post(self, transfers: Iterable[Transfer]) -> None:
        for transfer in transfers:
            self.balance[transfer.debit] -= transfer.amount_minor
            self.balance[transfer.credit] += transfer.amount_minor

    def hold(self, **expected: int) -> None:
        """Assert every balance: what is not named is nothing."""
        names = {"wallet": WALLET, "fees": FEES, "provider": PROVIDER, "back": books.REFUNDS_IN_TRANSIT,
                 "out": books.PAYOUTS_IN_TRANSIT}  # fmt: skip
        wanted = {names[name]: amount for name, amount in expected.items() if amount}
        assert {name: amount for name, amount in self.balance.items() if amount} == wanted


def applied(outcome: Outcome) -> tuple[Transfer, ...]:
    assert isinstance(outcome, Applied), outcome
    return outcome.transfers


def share_of(commissions: list[int], amounts: list[int], refunded: list[int], returned: list[int]) -> list[int]:
    """Return what each refund gives back of its commission; never less than nothing, never more than was taken."""
    shares = list(map(books.commission_share, commissions, amounts, refunded, returned))
    assert min(shares) >= 0
    assert all(map(ge, commissions, map(add, shares, returned)))
    return shares


def deposit_and_refunds(amounts: list[int], commissions: list[int]) -> None:
    """A deposit; its refund whole, its refund in two parts of which one fails first: nothing is left anywhere."""
    whole, fee = side_by_side(amounts), side_by_side(commissions)
    deposit = books.received(PROVIDER, WALLET, whole, fee, "RUB")
    ledger = Books()
    ledger.post(deposit)
    ledger.hold(provider=-whole, wallet=whole - fee, fees=fee)
    ledger.post(books.refund_opened(WALLET, whole, fee, "RUB"))
    ledger.hold(provider=-whole, back=whole)
    ledger.post(books.refund_settled(WALLET, PROVIDER, whole, "RUB"))
    ledger.hold()

    firsts = [amount // 3 for amount in amounts]
    first_shares = share_of(commissions, amounts, firsts, [0] * len(amounts))
    second_shares = share_of(commissions, amounts, amounts, first_shares)
    # So the share of the whole is the commission, too: it is what is left when nothing was returned before.
    assert list(map(add, first_shares, second_shares)) == commissions
    first, first_fee = side_by_side(firsts), side_by_side(first_shares)
    second, second_fee = whole - first, side_by_side(second_shares)
    ledger.post(deposit)
    ledger.post(books.refund_opened(WALLET, first, first_fee, "RUB"))
    # The wallet gave the part and got its share: what is left of the deposit less what is left of the commission.
    ledger.hold(provider=-whole, back=first, wallet=second - second_fee, fees=second_fee)
    ledger.post(books.refund_reversed(WALLET, first, first_fee, "RUB"))
    ledger.hold(provider=-whole, wallet=whole - fee, fees=fee)
    for part, share in ((first, first_fee), (second, second_fee)):
        ledger.post(books.refund_opened(WALLET, part, share, "RUB"))
        ledger.post(books.refund_settled(WALLET, PROVIDER, part, "RUB"))
    ledger.hold()


def withdrawal(amounts: list[int], commissions: list[int]) -> None:
    """A withdrawal that fails and gives all back, then its retry that is paid, to the last kopeck of the wallet."""
    whole, fee = side_by_side(amounts), side_by_side(commissions)
    ledger = Books()
    ledger.balance[WALLET] = whole + fee

    def balance(name: str, _currency: str) -> int:
        return ledger.balance[name]

    out = Payout(
        id=new_id(), version=2, status="failed", account=WALLET, amount_minor=whole, commission_minor=fee,
        currency="RUB", provider="mock", shop="main", attempt=1,
    )  # fmt: skip

    def told(status: str) -> Any:
        return SimpleNamespace(status=status, attempt=1, transaction="t", failure_code="")

    debit = applied(payouts.retry(out, balance))
    ledger.post(debit)
    ledger.hold(out=whole, fees=fee)
    out.status = "processing"
    ledger.post(applied(payouts.report(out, told("failed"), balance)))
    ledger.hold(wallet=whole + fee)
    ledger.post(debit)
    ledger.post(applied(payouts.report(out, told("completed"), balance)))
    ledger.hold(provider=whole, fees=fee)


def test_every_amount_to_the_kopeck() -> None:
    for start in range(1, LAST + 1, LANES):
        amounts = list(range(start, min(start + LANES, LAST + 1)))
        commissions = list(map(commission_of, amounts))
        deposit_and_refunds(amounts, commissions)
        withdrawal(amounts, commissions)


def test_the_rule_is_half_even() -> None:
    """The same as Decimal's, at every remainder and on both sides of a tie."""
    from decimal import ROUND_HALF_EVEN, Decimal

    for amount in (*range(1, 500), 999_925, 999_975, 1_000_000):
        expected = (Decimal(amount) * 2 / 100).to_integral_value(ROUND_HALF_EVEN)
        assert commission_of(amount) == expected, amount


@pytest.mark.parametrize("amount", [*range(2, 130), 9_975, 10_025, 999_999])
def test_amounts_one_by_one_through_the_whole_machine(amount: int) -> None:
    """The same by commands, decisions and postings: deposit, two refunds in parts; deposit, withdrawal, failure."""
    fee = commission_of(amount)
    state = State()
    for _ in range(2):
        bill = new_id()
        state.send(top_up(bill, amount_minor=amount, commission_minor=fee))
        state.send(report(bill, "succeeded", amount_minor=amount))
    assert state.world.balance(WALLET, "RUB") == 2 * (amount - fee)
    for part in (amount // 2, amount - amount // 2):
        back = asked(state, bill, part)
        assert said(state.send(refund_report(bill, back, "succeeded", part, transaction=str(back)))) == "applied"
    assert (state.world.balance(WALLET, "RUB"), state.balance(FEES)) == (amount - fee, fee)
    out, rest = new_id(), amount - 2 * fee
    state.send(payout(out, rest, commission_minor=fee))
    assert (state.world.balance(WALLET, "RUB"), state.balance(books.PAYOUTS_IN_TRANSIT)) == (0, rest)
    state.send(payout_report(out, "failed"))
    assert state.world.balance(WALLET, "RUB") == amount - fee
    assert said(state.send(commands.PayoutRetry(account=WALLET, payout_id=out))) == "applied"
    state.send(payout_report(out, "completed", 2))
    assert (state.world.balance(WALLET, "RUB"), state.balance(FEES)) == (0, 2 * fee)
    assert state.balance("provider:cloudpayments:main") == -2 * fee
    state.check()
