"""Applying steps: the only place where an aggregate's state changes, live and when a chain is replayed (I-02)."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from billing_state_updater.domain.aggregates import Changes, Invoice, Payment, Payout, Refund
from billing_state_updater.domain.machines import INVOICE, PAYOUT, Table

_PARTS = frozenset({"attempt", "refund"})


class ForbiddenTransitionError(Exception):
    """A step that the machine's table does not have: a defect of a decision, or a damaged chain."""


def next_status(table: Table, status: str | None, event: str) -> str:
    """Look a transition up; ForbiddenTransitionError when there is none."""
    after = table.get((status, event))
    if after is None:
        raise ForbiddenTransitionError(f"{event} is not possible when the status is {status}")
    return after


def step_invoice(invoice: Invoice, event: str, changes: Changes) -> None:
    """Move an invoice by one step of its chain."""
    invoice.status = next_status(INVOICE, invoice.status, event)
    invoice.version += 1
    for name, value in changes.items():
        if name not in _PARTS:
            setattr(invoice, name, value)


def step_payout(payout: Payout, event: str, changes: Changes) -> None:
    """Move a payout by one step of its chain."""
    payout.status = next_status(PAYOUT, payout.status, event)
    payout.version += 1
    for name, value in changes.items():
        setattr(payout, name, value)


def fold_invoice(id: UUID, chain: Iterable[tuple[str, dict[str, Any]]]) -> Invoice:
    """Rebuild an invoice, its attempts and its refunds from the stored chain of (event, changes as JSON)."""
    invoice = Invoice(id)
    for event, stored in chain:
        changes = dict(stored)
        if isinstance(changes.get("payment_id"), str):
            changes["payment_id"] = UUID(changes["payment_id"])
        if isinstance(changes.get("expires_at"), str):
            changes["expires_at"] = datetime.fromisoformat(changes["expires_at"])
        step_invoice(invoice, event, changes)
        if attempt := changes.get("attempt"):
            payment = Payment(invoice_id=id, **{**attempt, "id": UUID(str(attempt["id"]))})
            invoice.payments[payment.id] = payment
        if stored_refund := changes.get("refund"):
            paid_by = stored_refund["payment_id"]
            refund = Refund(
                invoice_id=id,
                **{
                    **stored_refund,
                    "id": UUID(str(stored_refund["id"])),
                    "payment_id": UUID(str(paid_by)) if paid_by else None,
                },
            )
            invoice.refunds[refund.id] = refund
    return invoice


def fold_payout(id: UUID, chain: Iterable[tuple[str, dict[str, Any]]]) -> Payout:
    """Rebuild a payout from its stored chain."""
    payout = Payout(id)
    for event, stored in chain:
        step_payout(payout, event, stored)
    return payout
