"""Files of the catalogue: import with a dry run that names every bad line, and export."""

import asyncio
import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from copeck.kernel.money import major
from copeck.web.problems import FieldProblem, Problem, problem_responses
from device_bridge.api import finding
from device_bridge.api.dependencies import FILES, Caller, Ctx, Keeper, Reader
from device_bridge.api.models import DeviceId
from device_bridge.api.order_models import BadLineModel, ImportModel
from device_bridge.domain.catalogue_files import CatalogueFile, read, safe_cell
from device_bridge.domain.catalogue_lines import TEXT_COLUMNS, DeviceLine, DrinkLine, devices_shape, drinks_shape
from device_bridge.domain.model import Device, Drink
from device_bridge.drivers.registry import MODELS
from device_bridge.handlers import imports
from device_bridge.handlers.context import Work, in_transaction
from device_bridge.handlers.imports import Taken
from device_bridge.store import devices, drinks

router = APIRouter(tags=["files"])

DEVICES_IMPORT, DRINKS_IMPORT = "/devices/import", "/drinks/import"
BODY_BYTES_MAX = 4 * 1024 * 1024
ROWS_MAX = 20_000
PAGE_ROWS = 1_000
_CSV = "text/csv"
_NUMBER = re.compile(r"-[0-9]+(\.[0-9]+)?")
DRINK_COLUMNS = (
    "drink_id", "size", "name", "price", "available", "vat_code", "payment_subject", "payment_method", "measure",
)  # fmt: skip
DEVICE_COLUMNS = (
    "id", "merchant_id", "name", "location", "time_zone", "model", "payment_scenario", "price_rule", "driver",
    *TEXT_COLUMNS,
)  # fmt: skip
DryRun = Annotated[bool, Query(description="True: say what is wrong with which line, and write nothing.")]


def _body(columns: Sequence[str]) -> dict[str, Any]:
    words = f"UTF-8, separated by commas or semicolons. Columns, in any order: {', '.join(columns)}."
    schema = {"type": "string", "minLength": 1}
    return {"requestBody": {"required": True, "description": words, "content": {_CSV: {"schema": schema}}}}


def csv_answer(name: str, text: str) -> Response:
    """Answer with a file."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(text, media_type=f"{_CSV}; charset=utf-8", headers=headers)


def csv_responses(words: str, *statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what `responses=` of a route takes that answers with a file."""
    content = {_CSV: {"schema": {"type": "string"}}}
    return {200: {"description": words, "content": content}, **problem_responses(*statuses)}


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write a file whose cells cannot be taken for formulas; None is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_safe(_cell(value)) for value in row])
    return out.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _safe(text: str) -> str:
    # A number below zero is no formula, and a spreadsheet should sum it.
    return text if _NUMBER.fullmatch(text) else safe_cell(text)


def too_many(name: str) -> Problem:
    """More rows match than one file holds."""
    detail = f"More than {ROWS_MAX} rows match: narrow it by {name}"
    return Problem(422, "too-many-rows", "The file would be too long", detail, name)


async def _data(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _CSV:
        raise Problem(415, "unsupported-media-type", "The body's type is not supported", f"Send {_CSV}", "body")
    return await request.body()


def _taken(file: CatalogueFile[Any], taken: Taken, *, dry_run: bool) -> ImportModel:
    """Say what became of a file; a file with a bad line that is meant is refused, with what is wrong with each."""
    if file.bad and not dry_run:
        first = file.bad[0]
        raise Problem(
            422,
            "bad-lines",
            "Lines of the file are bad",
            f"{len(file.bad)} of {file.lines} lines are bad, so nothing was taken; a dry run names every one",
            f"line {first.line}",
            errors=[
                FieldProblem(field=f"line {bad.line}: {name}", detail=reason)
                for bad in file.bad[:100]
                for name, reason in bad.problems
            ],
        )
    return ImportModel(
        dry_run=dry_run,
        lines=file.lines,
        good=len(file.good),
        bad=len(file.bad),
        created=taken.created,
        changed=taken.changed,
        bad_lines=[
            BadLineModel(line=bad.line, field=name, reason=reason) for bad in file.bad for name, reason in bad.problems
        ],
    )


@router.post(
    DEVICES_IMPORT,
    summary="Import machines",
    openapi_extra=_body(DEVICE_COLUMNS),
    responses=problem_responses(404, 413, 415, 422),
    dependencies=FILES,
)
async def import_devices(request: Request, caller: Keeper, context: Ctx, dry_run: DryRun = False) -> ImportModel:
    """Add and change machines by a file; those that it does not name stay as they are. All of it is taken, or nothing.

    A manager's file says `merchant_id` of new machines; a merchant's are their own. Keys come by `link-key`.
    """
    file: CatalogueFile[DeviceLine] = await asyncio.to_thread(read, await _data(request), devices_shape(MODELS))
    own = None if caller.is_manager else caller.user_id

    async def work(work: Work) -> Taken:
        if own is not None:
            await finding.merchant(work.tx, caller, own)
        return await imports.devices_of(work, own, file, dry_run=dry_run)

    taken: Taken = await in_transaction(context, caller.actor, work)
    return _taken(file, taken, dry_run=dry_run)


@router.get(
    "/devices.csv",
    summary="Export machines",
    response_class=Response,
    responses=csv_responses("Every machine, as the import takes it.", 422),
    dependencies=FILES,
)
async def export_devices(caller: Reader, context: Ctx, merchant_id: UUID | None = None) -> Response:
    """Return machines as a file that can be imported again."""
    rows: list[Sequence[Any]] = []
    after: tuple[Any, ...] | None = None
    while True:
        async with context.database.reading() as tx:
            found = await devices.list_(tx, merchant_id=caller.narrowed(merchant_id), after=after, limit=PAGE_ROWS)
        rows += [_device_row(one) for one, _ in found]
        if len(found) < PAGE_ROWS:
            break
        if len(rows) >= ROWS_MAX:
            raise too_many("merchant_id")
        after = (found[-1][0].id,)
    return csv_answer("devices.csv", csv_text(DEVICE_COLUMNS, rows))


def _device_row(one: Device) -> Sequence[Any]:
    plain = [getattr(one, name) for name in DEVICE_COLUMNS[:8]]
    driver = json.dumps(one.driver, ensure_ascii=False) if one.driver else ""
    texts = [one.texts.get(state, {}).get(language, "") for state, language in TEXT_COLUMNS.values()]
    return (*plain, driver, *texts)


DeviceQuery = Annotated[DeviceId, Query(description="Whose drinks.")]


async def _currency(caller: Caller, context: Ctx, device_id: str) -> str:
    async with context.database.reading() as tx:
        return (await finding.device(tx, caller, device_id)).merchant.currency


@router.post(
    DRINKS_IMPORT,
    summary="Import a machine's drinks",
    openapi_extra=_body(DRINK_COLUMNS),
    responses=problem_responses(404, 413, 415, 422),
    dependencies=FILES,
)
async def import_drinks(
    request: Request, caller: Keeper, context: Ctx, device_id: DeviceQuery, dry_run: DryRun = False
) -> ImportModel:
    """Add and change a machine's drinks by a file; those that it does not name stay. All of it is taken, or nothing."""
    currency = await _currency(caller, context, device_id)
    file: CatalogueFile[DrinkLine] = await asyncio.to_thread(read, await _data(request), drinks_shape(currency))

    async def work(work: Work) -> Taken:
        await finding.own_device(work.tx, caller, device_id)
        return await imports.drinks_of(work, device_id, file, dry_run=dry_run)

    taken: Taken = await in_transaction(context, caller.actor, work)
    return _taken(file, taken, dry_run=dry_run)


@router.get(
    "/drinks.csv",
    summary="Export a machine's drinks",
    response_class=Response,
    responses=csv_responses("Every drink, as the import takes it.", 404),
    dependencies=FILES,
)
async def export_drinks(caller: Reader, context: Ctx, device_id: DeviceQuery) -> Response:
    """Return a machine's drinks as a file that can be imported again, here or at another machine."""
    currency = await _currency(caller, context, device_id)
    async with context.database.reading() as tx:
        found = await drinks.of_device(tx, device_id)
    return csv_answer(f"drinks-{device_id}.csv", csv_text(DRINK_COLUMNS, (_drink_row(one, currency) for one in found)))


def _drink_row(one: Drink, currency: str) -> Sequence[Any]:
    price = None if one.price_minor is None else major(one.price_minor, currency)
    return tuple(price if name == "price" else getattr(one, name) for name in DRINK_COLUMNS)
