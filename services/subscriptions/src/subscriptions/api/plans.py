"""Client API: what is on sale."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter

from copeck.web.pagination import Cursor, Page
from copeck.web.problems import not_found
from subscriptions.api import show
from subscriptions.api.dependencies import Ctx, after, word
from subscriptions.api.models import PlanModel
from subscriptions.domain.catalogue import Plan
from subscriptions.store import catalogue

router = APIRouter(tags=["plans"])


@router.get("/plans", summary="List the plans on sale")
async def list_plans(context: Ctx, cursor: Cursor) -> Page[PlanModel]:
    """Everybody may ask, also without an account. A plan whose price has not begun yet is not shown."""
    async with context.database.reading() as tx:
        found = await catalogue.list_plans(
            tx, context.clock.now(), on_sale=True, priced=True, after=after(cursor, word), limit=cursor.limit + 1
        )
    return cursor.page(found, lambda plan: (plan.code,), show.plan)


@router.get("/plans/{plan_id}", summary="Show one plan")
async def get_plan(plan_id: UUID, context: Ctx) -> PlanModel:
    """Show a plan, also one that is no longer on sale: somebody may have it."""
    found = await _find(context, plan_id, context.clock.now())
    if found is None:
        raise not_found("There is no such plan.")
    return show.plan(found)


async def _find(context: Ctx, plan_id: UUID, now: datetime) -> Plan | None:
    async with context.database.reading() as tx:
        return await catalogue.find_plan(tx, plan_id, now)
