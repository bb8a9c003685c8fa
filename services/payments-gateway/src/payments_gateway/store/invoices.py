"""The projection of invoices, kept by the updater's events."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts.events import InvoiceEvent
from copeck.kernel.money import Money
from copeck.storage.bulk import BulkInsert
from payments_gateway.domain.invoices import Invoice
from payments_gateway.tables import invoices

# References of an invoice that say what it is for, by language.
_TITLES = {"ru": "title_ru", "en": "title_en"}


async def project(tx: AsyncConnection, told: Iterable[tuple[InvoiceEvent, str | None]], now: datetime) -> None:
    """Keep the states that events tell (each with its correlation id), unless newer ones are known."""
    newest: dict[UUID, dict[str, Any]] = {}
    for event, correlation_id in told:
        known = newest.get(event.invoice_id)
        if known is None or known["version"] < event.version:
            newest[event.invoice_id] = _values(event, correlation_id, now)
    # Two processes that write the same invoices take their locks in the same order.
    ordered = [newest[invoice_id] for invoice_id in sorted(newest)]
    await _PROJECT(tx, ordered)


def _values(event: InvoiceEvent, correlation_id: str | None, now: datetime) -> dict[str, Any]:
    return {
        "invoice_id": event.invoice_id,
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
        "beneficiary": event.beneficiary,
        "titles": {language: event.references[key] for language, key in _TITLES.items() if key in event.references},
    }


_CHANGES = ", ".join(f"{column.name} = excluded.{column.name}" for column in invoices.columns if not column.primary_key)
# The story that an invoice belongs to is told by its events alone.
_NEWS = ", ".join(
    f"{column.name} = excluded.{column.name}"
    for column in invoices.columns
    if not column.primary_key and column.name != "correlation_id"
)
_PROJECT = BulkInsert(
    invoices,
    [column.name for column in invoices.columns],
    on_conflict=f"(invoice_id) DO UPDATE SET {_CHANGES} WHERE invoices.version < excluded.version",
)


# The State Storage's own view: read when the bus is late, so that nobody has to wait for it, and where money is about
# to be asked for, since a lost event would leave the copy payable. What is as new already is not even locked.
_ADOPT = sa.text(f"""
INSERT INTO gateway.invoices (invoice_id, version, status, kind, product, account, payer, amount_minor, currency,
    description, capture, expires_at, failure_code, failure_reason, correlation_id, updated_at, beneficiary, titles)
SELECT id, version, status, kind, product, account, payer, amount_minor, currency,
    description, capture, expires_at, failure_code, failure_reason, NULL, :now, beneficiary,
    jsonb_strip_nulls(jsonb_build_object('ru', "references" ->> 'title_ru', 'en', "references" ->> 'title_en'))
FROM state_api.invoices_v1 AS told WHERE id = ANY(:ids) AND NOT EXISTS (
    SELECT FROM gateway.invoices AS known WHERE known.invoice_id = told.id AND known.version >= told.version
)
ORDER BY id
ON CONFLICT (invoice_id) DO UPDATE SET {_NEWS} WHERE invoices.version < excluded.version
RETURNING invoice_id
""").bindparams(  # noqa: S608  names of columns, all ours
    sa.bindparam("ids", type_=ARRAY(PG_UUID(as_uuid=True))), sa.bindparam("now", type_=sa.DateTime(timezone=True))
)


async def adopt(tx: AsyncConnection, invoice_ids: Iterable[UUID], now: datetime) -> set[UUID]:
    """Take over from the State Storage what it knows better than we do; returns which invoices those were."""
    return {row.invoice_id for row in await tx.execute(_ADOPT, {"ids": list(invoice_ids), "now": now})}


async def known(tx: AsyncConnection, invoice_ids: Iterable[UUID], now: datetime) -> dict[UUID, Invoice]:
    """Return invoices that are about to be charged, as the State Storage knows them where our copies are behind."""
    wanted = set(invoice_ids)
    if wanted:
        await adopt(tx, wanted, now)
    return await get_many(tx, wanted)


async def get(tx: AsyncConnection, invoice_id: UUID) -> Invoice | None:
    """Return the invoice as it is known."""
    row = (await tx.execute(sa.select(invoices).where(invoices.c.invoice_id == invoice_id))).first()
    return None if row is None else from_row(row)


async def get_many(tx: AsyncConnection, invoice_ids: Collection[UUID]) -> dict[UUID, Invoice]:
    """Return invoices as they are known, by their ids."""
    if not invoice_ids:
        return {}
    rows = await tx.execute(_MANY, {"ids": list(invoice_ids)})
    return {row.invoice_id: from_row(row) for row in rows}


def many_query(invoice_ids: Collection[UUID]) -> tuple[sa.Select[Any], dict[str, Any]]:
    """Return the query of invoices by their ids, and its parameters."""
    return _MANY, {"ids": list(invoice_ids)}


_MANY = sa.select(invoices).where(
    invoices.c.invoice_id == sa.func.any(sa.bindparam("ids", type_=ARRAY(PG_UUID(as_uuid=True))))
)


def from_row(row: Any) -> Invoice:
    """Turn a row, SQLAlchemy's or a named tuple, into the domain's value."""
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
        titles=data["titles"],
        beneficiary=data["beneficiary"],
    )
