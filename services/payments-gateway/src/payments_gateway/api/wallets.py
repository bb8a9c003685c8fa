"""My wallets: opening one, what is in them, and their history as pages and as a file."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field

from copeck.kernel.errors import InvalidValueError
from copeck.kernel.money import major
from copeck.web.auth import CurrentPrincipal
from copeck.web.limits import rate_limit
from copeck.web.money import SumModel
from copeck.web.pagination import Cursor, CursorParams, Page, invalid_cursor
from copeck.web.problems import problem_responses
from copeck.web.wait import PreferWait, wait_until
from payments_gateway.api.pay import ContextDep, Language, LanguageQuery
from payments_gateway.api.payment_models import (
    MovementModel,
    OpenWallet,
    WalletList,
    WalletModel,
    WalletOpened,
    movement_model,
)
from payments_gateway.domain.wallets import kinds_named, plain_cell, title_of, wallet_of
from payments_gateway.handlers import wallets as handlers
from payments_gateway.handlers.commissions import check_currency
from payments_gateway.handlers.context import Context
from payments_gateway.store import wallets
from payments_gateway.store.wallets import Filter, Movement

router = APIRouter(tags=["wallets"])

URL = "/payments/api/v1/wallets"
CurrencyPath = Annotated[str, Path(pattern="^[A-Z]{3}$", examples=["RUB"])]
_COLUMNS = (
    "at", "kind", "title", "direction", "amount", "currency", "balance_after", "description", "payment_id",
    "invoice_id", "payout_id",
)  # fmt: skip


@router.post(
    "/wallets",
    status_code=202,
    summary="Open a wallet",
    dependencies=[Depends(rate_limit("wallets-open", "60/minute"))],
    responses={
        200: {"model": WalletOpened, "description": "It is open."},
        202: {"model": WalletOpened, "description": "It is being opened. `Location` tells where to look."},
    },
)
async def open_wallet(
    body: OpenWallet, principal: CurrentPrincipal, context: ContextDep, wait_s: PreferWait
) -> Response:
    """Open the caller's wallet in a currency. Doing it twice is harmless, so no Idempotency-Key is needed."""
    account = wallet_of(principal.user_id)
    is_open = await handlers.open_wallet(context, principal.user_id, body.currency)

    async def opened() -> bool | None:
        async with context.database.reading() as tx:
            return await wallets.is_open(tx, account, body.currency) or None

    if not is_open and wait_s:
        is_open = bool(await wait_until(opened, wait_s))
        await context.wallet_cache.drop([account])
    answer = WalletOpened(currency=body.currency, open=is_open, url=URL)
    return JSONResponse(answer.model_dump(mode="json"), 200 if is_open else 202, headers={"Location": URL})


@router.get("/wallets", summary="My wallets", dependencies=[Depends(rate_limit("wallets-read", "1200/minute"))])
async def list_wallets(principal: CurrentPrincipal, context: ContextDep) -> WalletList:
    """Show what is in the caller's wallets, in each currency; at most two seconds old, and never decisive."""
    found = await handlers.balances(context, principal.user_id)
    return WalletList(
        items=[
            WalletModel(
                currency=one.currency,
                available=SumModel.of_minor(one.available_minor, one.currency),
                held=SumModel.of_minor(one.held_minor, one.currency),
                pending=SumModel.of_minor(one.pending_minor, one.currency),
            )
            for one in found
        ]
    )


async def _filter(
    principal: CurrentPrincipal,
    currency: CurrencyPath,
    search: Annotated[
        str,
        Query(max_length=100, description="A part of the description, of the kind in words, or the start of an id."),
    ] = "",
    kind: Annotated[
        list[Annotated[str, Field(pattern="^[a-z_]{1,40}$")]] | None,
        Query(max_length=20, description="Only transfers of these kinds."),
    ] = None,
    since: Annotated[date | None, Query(alias="from", description="From this day on, UTC.")] = None,
    until: Annotated[date | None, Query(alias="to", description="Up to this day and with it, UTC.")] = None,
    ordering: Annotated[Literal["at", "-at"], Query(description="`-at`: the newest first.")] = "-at",
) -> Filter:
    """Read which part of the caller's history is asked for."""
    wanted = search.strip()
    return Filter(
        account=wallet_of(principal.user_id),
        currency=check_currency(currency),
        kinds=tuple(kind or ()),
        search=wanted,
        searched_kinds=tuple(kinds_named(wanted)) if wanted else (),
        since=None if since is None else _start(since, "from"),
        until=None if until is None else _start(until, "to", days=1),
        oldest_first=ordering == "at",
    )


def _start(day: date, name: str, days: int = 0) -> datetime:
    try:
        return datetime.combine(day, time(), UTC) + timedelta(days=days)
    except OverflowError as error:
        raise InvalidValueError("the day is out of range", name) from error


Wanted = Annotated[Filter, Depends(_filter)]


@router.get(
    "/wallets/{currency}/transactions",
    summary="The history of a wallet",
    dependencies=[Depends(rate_limit("wallets-history", "600/minute"))],
)
async def transactions(
    wanted: Wanted, context: ContextDep, cursor: Cursor, language: LanguageQuery = "ru"
) -> Page[MovementModel]:
    """Show every transfer that touched the caller's wallet, with the balance after it, and what it belongs to."""
    async with context.database.reading() as tx:
        found = await wallets.history(tx, wanted, _after(cursor), limit=cursor.limit + 1)
    return cursor.page(found, _key, lambda one: movement_model(one, language))


def _key(moved: Movement) -> tuple[Any, ...]:
    return moved.at.isoformat(), str(moved.aggregate_id), str(moved.cause_id), moved.n


def _after(cursor: CursorParams) -> tuple[Any, ...] | None:
    if cursor.after is None:
        return None
    try:
        at, aggregate, cause, n = cursor.after
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None or type(n) is not int or not 0 <= n < 1 << 15:
            raise ValueError("not a key of this list")
        return moment, UUID(aggregate), UUID(cause), n
    except (ValueError, TypeError, AttributeError) as error:
        raise invalid_cursor() from error


@router.get(
    "/wallets/{currency}/transactions.csv",
    summary="The history of a wallet as a file",
    dependencies=[Depends(rate_limit("wallets-export", "20/minute"))],
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "One line a transfer. No cell begins as a formula would.",
            "content": {"text/csv": {"schema": {"type": "string"}}},
        },
        **problem_responses(422),
    },
)
async def transactions_csv(wanted: Wanted, context: ContextDep, language: LanguageQuery = "ru") -> StreamingResponse:
    """Download the same lines as CSV in UTF-8, at most 100,000 of them."""
    await handlers.check_export(context, wanted)
    name = f"wallet-{wanted.currency}-{context.clock.now():%Y-%m-%d}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_lines(context, wanted, language), media_type="text/csv", headers=headers)


async def _lines(context: Context, wanted: Filter, language: Language) -> AsyncIterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(_COLUMNS)
    async for part in handlers.export(context, wanted):
        writer.writerows(_row(moved, language) for moved in part)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _row(moved: Movement, language: Language) -> list[str]:
    texts = (
        moved.at.isoformat().replace("+00:00", "Z"),
        moved.kind,
        title_of(moved.kind, moved.direction, language),
        moved.direction,
        major(moved.amount_minor, moved.currency),
        moved.currency,
        major(moved.balance_after_minor, moved.currency),
        moved.description,
        *(str(one) if one else "" for one in (moved.payment_id, moved.invoice_id, moved.payout_id)),
    )
    return [plain_cell(text) for text in texts]
