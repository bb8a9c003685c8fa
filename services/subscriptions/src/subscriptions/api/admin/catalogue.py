"""Admin API: products, plans and prices."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from copeck.web.etag import IfMatch, etag_for
from copeck.web.pagination import Cursor, Page
from copeck.web.problems import not_found, problem_responses
from subscriptions.api import show
from subscriptions.api.admin.models import (
    AdminPlanModel,
    AdminPriceModel,
    PlanChange,
    PlanCreate,
    PriceCreate,
    ProductChange,
    ProductCreate,
    ProductModel,
    TitleModel,
)
from subscriptions.api.dependencies import ADMIN_PREFIX, Ctx, Manager, actor_of, after, moment, word
from subscriptions.api.models import TextsModel
from subscriptions.domain.catalogue import Plan, Price, Product, Texts
from subscriptions.domain.periods import Period
from subscriptions.handlers import catalogue as handlers
from subscriptions.handlers.context import in_transaction
from subscriptions.store import catalogue

router = APIRouter(tags=["catalogue"])

Search = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$", description="A part of a code or title.")]


def _texts(model: TextsModel | TitleModel) -> Texts:
    return Texts(model.ru, model.en)


def _product(product: Product) -> ProductModel:
    return ProductModel(
        code=product.code,
        title=show.texts(product.title),
        late_policy=product.late_policy,
        version=product.version,
        created_at=product.created_at,
    )


def _plan(plan: Plan) -> AdminPlanModel:
    return AdminPlanModel(
        **show.plan(plan).model_dump(exclude={"price", "title", "description"}),
        title=show.texts(plan.title),
        description=show.texts(plan.description),
        price=show.price(plan.price) if plan.price else None,
        on_sale=plan.on_sale,
        version=plan.version,
        created_at=plan.created_at,
    )


def _price(price: Price) -> AdminPriceModel:
    shown = show.price(price)
    return AdminPriceModel(
        id=shown.id,
        plan_id=shown.plan_id,
        amount=shown.amount,
        period=shown.period,
        trial_days=shown.trial_days,
        active_from=shown.active_from,
        created_at=price.created_at,
        created_by=price.created_by,
    )


@router.get("/products", summary="List products")
async def list_products(_: Manager, context: Ctx) -> Page[ProductModel]:
    """Show every product; there are few."""
    async with context.database.reading() as tx:
        return Page(items=[_product(one) for one in await catalogue.list_products(tx)])


@router.post("/products", status_code=201, summary="Create a product", responses=problem_responses(409))
async def create_product(body: ProductCreate, manager: Manager, context: Ctx, response: Response) -> ProductModel:
    """Add a product, with what becomes of money that comes too late for its invoices."""
    product: Product = await in_transaction(
        context,
        actor_of(manager),
        lambda work: handlers.create_product(work, body.code, _texts(body.title), body.late_policy),
    )
    response.headers["ETag"] = etag_for(product.version)
    response.headers["Location"] = f"{ADMIN_PREFIX}/products/{product.code}"
    return _product(product)


@router.get("/products/{code}", summary="Show a product")
async def get_product(code: str, _: Manager, context: Ctx, response: Response) -> ProductModel:
    """Show a product with the `ETag` to change it with."""
    async with context.database.reading() as tx:
        product = await catalogue.find_product(tx, code) if "\x00" not in code else None
    if product is None:
        raise not_found("There is no such product.")
    response.headers["ETag"] = etag_for(product.version)
    return _product(product)


@router.patch("/products/{code}", summary="Change a product")
async def change_product(
    code: str, body: ProductChange, if_match: IfMatch, manager: Manager, context: Ctx, response: Response
) -> ProductModel:
    """Change its title or its late-payment policy; invoices that are issued already keep the old policy."""
    if "\x00" in code:
        raise not_found("There is no such product.")
    product: Product = await in_transaction(
        context,
        actor_of(manager),
        lambda work: handlers.change_product(
            work, code, if_match, title=_texts(body.title) if body.title else None, late_policy=body.late_policy
        ),
    )
    response.headers["ETag"] = etag_for(product.version)
    return _product(product)


@router.get("/plans", summary="List plans")
async def list_plans(
    _: Manager, context: Ctx, cursor: Cursor, search: Search = None, on_sale: bool | None = None
) -> Page[AdminPlanModel]:
    """Show plans by their code, each with its price of now."""
    async with context.database.reading() as tx:
        found = await catalogue.list_plans(
            tx,
            context.clock.now(),
            on_sale=on_sale,
            search=search,
            after=after(cursor, word),
            limit=cursor.limit + 1,
        )
    return cursor.page(found, lambda plan: (plan.code,), _plan)


@router.post("/plans", status_code=201, summary="Create a plan", responses=problem_responses(404, 409))
async def create_plan(body: PlanCreate, manager: Manager, context: Ctx, response: Response) -> AdminPlanModel:
    """Add a plan; it can be bought once it has a price."""
    plan: Plan = await in_transaction(
        context,
        actor_of(manager),
        lambda work: handlers.create_plan(
            work, body.code, body.product, _texts(body.title), _texts(body.description), on_sale=body.on_sale
        ),
    )
    response.headers["ETag"] = etag_for(plan.version)
    response.headers["Location"] = f"{ADMIN_PREFIX}/plans/{plan.id}"
    return _plan(plan)


@router.get("/plans/{plan_id}", summary="Show a plan")
async def get_plan(plan_id: UUID, _: Manager, context: Ctx, response: Response) -> AdminPlanModel:
    """Show a plan with the `ETag` to change it, or to set its price, with."""
    async with context.database.reading() as tx:
        plan = await catalogue.find_plan(tx, plan_id, context.clock.now())
    if plan is None:
        raise not_found("There is no such plan.")
    response.headers["ETag"] = etag_for(plan.version)
    return _plan(plan)


@router.patch("/plans/{plan_id}", summary="Change a plan")
async def change_plan(
    plan_id: UUID, body: PlanChange, if_match: IfMatch, manager: Manager, context: Ctx, response: Response
) -> AdminPlanModel:
    """Change its texts, or take it off sale; who has it keeps it."""
    plan: Plan = await in_transaction(
        context,
        actor_of(manager),
        lambda work: handlers.change_plan(
            work,
            plan_id,
            if_match,
            title=_texts(body.title) if body.title else None,
            description=_texts(body.description) if body.description else None,
            on_sale=body.on_sale,
        ),
    )
    response.headers["ETag"] = etag_for(plan.version)
    return _plan(plan)


@router.get("/prices", summary="List prices")
async def list_prices(
    _: Manager,
    context: Ctx,
    cursor: Cursor,
    plan_id: Annotated[UUID | None, Query(description="Only those of this plan.")] = None,
) -> Page[AdminPriceModel]:
    """Show prices, the newest first: announced ones, those of now, and superseded ones."""
    async with context.database.reading() as tx:
        found = await catalogue.list_prices(tx, plan_id, after(cursor, moment, UUID), cursor.limit + 1)
    return cursor.page(found, lambda one: (_iso(one.active_from), str(one.id)), _price)


def _iso(value: datetime) -> str:
    return value.isoformat()


@router.get("/prices/{price_id}", summary="Show a price")
async def get_price(price_id: UUID, _: Manager, context: Ctx) -> AdminPriceModel:
    """Show a price, also a superseded one: running subscriptions keep theirs."""
    async with context.database.reading() as tx:
        price = await catalogue.find_price(tx, price_id)
    if price is None:
        raise not_found("There is no such price.")
    return _price(price)


@router.post("/prices", status_code=201, summary="Set a plan's price", responses=problem_responses(404))
async def create_price(
    body: PriceCreate, if_match: IfMatch, manager: Manager, context: Ctx, response: Response
) -> AdminPriceModel:
    """Supersede the plan's price from a moment on. `If-Match` is the plan's `ETag`; the answer has its next one."""
    price, plan = await in_transaction(
        context,
        actor_of(manager),
        lambda work: handlers.create_price(
            work,
            body.plan_id,
            if_match,
            amount=body.amount.money(),
            period=Period(body.period.unit, body.period.count),
            trial_days=body.trial_days,
            active_from=body.active_from,
        ),
    )
    response.headers["ETag"] = etag_for(plan.version)
    response.headers["Location"] = f"{ADMIN_PREFIX}/prices/{price.id}"
    return _price(price)
