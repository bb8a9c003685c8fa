"""Batches of payouts: a file with a dry run, its progress, and one file of results."""

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import unquote
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field

from copeck.web.limits import rate_limit
from copeck.web.models import AnswerModel
from copeck.web.money import MoneyModel
from copeck.web.pagination import Cursor, Page
from copeck.web.problems import Problem, problem_responses
from payments_gateway.api.callers import Anybody, BatchReader, Payer, after_id, user_limit
from payments_gateway.api.pay import ContextDep
from payments_gateway.api.payout_models import money
from payments_gateway.domain import batch_files
from payments_gateway.domain.batch_files import BatchFile, safe_cell
from payments_gateway.domain.payouts import FINAL, Caller, source_account, words_of
from payments_gateway.handlers import batches as handlers
from payments_gateway.handlers.batches import Upload
from payments_gateway.handlers.context import Context
from payments_gateway.store import batches
from payments_gateway.store.batches import Batch, Count, LineResult

router = APIRouter(tags=["batches"])

PATH = "/payouts/batches"
BODY_BYTES_MAX = 8 * 1024 * 1024
_SHOWN_MAX = 100
_CSV = "text/csv"
_FILE_NAME = re.compile(r"""filename\*?=(?:UTF-8'')?"?([^";]{1,200})""", re.IGNORECASE)
_BODY = {
    "requestBody": {
        "required": True,
        "description": "UTF-8, separated by commas or semicolons. Columns: amount, currency, recipient_kind, recipient,"
        " and as they apply bank_id, bic (or bank_id/bic), name, description, reference.",
        "content": {_CSV: {"schema": {"type": "string", "minLength": 1}}},
    }
}
_LIMITED = [Depends(user_limit("payout-batch-decisions", "600/minute"))]
StatusName = Literal["awaiting_approval", "accepted", "sent", "canceled"]
_Source = Annotated[
    str, Query(max_length=60, pattern=r"^[a-z]+(:[A-Za-z0-9\-]+)?$", description="As that of a single payout.")
]


class BadLineModel(AnswerModel):
    """What is wrong with a line; a line may have several."""

    line: int = Field(description="As an editor counts; the header is line 1.")
    field: str
    reason: str


class FailedLineModel(AnswerModel):
    """A line whose payout failed."""

    line: int
    payout_id: UUID
    code: str
    words: str
    reason: str


class DryRunModel(AnswerModel):
    """What a file would become. Nothing of it was kept."""

    lines: int
    good: int
    bad: int
    total: MoneyModel | None = Field(description="Of the good lines; null when there is none.")
    needs_approval: bool
    known_batch_id: UUID | None = Field(description="The batch that the same file has become already.")
    bad_lines: list[BadLineModel]


class BatchModel(AnswerModel):
    """A batch."""

    id: UUID
    status: StatusName
    file_name: str
    sha256: str
    source: str
    lines: int
    bad: int = Field(description="How many lines are bad; they became nothing.")
    total: MoneyModel
    uploaded_by: str
    approved_by: str | None
    uploaded_at: datetime
    updated_at: datetime
    url: str
    result_url: str


class BatchProgressModel(BatchModel):
    """A batch and how far it is."""

    sent: int = Field(description="How many payouts have gone to the state updater.")
    counts: dict[str, int] = Field(description="Payouts by status.")
    totals: dict[str, MoneyModel] = Field(description="Their sums by status.")
    percent: int = Field(description="How many of a hundred payouts have ended.")
    failed_lines: list[FailedLineModel] = Field(description="The first hundred; the result file has all.")


def _values(batch: Batch) -> dict[str, Any]:
    url = f"/payments/api/v1{PATH}/{batch.id}"
    return {
        "id": batch.id,
        "status": batch.status,
        "file_name": batch.file_name,
        "sha256": batch.sha256,
        "source": batch.account,
        "lines": batch.lines,
        "bad": batch.bad_lines,
        "total": money(batch.amount_minor, batch.currency),
        "uploaded_by": batch.uploaded_by,
        "approved_by": batch.approved_by,
        "uploaded_at": batch.uploaded_at,
        "updated_at": batch.updated_at,
        "url": url,
        "result_url": f"{url}/result.csv",
    }


def _bad_lines(file: BatchFile) -> list[BadLineModel]:
    return [BadLineModel(line=bad.line, field=name, reason=reason) for bad in file.bad for name, reason in bad.problems]


@router.post(
    PATH,
    status_code=202,
    summary="Upload a file of payouts",
    openapi_extra=_BODY,
    responses={
        200: {"model": DryRunModel | BatchModel, "description": "The dry run; or the batch that the file is already."},
        202: {"model": BatchModel, "description": "Kept; its payouts are being sent, or wait for a second manager."},
        **problem_responses(403, 409, 413, 415, 422, 503),
    },
    dependencies=[Depends(rate_limit("payout-batches", "60/minute"))],
)
async def upload_batch(
    request: Request,
    caller: Payer,
    context: ContextDep,
    source: _Source = "house:payouts",
    dry_run: Annotated[bool, Query(description="True: say what is wrong with which line, and keep nothing.")] = False,
    provider: Annotated[str | None, Query(pattern="^[a-z0-9_]{1,32}$", description="Sandbox only.")] = None,
    file_name: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = None,
) -> Response:
    """Take a file in: good lines become payouts, bad ones are kept with their reasons.

    One file is one batch, told by the SHA-256 of its bytes: sent again, it is answered with the batch that it is. Above
    the limit for approval, the whole batch waits for a second manager, and its payouts do not ask again; since all
    lines are in one currency, no line exceeds a limit that its batch does not.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _CSV:
        raise Problem(415, "unsupported-media-type", "The body's type is not supported", f"Send {_CSV}", "body")
    account = source_account(source, caller)
    if account == caller.wallet_account:
        raise Problem(422, "invalid-value", "A value is not valid", "A wallet has no batches", "source")
    data = await request.body()
    digest = await asyncio.to_thread(handlers.digest_of, data)
    known = await handlers.known(context, caller, account, digest)
    if known is not None and not dry_run:
        return _answer(known, 200)
    file = await asyncio.to_thread(batch_files.read, data)
    if dry_run:
        return JSONResponse(_tried(context, file, known).model_dump(mode="json"))
    name = file_name or _named(request.headers.get("content-disposition", "")) or "payouts.csv"
    batch, is_new = await handlers.take(context, Upload(caller, account, provider, name, digest, file))
    return _answer(batch, 202 if is_new else 200)


def _named(disposition: str) -> str:
    found = _FILE_NAME.search(disposition)
    return re.sub(r"[\x00-\x1f\x7f]", "", unquote(found.group(1))).strip()[:200] if found else ""


def _tried(context: Context, file: BatchFile, known: Batch | None) -> DryRunModel:
    return DryRunModel(
        lines=file.lines,
        good=len(file.good),
        bad=len(file.bad),
        total=money(file.total_minor, file.currency) if file.good else None,
        needs_approval=handlers.needs_second(context, file),
        known_batch_id=known.id if known else None,
        bad_lines=_bad_lines(file),
    )


def _answer(batch: Batch, status: int) -> Response:
    values = _values(batch)
    body = BatchModel(**values).model_dump(mode="json")
    return JSONResponse(body, status, headers={"Location": values["url"]})


@router.get(PATH, summary="List batches", responses=problem_responses(403))
async def list_batches(
    caller: BatchReader,
    context: ContextDep,
    cursor: Cursor,
    status: StatusName | None = None,
) -> Page[BatchModel]:
    """Show batches, the newest first: managers all, merchants their own."""
    async with context.database.reading() as tx:
        found = await batches.search(
            tx,
            account=None if caller.sees_all else caller.merchant_account,
            status=status,
            after=after_id(cursor),
            limit=cursor.limit + 1,
        )
    return cursor.page(found, lambda one: (str(one.id),), lambda one: BatchModel(**_values(one)))


@router.get(PATH + "/{batch_id}", summary="Show a batch's progress", responses=problem_responses(404))
async def get_batch(batch_id: UUID, caller: Anybody, context: ContextDep) -> BatchProgressModel:
    """Show how far a batch is, and what failed of it."""
    return await _progress(context, caller, batch_id)


async def _progress(context: Context, caller: Caller, batch_id: UUID) -> BatchProgressModel:
    async with context.database.reading() as tx:
        batch = await handlers.find(tx, caller, batch_id)
        counted = await batches.counts(tx, batch_id)
        failed = [one for one in counted if one.status == "failed"]
        lines = await batches.results(tx, batch_id, limit=_SHOWN_MAX, failed=True) if failed else []
        sent = await batches.sent(tx, batch)
    payouts = sum(one.payouts for one in counted)
    ended = sum(one.payouts for one in counted if one.status in FINAL)
    return BatchProgressModel(
        **_values(batch),
        sent=sent,
        counts={one.status: one.payouts for one in counted},
        totals={one.status: _sum(one, batch.currency) for one in counted},
        percent=100 * ended // payouts if payouts else 0,
        failed_lines=[
            FailedLineModel(
                line=line.line,
                payout_id=line.payout_id,
                code=line.code,
                words=words_of(line.code),
                reason=line.reason[:500],
            )
            for line in lines
            if line.payout_id is not None
        ],
    )


def _sum(count: Count, currency: str) -> MoneyModel:
    return money(count.amount_minor, currency)


@router.post(
    PATH + "/{batch_id}/approve",
    status_code=202,
    summary="Approve a batch",
    responses=problem_responses(403, 404, 409, 503),
    dependencies=_LIMITED,
)
async def approve_batch(batch_id: UUID, caller: Anybody, context: ContextDep) -> BatchProgressModel:
    """Agree to a batch that somebody else uploaded. Agreeing again changes nothing, so that no key is needed."""
    await handlers.approve(context, caller, batch_id)
    return await _progress(context, caller, batch_id)


@router.post(
    PATH + "/{batch_id}/cancel",
    summary="Cancel a batch",
    responses=problem_responses(403, 404, 409),
    dependencies=_LIMITED,
)
async def cancel_batch(batch_id: UUID, caller: Anybody, context: ContextDep) -> BatchProgressModel:
    """Call off what of a batch was not sent. Its file may then be uploaded again, unless a part of it was sent.

    What was sent goes on: those payouts are canceled one by one.
    """
    await handlers.cancel(context, caller, batch_id)
    return await _progress(context, caller, batch_id)


@router.get(
    PATH + "/{batch_id}/result.csv",
    summary="Get the result file",
    response_class=Response,
    responses={
        200: {"description": "Every line with its payout, status and reason.", "content": {_CSV: {}}},
        **problem_responses(404),
    },
)
async def get_result(batch_id: UUID, caller: Anybody, context: ContextDep) -> Response:
    """Return one file with a row for each line, bad ones too. Cells cannot be taken for formulas."""
    async with context.database.reading() as tx:
        batch = await handlers.find(tx, caller, batch_id)
        lines = await batches.results(tx, batch_id, limit=batch_files.LINES_MAX)
    headers = {"Content-Disposition": f'attachment; filename="payouts-{batch.id}.csv"'}
    return StreamingResponse(_rows(lines), media_type=f"{_CSV}; charset=utf-8", headers=headers)


_COLUMNS = (
    "line", "status", "payout_id", "amount", "currency", "recipient", "description", "reference", "code", "reason",
)  # fmt: skip
_ROWS_A_TIME = 500


async def _rows(lines: list[LineResult]) -> AsyncIterator[str]:
    yield ",".join(_COLUMNS) + "\r\n"
    for first in range(0, len(lines), _ROWS_A_TIME):
        out = io.StringIO()
        writer = csv.writer(out)
        for line in lines[first : first + _ROWS_A_TIME]:
            status = line.status or "bad_line"
            reason = line.reasons or line.reason or (words_of(line.code) if status == "failed" else "")
            code = line.code if status in ("failed", "canceled") else ""
            cells = (str(line.payout_id or ""), *batch_files.rows_of(line.shown), code, reason)
            writer.writerow((line.line, status, *(safe_cell(cell) for cell in cells)))
        yield out.getvalue()
