"""`copeck replay`: does every stored row follow from its chain of events?"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from billing_state_updater.domain.aggregates import Invoice, Payout
from billing_state_updater.domain.fold import ForbiddenTransitionError, fold_invoice, fold_payout, next_status
from billing_state_updater.domain.machines import INVOICE, PAYOUT, Table
from billing_state_updater.store import chains as store
from copeck.kernel.ids import first_id_at
from copeck.operator.context import Connection, database
from copeck.operator.errors import FINDINGS, OperatorError
from copeck.operator.output import Json, complaints, emit, table

_SHOWN_MAX = 10_000
_KINDS = ("invoice", "payout", "payment", "refund")
_TABLES: dict[str, Table] = {"invoice": INVOICE, "payout": PAYOUT}

app = typer.Typer(rich_markup_mode=None)


@dataclass(frozen=True, slots=True)
class Link:
    """One stored step of a chain."""

    version: int
    event: str
    status: str
    changes: dict[str, Any]


class Rows:
    """A stream of stored rows in the order of their aggregates' ids; rows without a chain are noted on the way."""

    def __init__(self, kind: str, rows: Iterable[store.Row]) -> None:
        self.kind = kind
        self._rows = iter(rows)
        self._next = next(self._rows, None)

    def of(self, identity: UUID) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return an aggregate's rows, and those of aggregates before it, which have no chain."""
        orphans: list[dict[str, Any]] = []
        own: list[dict[str, Any]] = []
        while self._next is not None and self._next[0] <= identity:
            (own if self._next[0] == identity else orphans).append(self._next[1])
            self._next = next(self._rows, None)
        return own, orphans

    def rest(self) -> Iterator[dict[str, Any]]:
        """Return what is left when all chains were seen."""
        while self._next is not None:
            yield self._next[1]
            self._next = next(self._rows, None)


@app.command()
def replay(
    ids: Annotated[list[UUID] | None, typer.Argument(help="Invoices or payouts; without them, all.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare the result with the stored rows.")] = False,
    since: Annotated[datetime | None, typer.Option(help="Only what was issued at this moment (UTC) or later.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many chains, the oldest first.")] = None,
    show: Annotated[int, typer.Option(min=1, max=_SHOWN_MAX, help="Stop after this many findings.")] = 100,
    as_json: Json = False,
) -> None:
    """Fold event chains with the code that made them; with --check, compare with what is stored.

    Invoices with their attempts and refunds, and payouts. Every chain must have the versions 1, 2, 3 …, only allowed
    transitions, and end in the stored row, field by field. Exit status 4 when something differs.

    Examples:

    \b
      copeck replay --check
      copeck replay --check --since 2026-11-01
      copeck replay 0190f5c2-…          (shows what the chain folds to)
    """
    if not check and not ids:
        raise OperatorError("say --check to compare everything, or name what to replay")
    bound = first_id_at(since.replace(tzinfo=since.tzinfo or UTC)) if since else None
    with database() as connection:
        if not check:
            _show(connection, list(ids or ()), as_json)
            return
        total = len(ids) if ids else store.count(connection, bound)
        counts = {"invoice": 0, "payout": 0, "links": 0}
        with _progress(as_json) as progress:
            task = progress.add_task("chains", total=min(total, limit or total))
            walk = _walk(connection, bound, ids, limit, counts, lambda: progress.advance(task))
            findings = list(itertools.islice(walk, show))
    _report(counts, findings, as_json, complete=len(findings) < show)
    if findings:
        raise typer.Exit(FINDINGS)


def _progress(quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = complaints()
    return Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True)


def _report(counts: dict[str, int], findings: list[dict[str, str]], as_json: bool, *, complete: bool) -> None:
    examined = {"invoices": counts["invoice"], "payouts": counts["payout"], "links": counts["links"]}
    document = {"ok": not findings, "complete": complete, "examined": examined, "findings": findings}

    def tell(console: Console) -> None:
        if findings:
            names = ("kind", "id", "what")
            console.print(table("Findings", names, [[row[name] for name in names] for row in findings]))
        verdict = f"{len(findings)} findings" if findings else "every row follows from its chain"
        told = f"{examined['invoices']} invoices, {examined['payouts']} payouts, {examined['links']} links: {verdict}"
        console.print(told if complete else f"{told}; stopped at the limit of --show")

    emit(document, as_json, tell)


def _walk(
    connection: Connection,
    since: UUID | None,
    ids: list[UUID] | None,
    limit: int | None,
    counts: dict[str, int],
    tick: Any,
) -> Iterator[dict[str, str]]:
    """Walk chains and stored rows side by side; all streams are in the order of the aggregates' ids."""
    rows = {
        kind: Rows(kind, store.stored(connection, kind, since, ids))
        for kind in ("invoice", "payout", "payment", "refund")
    }
    links = store.chains(connection, since, ids)
    seen = 0
    for (identity, kind), group in itertools.groupby(links, key=lambda link: (link[0], link[1])):
        if limit is not None and seen >= limit:
            return
        seen += 1
        chain = [Link(*link[2:]) for link in group]
        own: dict[str, list[dict[str, Any]]] = {}
        for name, stream in rows.items():
            own[name], orphans = stream.of(identity)
            yield from (_orphan(name, row) for row in orphans)
        for problem in problems(kind, identity, chain, own):
            yield {"kind": kind, "id": str(identity), "what": problem}
        counts[kind] = counts.get(kind, 0) + 1
        counts["links"] += len(chain)
        tick()
    for name, stream in rows.items():
        yield from (_orphan(name, row) for row in stream.rest())
    for identity in set(ids or ()) if not seen else ():
        yield {"kind": "", "id": str(identity), "what": "has no chain"}


def _orphan(kind: str, row: dict[str, Any]) -> dict[str, str]:
    return {"kind": kind, "id": str(row["id"]), "what": f"the {kind} is stored and has no chain of events"}


def problems(kind: str, identity: UUID, chain: list[Link], rows: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Say everything that is wrong with one chain and the rows that should follow from it."""
    if kind not in _TABLES:
        yield f"the chain is of an unknown kind, {kind}"
        return
    versions = [link.version for link in chain]
    if versions != list(range(1, len(chain) + 1)):
        yield f"the versions are {_short(versions)}, not 1 to {len(chain)}"
    status: str | None = None
    for link in chain:
        try:
            status = next_status(_TABLES[kind], status, link.event)
        except ForbiddenTransitionError as error:
            yield f"version {link.version}: {error}"
            return
        if status != link.status:
            yield f"version {link.version}: {link.event} leads to {status}, stored is {link.status}"
    try:
        folded = _fold(kind, identity, chain)
    except (KeyError, TypeError, ValueError, AttributeError, ForbiddenTransitionError) as error:
        yield f"the chain cannot be folded: {type(error).__name__} {error}"
        return
    if not rows[kind]:
        yield f"the chain ends in {status}, and no {kind} is stored"
    else:
        yield from _differences(kind, folded, rows[kind][0])
    if isinstance(folded, Invoice):
        yield from _parts("payment", folded.payments, rows["payment"])
        yield from _parts("refund", folded.refunds, rows["refund"])


def _fold(kind: str, identity: UUID, chain: list[Link]) -> Invoice | Payout:
    steps = [(link.event, link.changes) for link in chain]
    return fold_invoice(identity, steps) if kind == "invoice" else fold_payout(identity, steps)


def _parts(kind: str, folded: dict[UUID, Any], rows: list[dict[str, Any]]) -> Iterator[str]:
    by_id = {row["id"]: row for row in rows}
    for identity in folded.keys() - by_id.keys():
        yield f"{kind} {identity} follows from the chain and is not stored"
    for identity in by_id.keys() - folded.keys():
        yield f"{kind} {identity} is stored and does not follow from the chain"
    for identity in folded.keys() & by_id.keys():
        yield from _differences(f"{kind} {identity}", folded[identity], by_id[identity])


def _differences(name: str, folded: Any, row: dict[str, Any]) -> Iterator[str]:
    for field, stored in row.items():
        if field in ("id", "invoice_id"):
            continue
        expected = getattr(folded, field)
        if expected != stored:
            yield f"{name}: {field} folds to {_short(expected)}, stored is {_short(stored)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}…"


def _show(connection: Connection, ids: list[UUID], as_json: bool) -> None:
    shown = []
    links = store.chains(connection, None, ids)
    for (identity, kind), group in itertools.groupby(links, key=lambda link: (link[0], link[1])):
        chain = [Link(*link[2:]) for link in group]
        try:
            state = asdict(_fold(kind, identity, chain))
        except (KeyError, TypeError, ValueError, AttributeError, ForbiddenTransitionError) as error:
            raise OperatorError(f"the chain of {identity} cannot be folded: {error}; see --check") from error
        for part in ("payments", "refunds"):
            if part in state:
                state[part] = list(state[part].values())
        shown.append({"kind": kind, "id": identity, "chain": [asdict(link) for link in chain], "state": state})
    if not shown:
        raise OperatorError(f"no chain of {', '.join(map(str, ids))}")

    def tell(console: Console) -> None:
        for item in shown:
            cells = [(link["version"], link["event"], link["status"], link["changes"]) for link in item["chain"]]
            console.print(table(f"{item['kind']} {item['id']}", ("version", "event", "status", "changes"), cells))
            console.print(table("folds to", ("field", "value"), [(k, v) for k, v in item["state"].items()]))

    emit({"replayed": shown}, as_json, tell)
