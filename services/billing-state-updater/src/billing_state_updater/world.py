"""The world of one batch: what was loaded, what the batch's commands make of it, and the rows to write.

It is the memory of one transaction. Decisions read it through `domain.decide.World`; `apply` is the only way to
change it, and everything that `apply` notes is written by `store.save` in one go.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from billing_state_updater.bodies import invoice_body, payout_body, refund_body, wallet_body
from billing_state_updater.domain import books
from billing_state_updater.domain.aggregates import Account, Invoice, Payment, Payout, Refund
from billing_state_updater.domain.fold import step_invoice, step_payout
from billing_state_updater.domain.outcomes import Announcement, Applied, Illegal, Outcome, Poison, Stale, Transfer
from copeck.contracts import commands, events
from copeck.contracts.base import Command, Message
from copeck.contracts.registry import REGISTRY, invoice_topic
from copeck.kernel.ids import new_id


@dataclass(slots=True)
class Delivery:
    """One message as it came off a shard's queue; `sender` is the user whom the broker verified."""

    shard: int
    tag: int
    message_id: str
    sender: str
    headers: dict[str, Any]
    body: bytes


@dataclass(slots=True)
class Incoming:
    """One command of a batch: its data, and what its message said of itself."""

    id: UUID
    type: str
    data: Command
    shard: int
    correlation_id: str | None = None
    traceparent: str | None = None
    delivery: Delivery | None = None


@dataclass(slots=True)
class Quarantined:
    """A message that is set aside with its reason, so that its neighbours are not held up (I-13)."""

    delivery: Delivery
    reason: str


@dataclass(slots=True)
class Outgoing:
    """One event to publish, with its place (shard, seq) in the outbox."""

    shard: int
    seq: int
    message_id: UUID
    type: str
    subject: str
    cause_id: UUID
    correlation_id: str | None
    traceparent: str | None
    body: bytes
    at: datetime
    topic: str
    """The routing key: the type, and for an event of an invoice its kind."""


@dataclass(slots=True)
class Transition:
    """One link of a chain, as it is stored."""

    aggregate_id: UUID
    version: int
    aggregate: str
    event: str
    status: str
    changes: bytes
    cause_id: UUID
    cause_type: str
    actor: str
    shard: int


@dataclass(slots=True)
class Posting:
    """One transfer with its place and the balances after it."""

    aggregate_id: UUID
    cause_id: UUID
    n: int
    transfer: Transfer
    debit_balance: int | None
    credit_balance: int | None


@dataclass(slots=True)
class Refusal:
    """A command that changed nothing, and why."""

    command: Incoming
    aggregate: str
    outcome: str
    code: str
    detail: str
    actor: str


@dataclass(slots=True)
class Booking:
    """A correction or a settlement."""

    id: UUID
    kind: str
    reason: str
    requested_by: str
    approved_by: str
    cause_id: UUID


@dataclass(slots=True)
class World:
    """Loaded aggregates, and the writes that follow from the commands applied to them."""

    now: datetime
    next_seq: dict[int, int]
    invoices: dict[UUID, Invoice] = field(default_factory=dict)
    payouts: dict[UUID, Payout] = field(default_factory=dict)
    accounts: dict[tuple[str, str], Account] = field(default_factory=dict)
    booked: set[UUID] = field(default_factory=set)
    known: set[UUID | tuple[str, str]] = field(default_factory=set)
    touched_invoices: dict[UUID, Invoice] = field(default_factory=dict)
    touched_payouts: dict[UUID, Payout] = field(default_factory=dict)
    touched_accounts: dict[tuple[str, str], Account] = field(default_factory=dict)
    touched_payments: dict[tuple[UUID, UUID], Payment] = field(default_factory=dict)
    touched_refunds: dict[tuple[UUID, UUID], Refund] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    postings: list[Posting] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    bookings: list[Booking] = field(default_factory=list)
    outgoing: list[Outgoing] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    sealed: bool = False
    """Every account that the batch may touch was looked for: what is not here was not locked and must not be used."""

    # What decisions read.

    def invoice(self, id: UUID) -> Invoice:
        """Return an invoice; one that does not exist has version 0."""
        found = self.invoices.get(id)
        if found is None:
            found = self.invoices[id] = Invoice(id)
        return found

    def payout(self, id: UUID) -> Payout:
        """Return a payout; one that does not exist has version 0."""
        found = self.payouts.get(id)
        if found is None:
            found = self.payouts[id] = Payout(id)
        return found

    def account(self, name: str, currency: str) -> Account:
        """Return a materialised account; one that does not exist has version 0."""
        found = self.accounts.get((name, currency))
        if found is None:
            if self.sealed:
                raise LookupError(f"the account {name} in {currency} was not locked with the batch's others")
            found = self.accounts[name, currency] = Account(name, currency)
        return found

    def seal(self, keys: Iterable[tuple[str, str]]) -> None:
        """Say that these are all the accounts that may be used; those of them that do not exist begin at zero."""
        for key in keys:
            if key not in self.accounts:
                self.accounts[key] = Account(*key)
        self.sealed = True

    def balance(self, name: str, currency: str) -> int:
        """Return a materialised account's balance in minor units."""
        return self.account(name, currency).balance_minor

    def is_booked(self, id: UUID) -> bool:
        """Tell whether a correction or a settlement is in the books."""
        return id in self.booked

    # What changes it.

    def apply(self, command: Incoming, outcome: Outcome) -> None:
        """Note everything that one decision brings about."""
        if isinstance(outcome, Applied):
            self._apply(command, outcome)
        elif isinstance(outcome, Illegal):
            self._refuse(command, "refused", outcome.code, outcome.detail)
            refused = events.CommandRefused(
                command_id=command.id,
                command_type=command.type,
                aggregate=command.data.subject(),
                status=self._status_of(command.data),
                code=outcome.code,
                detail=outcome.detail,
            )
            body = refused.__pydantic_serializer__.to_json(refused)
            self._announce(command, refused.TYPE, refused.aggregate, body)
        elif isinstance(outcome, Stale):
            self._refuse(command, "stale", "stale", outcome.reason)
        elif isinstance(outcome, Poison) and command.delivery is not None:
            self.quarantined.append(Quarantined(command.delivery, outcome.reason))

    def _status_of(self, data: Message) -> str:
        if isinstance(data, commands.InvoiceCommand):
            return self.invoice(data.invoice_id).status or ""
        if isinstance(data, commands.PayoutCommand):
            return self.payout(data.payout_id).status or ""
        return ""

    def _refuse(self, command: Incoming, outcome: str, code: str, detail: str) -> None:
        actor = getattr(command.data, "actor", "")
        self.refusals.append(Refusal(command, command.data.subject(), outcome, code, detail, actor))

    def _apply(self, command: Incoming, applied: Applied) -> None:
        data = command.data
        if isinstance(data, commands.InvoiceCommand):
            aggregate = data.invoice_id
            self._apply_invoice(command, self.invoice(aggregate), applied)
        elif isinstance(data, commands.PayoutCommand):
            aggregate = data.payout_id
            self._apply_payout(command, self.payout(aggregate), applied)
        else:
            aggregate = self._apply_booking(command)
        if applied.transfers:
            self._post(command, aggregate, applied.transfers)

    def _apply_invoice(self, command: Incoming, invoice: Invoice, applied: Applied) -> None:
        for step in applied.steps:
            step_invoice(invoice, step.event, step.changes)
            self._chain(command, "invoice", invoice.id, invoice.version, invoice.status, step.event, step.changes)
            if step.announce is not None:
                self._announce(command, step.announce.TYPE, str(invoice.id), invoice_body(invoice), invoice.kind)
        if applied.steps:
            self.touched_invoices[invoice.id] = invoice
        for payment in applied.payments:
            invoice.payments[payment.id] = payment
            self.touched_payments[invoice.id, payment.id] = payment
        for refund in applied.refunds:
            invoice.refunds[refund.id] = refund
            self.touched_refunds[invoice.id, refund.id] = refund
        for announcement in applied.announcements:
            self._announce_part(command, invoice, announcement)

    def _announce_part(self, command: Incoming, invoice: Invoice, announcement: Announcement) -> None:
        if announcement.refund is not None:
            refund = announcement.refund
            self._announce(command, announcement.model.TYPE, str(refund.id), refund_body(invoice, refund))
        elif announcement.payment is not None:
            body = invoice_body(invoice, announcement.payment)
            self._announce(command, announcement.model.TYPE, str(invoice.id), body, invoice.kind)

    def _apply_payout(self, command: Incoming, payout: Payout, applied: Applied) -> None:
        for step in applied.steps:
            step_payout(payout, step.event, step.changes)
            self._chain(command, "payout", payout.id, payout.version, payout.status, step.event, step.changes)
            if step.announce is not None:
                self._announce(command, step.announce.TYPE, str(payout.id), payout_body(payout))
        if applied.steps:
            self.touched_payouts[payout.id] = payout

    def _apply_booking(self, command: Incoming) -> UUID:
        data = command.data
        if isinstance(data, commands.LedgerCorrect):
            self.booked.add(data.correction_id)
            self.bookings.append(
                Booking(data.correction_id, "correction", data.reason, data.requested_by, data.approved_by, command.id)
            )
            return data.correction_id
        if isinstance(data, commands.SettlementReport):
            self.booked.add(data.settlement_id)
            self.bookings.append(Booking(data.settlement_id, "settlement", "", "", "", command.id))
            return data.settlement_id
        if isinstance(data, commands.WalletOpen):
            account = self.account(data.account, data.currency)
            account.opened = True
            account.version += 1
            self.touched_accounts[account.name, account.currency] = account
            self._announce(command, events.WalletOpened.TYPE, account.name, wallet_body(account))
        return command.id

    def _chain(
        self,
        command: Incoming,
        kind: str,
        id: UUID,
        version: int,
        status: str | None,
        event: str,
        changes: dict[str, Any],
    ) -> None:
        self.transitions.append(
            Transition(
                id,
                version,
                kind,
                event,
                status or "",
                orjson.dumps(changes),
                command.id,
                command.type,
                getattr(command.data, "actor", ""),
                command.shard,
            )
        )

    def _post(self, command: Incoming, aggregate: UUID, transfers: Iterable[Transfer]) -> None:
        changed: dict[tuple[str, str], Account] = {}
        for n, transfer in enumerate(transfers):
            debit = self._move(changed, transfer.debit, transfer.currency, -transfer.amount_minor)
            credit = self._move(changed, transfer.credit, transfer.currency, transfer.amount_minor)
            self.postings.append(Posting(aggregate, command.id, n, transfer, debit, credit))
        for key, account in changed.items():
            account.version += 1
            self.touched_accounts[key] = account
            self._announce(command, events.WalletChanged.TYPE, account.name, wallet_body(account))

    def _move(self, changed: dict[tuple[str, str], Account], name: str, currency: str, amount: int) -> int | None:
        if not books.is_materialised(name):
            return None
        account = changed[name, currency] = self.account(name, currency)
        account.balance_minor += amount
        if account.balance_minor < 0 and books.is_wallet(name):
            raise AssertionError(f"{name} would fall below zero; its decision should have refused")
        return account.balance_minor

    def _announce(
        self, command: Incoming, type: str, subject: str, body: bytes, invoice_kind: str | None = None
    ) -> None:
        if not REGISTRY[type].consumers:
            return
        seq = self.next_seq[command.shard] = self.next_seq[command.shard] + 1
        self.outgoing.append(
            Outgoing(
                command.shard,
                seq,
                new_id(),
                type,
                subject,
                command.id,
                command.correlation_id,
                command.traceparent,
                body,
                self.now,
                invoice_topic(type, invoice_kind) if invoice_kind else type,
            )
        )
