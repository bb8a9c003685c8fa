"""`copeck ledger`: is every kopeck accounted for?"""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console

from billing_state_updater.operator import folding
from billing_state_updater.store import verify as store
from copeck.operator.context import Connection, database
from copeck.operator.errors import FINDINGS
from copeck.operator.output import Json, emit, money, spoken, table

app = typer.Typer(help="Is every kopeck accounted for?", no_args_is_help=True, rich_markup_mode=None)

_SHOWN_MAX = 1000
Finding = dict[str, Any]


@app.callback()
def _group() -> None:
    """Is every kopeck accounted for?"""


@app.command()
def verify(
    show: Annotated[int, typer.Option(min=1, max=_SHOWN_MAX, help="At most this many findings of each check.")] = 100,
    as_json: Json = False,
) -> None:
    """Read the books back in one snapshot and check them against everything that should explain them.

    Sums per currency; every wallet's and merchant's balance and each balance on the way to it; no wallet below zero
    at any moment; each invoice's payment, commission, refunds and late money; what each payout
    took of its source, gave to the provider, cost and gave back; suspense and in-transit accounts against
    open refunds and payouts; no transfer without an owner. Exit status 4 when something is wrong.

    Example: copeck ledger verify --json
    """
    with database() as connection:
        sizes = store.count(connection)
        balances = store.balances(connection)
        checks = {
            "sums": list(_sums(balances)),
            "balances": list(itertools.islice(_balances(connection), show)),
            "invoices": [_invoice(row) for row in store.wrong_invoices(connection, show)],
            "payouts": [_payout(row) for row in store.wrong_payouts(connection, show)],
            "in_transit": list(_transit(connection)),
            "owners": [_orphan(row) for row in store.orphans(connection, show)],
        }
    findings = sum(len(found) for found in checks.values())
    document: dict[str, Any] = {
        "ok": not findings,
        "examined": sizes,
        "balances": [
            {
                "account": row["account"],
                "accounts": row["accounts"],
                "balance": money(row["credit_minor"] - row["debit_minor"], row["currency"]),
            }
            for row in balances
        ],
        "checks": [{"check": name, "ok": not found, "findings": found} for name, found in checks.items()],
    }

    def tell(console: Console) -> None:
        cells = [(row["account"], row["accounts"], spoken(row["balance"])) for row in document["balances"]]
        console.print(table("Balances (credit − debit)", ("account", "accounts", "balance"), cells, right=("balance",)))
        for name, found in checks.items():
            console.print(f"{'ok   ' if not found else 'WRONG'} {_TITLES[name]}")
            for finding in found:
                console.print(f"      {finding['what']}", markup=False)
        verdict = "the books are right" if not findings else f"{findings} findings"
        console.print(
            f"{sizes['transfers']} transfers, {sizes['invoices']} invoices, {sizes['payouts']} payouts, "
            f"{sizes['accounts']} accounts: {verdict}"
        )

    emit(document, as_json, tell)
    if findings:
        raise typer.Exit(FINDINGS)


_TITLES = {
    "sums": "per currency, debits and credits are equal",
    "balances": "every kept balance is the fold of its transfers, no wallet was ever below zero",
    "invoices": "every invoice has the transfers that its state asks for, and no others",
    "payouts": "every payout has the transfers that its state and its attempts ask for, and no others",
    "in_transit": "suspense and in-transit accounts are explained by what is open",
    "owners": "every transfer belongs to an invoice, a payout, a booking or an opening",
}


def _sums(balances: list[dict[str, Any]]) -> Iterator[Finding]:
    totals: Counter[str] = Counter()
    for row in balances:
        totals[row["currency"]] += row["credit_minor"] - row["debit_minor"]
    for currency, total in totals.items():
        if total:
            yield {
                "what": f"the books in {currency} are off by {money(total, currency)['value']}",
                "currency": currency,
            }


def _balances(connection: Connection) -> Iterator[Finding]:
    """Compare each kept balance with its transfers, both streams in the order of the accounts' names."""
    kept = iter(store.accounts(connection))
    held = next(kept, None)
    for key, moves in itertools.groupby(store.moves(connection), key=lambda move: (move[0], move[1])):
        while held is not None and (held[0], held[1]) < key:
            yield from _untouched(held)
            held = next(kept, None)
        stored = None
        if held is not None and (held[0], held[1]) == key:
            stored, held = held[2], next(kept, None)
        for problem in folding.problems(key[0], ((delta, after) for _, _, delta, after in moves), stored):
            yield {"what": f"{key[0]} in {key[1]}: {problem}", "account": key[0], "currency": key[1]}
    while held is not None:
        yield from _untouched(held)
        held = next(kept, None)


def _untouched(held: tuple[str, str, int]) -> Iterator[Finding]:
    name, currency, balance = held
    if balance:
        yield {
            "what": f"{name} in {currency}: holds {balance} and has no transfer",
            "account": name,
            "currency": currency,
        }


_INVOICE = {
    "payment": ("payment", "booked_payment"),
    "commission": ("commission", "booked_commission"),
    "refunds": ("settled", "booked_refunded"),
    "late money": ("late", "booked_late"),
    "refunded so far": ("refunded_minor", "done"),
    "refunds under way": ("refunding_minor", "open"),
}
_PAYOUT = {
    "what left": ("settled", "booked_settled"),
    "what is on its way": ("in_transit", "booked_in_transit"),
    "commission": ("commission", "booked_commission"),
    "what its source gave": ("given", "booked_given"),
    "our loss": ("lost", "booked_lost"),
    "debits": ("debits", "booked_debits"),
    "transfers of another currency or without their step": ("strange", "booked_strange"),
}


def _wrong(row: dict[str, Any], pairs: dict[str, tuple[str, str]]) -> str:
    return "; ".join(
        f"{name} should be {row[expected]} and is {row[found]}"
        for name, (expected, found) in pairs.items()
        if row[expected] != row[found]
    )


def _invoice(row: dict[str, Any]) -> Finding:
    return {"what": f"invoice {row['id']} ({row['status']}): {_wrong(row, _INVOICE)}", "invoice_id": row["id"]}


def _payout(row: dict[str, Any]) -> Finding:
    return {"what": f"payout {row['id']} ({row['status']}): {_wrong(row, _PAYOUT)}", "payout_id": row["id"]}


def _transit(connection: Connection) -> Iterator[Finding]:
    for row in store.transit(connection):
        if row["balance_minor"] != row["explained_minor"]:
            yield {
                "what": f"{row['account']} holds {row['balance_minor']} {row['currency']} (minor units), of which "
                f"{row['items']} open items explain {row['explained_minor']}",
                "account": row["account"],
            }


def _orphan(row: dict[str, Any]) -> Finding:
    return {
        "what": f"transfer {row['aggregate_id']}/{row['cause_id']}/{row['n']} ({row['kind']}, {row['amount_minor']} "
        f"{row['currency']}) belongs to nothing",
        "aggregate_id": row["aggregate_id"],
    }
