"""Merchants: who owns machines, on what terms, and what we owe them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from copeck.web.etag import IfMatch, etag_for
from copeck.web.money import SumModel
from copeck.web.pagination import Cursor, Page
from copeck.web.problems import problem_responses
from device_bridge.api import finding, show
from device_bridge.api.dependencies import PREFIX, READS, WRITES, Ctx, Manager, Reader, after
from device_bridge.api.models import (
    BalanceModel,
    MerchantChange,
    MerchantCreate,
    MerchantModel,
    ModeName,
    Search,
    TransitModel,
)
from device_bridge.domain.model import Merchant
from device_bridge.handlers import catalogue
from device_bridge.handlers.context import in_transaction
from device_bridge.store import balances, merchants

router = APIRouter(tags=["merchants"])

# What null means "none" for; for everything else it means the same as leaving it out.
_CLEARED = frozenset({"active_until", "payout_details"})


@router.post(
    "/merchants", status_code=201, summary="Create a merchant", responses=problem_responses(409), dependencies=WRITES
)
async def create_merchant(body: MerchantCreate, manager: Manager, context: Ctx, response: Response) -> MerchantModel:
    """Add a merchant. With an owner, its id is the owner's user id, and the owner pays the balance out by it."""
    details = body.payout_details.model_dump(exclude_none=True) if body.payout_details else {}
    made: Merchant = await in_transaction(
        context,
        manager.actor,
        lambda work: catalogue.create_merchant(
            work,
            name=body.name,
            owner=body.owner_id,
            mode=body.mode,
            currency=body.currency,
            commission_bps=body.commission_bps,
            active_until=body.active_until,
            order_ttl_s=body.order_ttl_s,
            brew_timeout_s=body.brew_timeout_s,
            failures_max=body.failures_max,
            payout_details=details,
        ),
    )
    response.headers["ETag"] = etag_for(made.version)
    response.headers["Location"] = f"{PREFIX}/merchants/{made.id}"
    return show.merchant(made)


@router.get("/merchants", summary="List merchants", dependencies=READS)
async def list_merchants(
    caller: Reader,
    context: Ctx,
    cursor: Cursor,
    search: Annotated[Search, Query(description="A part of the name.")] = None,
    mode: ModeName | None = None,
) -> Page[MerchantModel]:
    """Show merchants, the newest first; a merchant sees itself."""
    async with context.database.reading() as tx:
        found = await merchants.list_(
            tx,
            merchant_id=caller.merchant_id,
            text=search,
            mode=mode,
            after=after(cursor, UUID),
            limit=cursor.limit + 1,
        )
    return cursor.page(found, lambda one: (str(one.id),), show.merchant)


@router.get("/merchants/{merchant_id}", summary="Show a merchant", dependencies=READS)
async def get_merchant(merchant_id: UUID, caller: Reader, context: Ctx, response: Response) -> MerchantModel:
    """Show a merchant with the `ETag` to change it with."""
    async with context.database.reading() as tx:
        found = await finding.merchant(tx, caller, merchant_id)
    response.headers["ETag"] = etag_for(found.version)
    return show.merchant(found)


@router.patch("/merchants/{merchant_id}", summary="Change a merchant", dependencies=WRITES)
async def change_merchant(
    merchant_id: UUID, body: MerchantChange, if_match: IfMatch, manager: Manager, context: Ctx, response: Response
) -> MerchantModel:
    """Change a merchant's terms. Orders that are made already keep theirs."""
    given: dict[str, Any] = body.model_dump(exclude_unset=True)
    changes = {name: value for name, value in given.items() if value is not None or name in _CLEARED}
    if "payout_details" in changes:
        changes["payout_details"] = {k: v for k, v in (changes["payout_details"] or {}).items() if v is not None}
    changed: Merchant = await in_transaction(
        context, manager.actor, lambda work: catalogue.change_merchant(work, merchant_id, if_match, changes)
    )
    response.headers["ETag"] = etag_for(changed.version)
    return show.merchant(changed)


@router.get("/merchants/{merchant_id}/balance", summary="Show a merchant's balance", dependencies=READS)
async def get_balance(merchant_id: UUID, caller: Reader, context: Ctx) -> BalanceModel:
    """Show what we owe a merchant by the books, and what of it is being paid out."""
    async with context.database.reading() as tx:
        found = await finding.merchant(tx, caller, merchant_id)
        held = await balances.of_merchant(tx, f"merchant:{found.id}", found.currency)
    return BalanceModel(
        merchant_id=found.id,
        mode=found.mode,
        account=held.account,
        balance=SumModel.of_minor(held.balance_minor, found.currency),
        updated_at=held.updated_at,
        in_transit=TransitModel(payouts=held.payouts, amount=SumModel.of_minor(held.in_transit_minor, found.currency)),
        payout_source=held.account if found.mode == "platform_shop" or held.balance_minor else None,
    )
