"""`copeck wallet`: a balance, what is held of it, and whether it follows from its transfers."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console

from billing_state_updater.domain import books
from billing_state_updater.operator import folding
from billing_state_updater.store import wallets as store
from copeck.operator.context import Connection, database
from copeck.operator.errors import FINDINGS, OperatorError
from copeck.operator.output import Json, emit, moment, money, spoken, table

app = typer.Typer(help="A balance, and how it came about.", no_args_is_help=True, rich_markup_mode=None)

_LAST_MAX = 1000
_AMOUNTS = ("balance_minor", "held_minor", "pending_minor")


@app.callback()
def _group() -> None:
    """A balance, and how it came about."""


@app.command()
def show(
    account: Annotated[str, typer.Argument(help="wallet:… or merchant:….")],
    currency: Annotated[str | None, typer.Option(help="One currency; without it, each that the account has.")] = None,
    last: Annotated[int, typer.Option(min=1, max=_LAST_MAX, help="At most this many transfers, newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """Show what an account has, what payouts hold of it, its last transfers, and fold all of them.

    `held` was debited for payouts under way, commission included; `pending` is what open top-ups will bring. Every
    transfer keeps the balance after it: all of them, from nothing to the balance that is kept, must be steps of one
    way, and a wallet is never below zero on it. Exit status 4 when that is not so.

    Example: copeck wallet show wallet:0190f5c2-7d5e-7a10-9c1f-3f6f0a3b5c11 --last 5
    """
    if not books.is_materialised(account) or not books.is_account(account):
        raise typer.BadParameter(f"{account} is neither wallet:… nor merchant:…", param_hint="ACCOUNT")
    with database() as connection:
        rows = store.balances(connection, account, currency)
        found = [_balance(connection, row, last) for row in rows]
    if not found:
        wanted = f" in {currency}" if currency else ""
        raise OperatorError(f"{account} has no balance{wanted}: it was never opened, and nothing moved on it")
    right = all(one["ok"] for one in found)

    def tell(console: Console) -> None:
        for one in found:
            _tell(console, one)

    emit({"account": account, "ok": right, "balances": found}, as_json, tell)
    if not right:
        raise typer.Exit(FINDINGS)


def _balance(connection: Connection, row: dict[str, Any], last: int) -> dict[str, Any]:
    account, currency = row["account"], row["currency"]
    counted = [0]

    def moves() -> Iterator[tuple[int, int]]:
        for move in store.moves(connection, account, currency):
            counted[0] += 1
            yield move

    problems = list(folding.problems(account, moves(), row["balance_minor"]))
    amounts = {name.removesuffix("_minor"): money(row[name], currency) for name in _AMOUNTS}
    kept = ("version", "updated_at", "payouts_under_way", "topups_open")
    return {
        "currency": currency,
        **amounts,
        **{name: row[name] for name in kept},
        "transfers": counted[0],
        "ok": not problems,
        "problems": problems,
        "last": [_transfer(found, currency) for found in store.last_transfers(connection, account, currency, last)],
    }


def _transfer(row: dict[str, Any], currency: str) -> dict[str, Any]:
    amounts = {name: money(row[f"{name}_minor"], currency) for name in ("amount", "balance_after")}
    return {name: value for name, value in row.items() if not name.endswith("_minor")} | amounts


def _tell(console: Console, one: dict[str, Any]) -> None:
    console.print(
        f"{spoken(one['balance'])} available; {spoken(one['held'])} held by {one['payouts_under_way']} payouts; "
        f"{spoken(one['pending'])} pending of {one['topups_open']} top-ups; changed {moment(one['updated_at'])}",
        markup=False,
    )
    columns = ("when (UTC)", "kind", "with", "amount", "balance after", "of")
    cells = [
        (
            moment(row["at"]),
            row["kind"],
            row["counter_account"],
            ("−" if row["direction"] == "debit" else "+") + spoken(row["amount"]),
            spoken(row["balance_after"]),
            row["aggregate_id"],
        )
        for row in one["last"]
    ]
    title = f"Last {len(cells)} of {one['transfers']} transfers"
    console.print(table(title, columns, cells, right=("amount", "balance after")))
    if one["ok"]:
        console.print(f"ok    the balance in {one['currency']} follows from its transfers, at every step")
    for problem in one["problems"]:
        console.print(f"WRONG {problem}", markup=False)
