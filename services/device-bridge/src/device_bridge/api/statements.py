"""Statements: a merchant's sales by day and machine, and their sum."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from copeck.kernel.errors import InvalidValueError
from copeck.kernel.money import major
from copeck.web.money import SumModel
from copeck.web.problems import problem_responses
from device_bridge.api import finding
from device_bridge.api.dependencies import FILES, READS, Caller, Ctx, Reader
from device_bridge.api.files import csv_answer, csv_responses, csv_text, too_many
from device_bridge.api.models import DeviceId
from device_bridge.api.order_models import (
    CountsModel,
    StatementModel,
    StatementRowModel,
    StatementTotalModel,
)
from device_bridge.domain.model import Merchant
from device_bridge.domain.statements import Figures, StatementLine, total
from device_bridge.handlers.context import Context
from device_bridge.store import statements

router = APIRouter(tags=["statements"])

DAYS_MAX = 92
LINES_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose statement of which days; both ends are included."""

    merchant_id: UUID
    device_id: str | None
    since: date
    until: date


async def _wanted(
    caller: Reader,
    date_from: Annotated[date, Query(description="By the clock of each machine's place.", examples=["2026-11-01"])],
    date_to: Annotated[date, Query(description="The last day, included; 92 at most.", examples=["2026-11-30"])],
    merchant_id: Annotated[UUID | None, Query(description="Needed unless you are the merchant.")] = None,
    device_id: Annotated[DeviceId | None, Query(description="Of this machine alone.")] = None,
) -> Wanted:
    merchant = caller.narrowed(merchant_id)
    if merchant is None:
        raise InvalidValueError("say whose statement", "merchant_id")
    if date_to < date_from:
        raise InvalidValueError("the last day is before the first", "date_to")
    if date_to - date_from >= timedelta(days=DAYS_MAX):
        raise InvalidValueError(f"a statement has at most {DAYS_MAX} days", "date_to")
    if not date(2000, 1, 1) <= date_from <= date(2200, 1, 1):
        raise InvalidValueError("a day of this century is meant", "date_from")
    return Wanted(merchant, device_id, date_from, date_to)


WantedDep = Annotated[Wanted, Depends(_wanted)]


async def _read(context: Context, caller: Caller, wanted: Wanted) -> tuple[Merchant, list[StatementLine]]:
    async with context.database.reading() as tx:
        merchant = await finding.merchant(tx, caller, wanted.merchant_id)
        if wanted.device_id is not None:
            await finding.device(tx, caller, wanted.device_id)
        lines = await statements.lines(
            tx, merchant.id, wanted.device_id, wanted.since, wanted.until, limit=LINES_MAX + 1
        )
    if len(lines) > LINES_MAX:
        raise too_many("date_from")
    return merchant, lines


def _sums(figures: Figures, currency: str) -> dict[str, Any]:
    return {
        "gross": SumModel.of_minor(figures.gross_minor, currency),
        "commission": SumModel.of_minor(figures.commission_minor, currency),
        "refunds": SumModel.of_minor(figures.refunds_minor, currency),
        "net": SumModel.of_minor(figures.net_minor, currency),
        "counts": CountsModel(
            paid=figures.paid, successful=figures.successful, failed=figures.failed, refunded=figures.refunded
        ),
    }


def _line(line: StatementLine, currency: str) -> StatementRowModel:
    return StatementRowModel(
        day=line.day,
        device_id=line.device_id,
        device_name=line.device_name,
        time_zone=line.time_zone,
        **_sums(line.figures, currency),
    )


@router.get("/statements", summary="Show a statement", responses=problem_responses(404), dependencies=READS)
async def get_statement(caller: Reader, context: Ctx, wanted: WantedDep) -> StatementModel:
    """Show what each machine sold on each day, by the clock of the place where it stands, and the sum.

    A refund counts on its own day. In the mode `platform_shop` the nets of all days, less payouts, are the balance.
    """
    merchant, lines = await _read(context, caller, wanted)
    return StatementModel(
        merchant_id=merchant.id,
        mode=merchant.mode,
        date_from=wanted.since,
        date_to=wanted.until,
        rows=[_line(line, merchant.currency) for line in lines],
        total=StatementTotalModel(**_sums(total(lines), merchant.currency)),
    )


_COLUMNS = (
    "day", "device_id", "device_name", "time_zone", "currency", "paid", "successful", "failed", "refunded", "gross",
    "commission", "refunds", "net",
)  # fmt: skip


@router.get(
    "/statements.csv",
    summary="Export a statement",
    response_class=Response,
    responses=csv_responses("A row for each day and machine.", 404, 422),
    dependencies=FILES,
)
async def export_statement(caller: Reader, context: Ctx, wanted: WantedDep) -> Response:
    """Return the rows of a statement as a file."""
    merchant, lines = await _read(context, caller, wanted)
    name = f"statement-{wanted.since}-{wanted.until}.csv"
    return csv_answer(name, csv_text(_COLUMNS, (_row(line, merchant.currency) for line in lines)))


def _row(line: StatementLine, currency: str) -> Sequence[Any]:
    found = line.figures
    sums = (found.gross_minor, found.commission_minor, found.refunds_minor, found.net_minor)
    counts = (found.paid, found.successful, found.failed, found.refunded)
    place = (line.day.isoformat(), line.device_id, line.device_name, line.time_zone, currency)
    return (*place, *counts, *(major(minor, currency) for minor in sums))
