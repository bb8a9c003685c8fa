"""The State Storage in memory: commands go through `decide` and `World.apply`, as in a batch, and nothing is stored."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from billing_state_updater.domain.aggregates import Invoice, Payout
from billing_state_updater.domain.decide import decide
from billing_state_updater.domain.fold import fold_invoice, fold_payout
from billing_state_updater.domain.outcomes import Applied, Duplicate, Outcome
from billing_state_updater.world import Delivery, Incoming, World
from copeck.contracts import commands
from copeck.contracts.base import Command
from copeck.contracts.registry import entry_of, shard_of
from copeck.kernel.ids import new_id

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CUSTOMER = "customer:anna"
WALLET = "wallet:anna"
SHOP = "provider:cloudpayments:main"
REVENUE = "revenue:subscription"

Line = tuple[str, str, int, str]


class State:
    """One world that lives as long as the test; every message id is taken once, as the inbox does."""

    def __init__(self, now: datetime = NOW) -> None:
        self.world = World(now, defaultdict(int))
        self.seen: set[UUID] = set()

    def send(self, command: Command, id: UUID | None = None) -> Outcome:
        """Decide and apply one command."""
        message = id or new_id()
        if message in self.seen:
            return Duplicate()
        self.seen.add(message)
        shard = shard_of(command.account)
        delivery = Delivery(shard, len(self.seen), str(message), "gateway", {}, b"")
        incoming = Incoming(message, command.TYPE, command, shard, delivery=delivery)
        outcome = decide(command, self.world, message, self.world.now)
        self.world.apply(incoming, outcome)
        return outcome

    def invoice(self, id: UUID) -> Invoice:
        """Return an invoice."""
        return self.world.invoice(id)

    def payout(self, id: UUID) -> Payout:
        """Return a payout."""
        return self.world.payout(id)

    def balance(self, account: str, currency: str = "RUB") -> int:
        """Return what the transfers leave on an account, materialised or not: credits less debits."""
        total = 0
        for posting in self.world.postings:
            transfer = posting.transfer
            if transfer.currency == currency:
                total += transfer.amount_minor * ((transfer.credit == account) - (transfer.debit == account))
        return total

    def chain(self, id: UUID) -> list[tuple[str, dict[str, Any]]]:
        """Return an aggregate's chain as it would be read from the table."""
        return [(row.event, orjson.loads(row.changes)) for row in self.world.transitions if row.aggregate_id == id]

    def check(self) -> None:
        """Assert what must hold after every step, whatever was done (I-02, I-03, I-04)."""
        for account in self.world.accounts.values():
            assert account.balance_minor == self.balance(account.name, account.currency), account
            assert account.balance_minor >= 0 or not account.name.startswith("wallet:"), account
        self.check_postings()
        for invoice in self.world.invoices.values():
            assert invoice.refunded_minor >= 0
            assert invoice.refunding_minor >= 0
            assert invoice.refunded_minor + invoice.refunding_minor <= invoice.amount_minor
            assert 0 <= invoice.commission_returned_minor <= invoice.commission_minor
            assert fold_invoice(invoice.id, self.chain(invoice.id)) == invoice
        for payout in self.world.payouts.values():
            assert fold_payout(payout.id, self.chain(payout.id)) == payout
        versions: dict[UUID, int] = {}
        for row in self.world.transitions:
            assert row.version == versions.get(row.aggregate_id, 0) + 1, row
            versions[row.aggregate_id] = row.version
        for event in self.world.outgoing:
            model = entry_of(event.type).model
            read = model.__pydantic_validator__.validate_json(event.body)
            assert read.subject() == event.subject

    def check_postings(self) -> None:
        """Assert that postings say the balances after them, that no wallet was ever below zero, and that all is 0."""
        running: Counter[tuple[str, str]] = Counter()
        for posting in self.world.postings:
            transfer = posting.transfer
            assert transfer.amount_minor > 0
            assert transfer.debit != transfer.credit
            for name, sign, after in (
                (transfer.debit, -1, posting.debit_balance),
                (transfer.credit, 1, posting.credit_balance),
            ):
                running[name, transfer.currency] += sign * transfer.amount_minor
                assert after in (None, running[name, transfer.currency]), posting
                assert (after is None) != name.startswith(("wallet:", "merchant:")), posting
                assert running[name, transfer.currency] >= 0 or not name.startswith("wallet:"), posting
        kept = {(one.name, one.currency): one.balance_minor for one in self.world.accounts.values()}
        assert sum((running | kept).values()) == 0

    def events(self) -> list[str]:
        """Return the types of the events that go out, in order."""
        return [event.type for event in self.world.outgoing]


def heard(*types: str) -> list[str]:
    """Return those of some events that somebody consumes: the others are not sent."""
    return [name for name in types if entry_of(name).consumers]


def told(outcome: Outcome) -> tuple[list[str], list[Line]]:
    """Return what an applied outcome says: its steps, and its transfers as (debit, credit, amount, kind)."""
    assert isinstance(outcome, Applied), outcome
    lines = [(item.debit, item.credit, item.amount_minor, item.kind) for item in outcome.transfers]
    return [step.event for step in outcome.steps], lines


def said(outcome: Outcome) -> str:
    """Return an outcome's class in lower case, with its code where it is a refusal."""
    name = type(outcome).__name__.lower()
    code = getattr(outcome, "code", "")
    return f"{name} {code}".strip()


def issue(invoice_id: UUID, **changes: Any) -> commands.InvoiceIssue:
    """Return an invoice of 199 roubles for a subscription."""
    terms: dict[str, Any] = {
        "account": CUSTOMER,
        "invoice_id": invoice_id,
        "kind": "subscription",
        "product": "cinema",
        "payer": "anna",
        "beneficiary": REVENUE,
        "amount_minor": 19_900,
        "currency": "RUB",
        "expires_at": NOW + timedelta(hours=1),
    }
    return commands.InvoiceIssue(**(terms | changes))


def top_up(invoice_id: UUID, **changes: Any) -> commands.InvoiceIssue:
    """Return an invoice that fills Anna's wallet with 100 roubles, less 2 roubles."""
    terms: dict[str, Any] = {
        "kind": "topup",
        "product": "wallet",
        "beneficiary": WALLET,
        "amount_minor": 10_000,
        "commission_minor": 200,
    }
    return issue(invoice_id, **(terms | changes))


def report(invoice_id: UUID, status: str, payment_id: UUID | None = None, **changes: Any) -> commands.PaymentReport:
    """Return a provider's word on an attempt; each attempt is a transaction of its own."""
    payment = payment_id or new_id()
    terms: dict[str, Any] = {
        "account": CUSTOMER,
        "invoice_id": invoice_id,
        "payment_id": payment,
        "provider": "cloudpayments",
        "shop": "main",
        "transaction": f"t{payment}",
        "status": status,
        "amount_minor": 19_900,
        "currency": "RUB",
    }
    return commands.PaymentReport(**(terms | changes))


def refund(
    invoice_id: UUID, refund_id: UUID, amount_minor: int | None = None, reason: str = ""
) -> commands.InvoiceRefund:
    """Return the request for a refund."""
    return commands.InvoiceRefund(
        account=CUSTOMER, invoice_id=invoice_id, refund_id=refund_id, amount_minor=amount_minor, reason=reason
    )


def refund_report(
    invoice_id: UUID, refund_id: UUID | None, status: str, amount_minor: int = 19_900, **changes: Any
) -> commands.RefundReport:
    """Return a provider's word on a refund."""
    terms: dict[str, Any] = {
        "account": CUSTOMER,
        "invoice_id": invoice_id,
        "refund_id": refund_id,
        "provider": "cloudpayments",
        "shop": "main",
        "status": status,
        "amount_minor": amount_minor,
        "currency": "RUB",
    }
    return commands.RefundReport(**(terms | changes))


def dispute(invoice_id: UUID, outcome: str, amount_minor: int = 19_900, **changes: Any) -> commands.DisputeReport:
    """Return a provider's word on a chargeback."""
    terms: dict[str, Any] = {
        "account": CUSTOMER,
        "invoice_id": invoice_id,
        "provider": "cloudpayments",
        "shop": "main",
        "transaction": "d1",
        "outcome": outcome,
        "amount_minor": amount_minor,
        "currency": "RUB",
    }
    return commands.DisputeReport(**(terms | changes))


def wallet_pay(invoice_id: UUID, payment_id: UUID | None = None, wallet: str = WALLET) -> commands.WalletPay:
    """Return the order to pay an invoice from a wallet."""
    return commands.WalletPay(account=wallet, invoice_id=invoice_id, payment_id=payment_id or new_id(), wallet=wallet)


def wallet_open(account: str = WALLET, opening_minor: int = 0, currency: str = "RUB") -> commands.WalletOpen:
    """Return the order to open a wallet."""
    return commands.WalletOpen(account=account, currency=currency, opening_minor=opening_minor)


def payout(payout_id: UUID, amount_minor: int = 5_000, **changes: Any) -> commands.PayoutRequest:
    """Return a payout from Anna's wallet with a commission of one rouble."""
    terms: dict[str, Any] = {
        "account": WALLET,
        "payout_id": payout_id,
        "actor": "user:anna",
        "amount_minor": amount_minor,
        "commission_minor": 100,
        "currency": "RUB",
        "provider": "cloudpayments",
        "shop": "main",
        "recipient": "card ending 4242",
    }
    return commands.PayoutRequest(**(terms | changes))


def payout_report(payout_id: UUID, status: str, attempt: int = 1, **changes: Any) -> commands.PayoutReport:
    """Return a provider's word on a payout."""
    terms: dict[str, Any] = {"account": WALLET, "payout_id": payout_id, "attempt": attempt, "status": status}
    return commands.PayoutReport(**(terms | changes))


def paid(state: State, **terms: Any) -> UUID:
    """Issue an invoice and pay it, by the transaction `p1`."""
    bill = new_id()
    assert said(state.send(issue(bill, **terms))) == "applied"
    amount = state.invoice(bill).amount_minor
    assert said(state.send(report(bill, "succeeded", transaction="p1", amount_minor=amount))) == "applied"
    return bill


def asked(state: State, bill: UUID, amount: int | None = None) -> UUID:
    """Ask for a refund; returns its id."""
    back = new_id()
    assert said(state.send(refund(bill, back, amount))) == "applied"
    return back


def filled(state: State) -> UUID:
    """Fill Anna's wallet with 98 roubles: 100 less the commission of 2."""
    bill = new_id()
    state.send(top_up(bill))
    state.send(report(bill, "succeeded", transaction="p1", amount_minor=10_000))
    assert state.world.balance(WALLET, "RUB") == 9_800
    return bill
