"""What deposits and withdrawals cost: read and set by managers."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from copeck.kernel.errors import InvalidValueError
from copeck.web.auth import Principal, require_roles
from copeck.web.etag import IfMatch, etag_for
from copeck.web.money import MoneyModel
from copeck.web.problems import problem_responses
from payments_gateway.api.pay import ContextDep
from payments_gateway.api.payment_models import RuleChange, RuleHistoryModel, RuleModel, rule_model
from payments_gateway.domain.commissions import CommissionKind, Rule
from payments_gateway.handlers import commissions as handlers

router = APIRouter(tags=["commissions"])

Reader = Annotated[Principal, Depends(require_roles("manager", "operator"))]
Manager = Annotated[Principal, Depends(require_roles("manager"))]
CurrencyPath = Annotated[str, Path(pattern="^[A-Z]{3}$", examples=["RUB"])]


@router.get("/commissions", summary="List commissions")
async def list_commissions(_: Reader, context: ContextDep) -> list[RuleModel]:
    """Show what is in force, for every currency and kind; version 0 is the default rate."""
    return [rule_model(rule) for rule in await handlers.rules(context)]


@router.get("/commissions/{currency}/{kind}", summary="Show a commission")
async def get_commission(
    currency: CurrencyPath, kind: CommissionKind, _: Reader, context: ContextDep, response: Response
) -> RuleHistoryModel:
    """Show what one kind of operation costs in one currency, what it cost before, and the `ETag` to change it with."""
    rule, versions = await handlers.history_of(context, currency, kind)
    response.headers["ETag"] = etag_for(rule.version)
    return RuleHistoryModel(**rule_model(rule).model_dump(), versions=[rule_model(one) for one in versions])


@router.put("/commissions/{currency}/{kind}", summary="Set a commission", responses=problem_responses(412, 428))
async def set_commission(
    currency: CurrencyPath,
    kind: CommissionKind,
    body: RuleChange,
    principal: Manager,
    context: ContextDep,
    if_match: IfMatch,
    response: Response,
) -> RuleModel:
    """Put another commission in force from the next request on. The one before stays on record."""
    wanted = Rule(
        handlers.check_currency(currency),
        kind,
        body.rate_basis_points,
        _minor(body.minimum, currency, "minimum") or 0,
        _minor(body.maximum, currency, "maximum"),
    )
    rule = await handlers.change(context, wanted, if_match, f"user:{principal.user_id}")
    response.headers["ETag"] = etag_for(rule.version)
    return rule_model(rule)


def _minor(amount: MoneyModel | None, currency: str, name: str) -> int | None:
    if amount is None:
        return None
    if amount.currency != currency:
        raise InvalidValueError(f"the commission is one of amounts in {currency}", f"{name}.currency")
    return amount.money().minor
