"""The projection of invoices, kept by the updater's events."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts.events import InvoiceEvent
from copeck.kernel.money import Money
from payments_gateway.domain.invoices import Invoice
from payments_gateway.tables import invoices


async def project(tx: AsyncConnection, event: InvoiceEvent, correlation_id: str | None, now: datetime) -> bool:
    """Keep the state that an event tells, unless a newer one is known; tell whether anything changed."""
    values = {
        "version": event.version,
        "status": event.status,
        "kind": event.kind,
        "product": event.product,
        "account": event.account,
        "payer": event.payer,
        "amount_minor": event.amount_minor,
        "currency": event.currency,
        "description": event.description,
        "capture": event.capture,
        "expires_at": event.expires_at,
        "failure_code": event.failure_code,
        "failure_reason": event.failure_reason,
        "correlation_id": correlation_id,
        "updated_at": now,
    }
    statement = (
        insert(invoices)
        .values(invoice_id=event.invoice_id, **values)
        .on_conflict_do_update(
            index_elements=[invoices.c.invoice_id], set_=values, where=invoices.c.version < event.version
        )
        .returning(invoices.c.version)
    )
    return (await tx.execute(statement)).first() is not None


async def get(tx: AsyncConnection, invoice_id: UUID) -> Invoice | None:
    """Return the invoice as it is known."""
    row = (await tx.execute(sa.select(invoices).where(invoices.c.invoice_id == invoice_id))).first()
    return None if row is None else from_row(row)


def from_row(row: sa.Row[Any]) -> Invoice:
    """Turn a row into the domain's value."""
    data = row._asdict()
    return Invoice(
        invoice_id=data["invoice_id"],
        version=data["version"],
        status=data["status"],
        kind=data["kind"],
        product=data["product"],
        account=data["account"],
        payer=data["payer"],
        amount=Money(data["amount_minor"], data["currency"]),
        description=data["description"],
        capture=data["capture"],
        expires_at=data["expires_at"],
        failure_code=data["failure_code"],
        failure_reason=data["failure_reason"],
        correlation_id=data["correlation_id"],
    )
