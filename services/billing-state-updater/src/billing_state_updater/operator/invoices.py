"""`copeck invoice`: one invoice's whole story, from every service that had a part in it; and search."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from billing_state_updater.domain.machines import INVOICE_STATUSES
from billing_state_updater.operator import telling
from billing_state_updater.store import timeline as store
from copeck.operator import registry
from copeck.operator.context import database
from copeck.operator.errors import OperatorError
from copeck.operator.output import Json, emit, moment, money, spoken, table

app = typer.Typer(help="What happened to an invoice; search.", no_args_is_help=True, rich_markup_mode=None)

_LIMIT_MAX = 1000
_AMOUNTS = ("amount_minor", "commission_minor", "refunded_minor", "refunding_minor")


@app.command()
def show(
    invoice_id: Annotated[UUID, typer.Argument(help="The invoice's id.")],
    as_json: Json = False,
) -> None:
    """Tell an invoice's story: commands, callbacks, attempts, operations, transitions, transfers, refunds, refusals.

    Each line says when, where it is recorded, what it led to, who asked and which message caused it.

    Example: copeck invoice show 0190f5c2-7d5e-7a10-9c1f-3f6f0a3b5c11 --json
    """
    with database() as connection:
        found = store.invoice(connection, invoice_id)
        entries, missing = telling.gather(connection, registry.TIMELINES, invoice_id)
    if found is None and not entries:
        raise OperatorError(f"nothing is known of an invoice {invoice_id}")
    document = {
        "invoice": _invoice(found) if found else None,
        "timeline": [entry.document() for entry in entries],
        "unavailable": missing,
    }

    def tell(console: Console) -> None:
        console.print(_headline(invoice_id, found), markup=False)
        telling.show(console, entries, missing)

    emit(document, as_json, tell)


def _invoice(row: dict[str, Any]) -> dict[str, Any]:
    amounts = {name.removesuffix("_minor"): money(row[name], row["currency"]) for name in _AMOUNTS}
    rest = {name: value for name, value in row.items() if name not in (*_AMOUNTS, "refs")}
    return rest | amounts | {"references": row["refs"]}


def _headline(invoice_id: UUID, row: dict[str, Any] | None) -> str:
    if row is None:
        return f"Invoice {invoice_id}: the State Storage does not know it (yet); others do"
    amount = spoken(money(row["amount_minor"], row["currency"]))
    back = f", {spoken(money(row['refunded_minor'], row['currency']))} returned" if row["refunded_minor"] else ""
    return (
        f"Invoice {invoice_id}: {row['status']} (version {row['version']}), {amount}{back}\n"
        f"{row['kind']}, {row['product']}, payer {row['payer'] or 'unknown'}, for {row['beneficiary']}; "
        f"issued {moment(row['issued_at'])}, payable until {moment(row['expires_at'])}"
    )


@app.command("list")
def list_(
    status: Annotated[str | None, typer.Option(help=f"One of {', '.join(INVOICE_STATUSES)}.")] = None,
    payer: Annotated[str | None, typer.Option(help="The payer's user id.")] = None,
    account: Annotated[str | None, typer.Option(help="The account that it was issued to, as customer:….")] = None,
    product: Annotated[str | None, typer.Option(help="The product.")] = None,
    transaction: Annotated[str | None, typer.Option(help="A payment's id at the provider.")] = None,
    reference: Annotated[str | None, typer.Option(help="A reference, as subscription_id=0190….")] = None,
    since: Annotated[datetime | None, typer.Option(help="Issued at this moment (UTC) or later.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Issued before this moment (UTC).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=_LIMIT_MAX, help="At most this many, the newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """Search invoices; every condition must hold. The newest come first.

    Example: copeck invoice list --status paid --since 2026-11-01 --limit 20
    """
    if status is not None and status not in INVOICE_STATUSES:
        raise typer.BadParameter(f"{status} is none of {', '.join(INVOICE_STATUSES)}", param_hint="--status")
    name, separator, value = (reference or "").partition("=")
    if reference is not None and not (separator and name and value):
        raise typer.BadParameter("a reference is written name=value", param_hint="--reference")
    wanted = {
        "status": status,
        "payer": payer,
        "account": account,
        "product": product,
        "transaction": transaction,
        "reference": value or None,
        "reference_name": name,
        "since": telling.bound(since),
        "until": telling.bound(until),
    }
    with database() as connection:
        rows = [_invoice(row) for row in store.search(connection, wanted, limit)]

    def tell(console: Console) -> None:
        columns = ("id", "issued", "status", "amount", "product", "payer", "method")
        cells = [
            (r["id"], r["issued_at"], r["status"], spoken(r["amount"]), r["product"], r["payer"], r["method"])
            for r in rows
        ]
        console.print(table(f"Invoices: {len(rows)} shown", columns, cells, right=("amount",)))

    emit({"invoices": rows}, as_json, tell)
