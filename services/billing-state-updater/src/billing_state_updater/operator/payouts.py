"""`copeck payout`: one payout's whole story, from every service that had a part in it; and search."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from billing_state_updater.domain import books
from billing_state_updater.domain.machines import PAYOUT_STATUSES
from billing_state_updater.operator import telling
from billing_state_updater.store import payout_timeline as store
from copeck.operator import registry
from copeck.operator.context import database
from copeck.operator.errors import OperatorError
from copeck.operator.output import Json, emit, moment, money, spoken, table

app = typer.Typer(help="What happened to a payout; search.", no_args_is_help=True, rich_markup_mode=None)

_LIMIT_MAX = 1000
_AMOUNTS = ("amount_minor", "commission_minor")


@app.command()
def show(
    payout_id: Annotated[UUID, typer.Argument(help="The payout's id.")],
    as_json: Json = False,
) -> None:
    """Tell a payout's story: commands, approvals, operations at the provider, transitions, transfers, refusals.

    Each line says when, where it is recorded, what it led to, who asked and which message caused it. The recipient is
    shown masked.

    Example: copeck payout show 0190f5c2-7d5e-7a10-9c1f-3f6f0a3b5c11 --json
    """
    with database() as connection:
        found = store.payout(connection, payout_id)
        entries, missing = telling.gather(connection, registry.PAYOUT_TIMELINES, payout_id)
    if found is None and not entries:
        raise OperatorError(f"nothing is known of a payout {payout_id}")
    document = {
        "payout": _payout(found) if found else None,
        "timeline": [entry.document() for entry in entries],
        "unavailable": missing,
    }

    def tell(console: Console) -> None:
        console.print(_headline(payout_id, found), markup=False)
        telling.show(console, entries, missing)

    emit(document, as_json, tell)


def _payout(row: dict[str, Any]) -> dict[str, Any]:
    amounts = {name.removesuffix("_minor"): money(row[name], row["currency"]) for name in _AMOUNTS}
    rest = {name: value for name, value in row.items() if name not in (*_AMOUNTS, "refs")}
    return rest | amounts | {"references": row["refs"]}


def _headline(payout_id: UUID, row: dict[str, Any] | None) -> str:
    if row is None:
        return f"Payout {payout_id}: the State Storage does not know it (yet); others do"
    amount, commission = (spoken(money(row[name], row["currency"])) for name in _AMOUNTS)
    unknown = ", the outcome is not known" if row["outcome_unknown"] else ""
    error = f", last error {row['last_error']}" if row["last_error"] else ""
    approved = f", approved by {row['approved_by']}" if row["approved_by"] else ""
    return (
        f"Payout {payout_id}: {row['status']} (version {row['version']}), {amount} and commission {commission}, "
        f"attempt {row['attempt']}{unknown}{error}\n"
        f"from {row['account']} to {row['recipient'] or 'nobody named'} by {row['provider']}:{row['shop']}; "
        f"asked for by {row['requested_by'] or 'unknown'} at {moment(row['requested_at'])}{approved}"
    )


@app.command("list")
def list_(
    status: Annotated[str | None, typer.Option(help=f"One of {', '.join(PAYOUT_STATUSES)}.")] = None,
    account: Annotated[str | None, typer.Option(help="The account that pays, as wallet:….")] = None,
    since: Annotated[datetime | None, typer.Option(help="Asked for at this moment (UTC) or later.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Asked for before this moment (UTC).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=_LIMIT_MAX, help="At most this many, the newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """Search payouts; every condition must hold. The newest come first.

    Example: copeck payout list --status failed --since 2026-11-01 --limit 20
    """
    if status is not None and status not in PAYOUT_STATUSES:
        raise typer.BadParameter(f"{status} is none of {', '.join(PAYOUT_STATUSES)}", param_hint="--status")
    if account is not None and not books.is_account(account):
        raise typer.BadParameter(f"{account} is no account, as wallet:… or house:payouts", param_hint="--account")
    wanted = {"status": status, "account": account, "since": telling.bound(since), "until": telling.bound(until)}
    with database() as connection:
        rows = [_payout(row) for row in store.search(connection, wanted, limit)]

    def tell(console: Console) -> None:
        columns = ("id", "asked for", "status", "amount", "from", "to", "attempt", "last error")
        names = ("account", "recipient", "attempt", "last_error")
        cells = [
            (r["id"], r["requested_at"], r["status"], spoken(r["amount"]), *(r[name] for name in names)) for r in rows
        ]
        console.print(table(f"Payouts: {len(rows)} shown", columns, cells, right=("amount", "attempt")))

    emit({"payouts": rows}, as_json, tell)
