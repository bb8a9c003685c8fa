"""What managers do with products, plans and prices. Each change is audited in its own transaction."""

from dataclasses import asdict, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from copeck.kernel.errors import DomainError, NotFoundError
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from copeck.web.etag import check_if_match
from subscriptions.domain.catalogue import Plan, Price, Product, Texts, check_price
from subscriptions.domain.model import LatePolicy
from subscriptions.domain.periods import Period
from subscriptions.handlers.context import Work
from subscriptions.store import catalogue


class CodeTakenError(DomainError):
    """A code names one thing only."""

    type = "code-taken"
    title = "The code is taken"


class PriceMomentTakenError(DomainError):
    """A plan has one price at a moment."""

    type = "price-moment-taken"
    title = "There is a price from that moment"


def _plain(value: Any) -> dict[str, Any]:
    """Return a value as JSON can hold it, for the audit."""

    def simple(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: simple(part) for name, part in one.items()}
        return one if one is None or isinstance(one, str | int | bool) else str(one)

    plain: dict[str, Any] = simple(asdict(value))
    return plain


async def create_product(work: Work, code: str, title: Texts, late_policy: LatePolicy) -> Product:
    """Add a product."""
    product = Product(code, title, late_policy, 1, work.now)
    if not await catalogue.insert_product(work.tx, product):
        raise CodeTakenError(f"There is a product {code} already.", "code")
    await work.note("product.create", "product", code, after=_plain(product))
    return product


async def change_product(
    work: Work, code: str, if_match: str, *, title: Texts | None, late_policy: LatePolicy | None
) -> Product:
    """Change a product; another late-payment policy holds for invoices issued from now on."""
    known = await catalogue.find_product(work.tx, code, lock=True)
    if known is None:
        raise NotFoundError(f"There is no product {code}.")
    check_if_match(if_match, known.version)
    changed = replace(
        known, title=title or known.title, late_policy=late_policy or known.late_policy, version=known.version + 1
    )
    await catalogue.update_product(work.tx, changed)
    await work.note("product.change", "product", code, before=_plain(known), after=_plain(changed))
    return changed


async def create_plan(work: Work, code: str, product: str, title: Texts, description: Texts, *, on_sale: bool) -> Plan:
    """Add a plan; it cannot be bought before it has a price."""
    if await catalogue.find_product(work.tx, product) is None:
        raise NotFoundError(f"There is no product {product}.", "product")
    plan = Plan(new_id(), code, product, title, description, on_sale, 1, work.now)
    if not await catalogue.insert_plan(work.tx, plan):
        raise CodeTakenError(f"There is a plan {code} already.", "code")
    await work.note("plan.create", "plan", plan.id, after=_plain(plan))
    return plan


async def change_plan(
    work: Work,
    plan_id: UUID,
    if_match: str,
    *,
    title: Texts | None,
    description: Texts | None,
    on_sale: bool | None,
) -> Plan:
    """Change a plan's texts, or withdraw it from sale; who has it keeps it."""
    known = await _locked_plan(work, plan_id, if_match)
    changed = replace(
        known,
        title=title or known.title,
        description=description or known.description,
        on_sale=known.on_sale if on_sale is None else on_sale,
        version=known.version + 1,
    )
    await catalogue.update_plan(work.tx, changed)
    await work.note("plan.change", "plan", plan_id, before=_plain(known), after=_plain(changed))
    return changed


async def create_price(
    work: Work,
    plan_id: UUID,
    if_match: str,
    *,
    amount: Money,
    period: Period,
    trial_days: int,
    active_from: datetime | None,
) -> tuple[Price, Plan]:
    """Add a price that supersedes the one before it. The plan gets a new version: two managers cannot both set it."""
    known = await _locked_plan(work, plan_id, if_match)
    begins = active_from or work.now
    check_price(begins, amount, trial_days, work.now)
    price = Price(new_id(), plan_id, amount, period, trial_days, begins, work.now, work.actor.name)
    if not await catalogue.insert_price(work.tx, price):
        raise PriceMomentTakenError("The plan has a price from this very moment. Choose another.", "active_from")
    changed = replace(known, version=known.version + 1)
    await catalogue.update_plan(work.tx, changed)
    await work.note("price.create", "plan", plan_id, after=_plain(price))
    return price, changed


async def _locked_plan(work: Work, plan_id: UUID, if_match: str) -> Plan:
    known = await catalogue.find_plan(work.tx, plan_id, work.now, lock=True)
    if known is None:
        raise NotFoundError("There is no such plan.", "plan_id")
    check_if_match(if_match, known.version)
    return known
