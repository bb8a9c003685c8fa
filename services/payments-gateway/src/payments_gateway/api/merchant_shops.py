"""Merchants' own shops: managers put their credentials in; nobody ever reads them back."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Response
from pydantic import Field, SecretStr

from copeck.web.auth import Principal, require_roles
from copeck.web.etag import IfMatch, etag_for
from copeck.web.models import AnswerModel, StrictModel
from copeck.web.problems import problem_responses
from payments_gateway.api.pay import ContextDep
from payments_gateway.domain.merchant_shops import masked
from payments_gateway.domain.provider import NotificationKind
from payments_gateway.handlers import merchant_shops as handlers

router = APIRouter(tags=["merchants' shops"])

Reader = Annotated[Principal, Depends(require_roles("manager", "operator"))]
Manager = Annotated[Principal, Depends(require_roles("manager"))]
OptionalIfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match", max_length=200, description="The `ETag` of what was read; needed once there is a shop.",
        examples=['"1"'],
    ),
]  # fmt: skip


class MerchantShopChange(StrictModel):
    """A merchant's contract with a provider, as the provider's cabinet shows it."""

    provider: Literal["cloudpayments"] = "cloudpayments"
    public_id: str = Field(
        min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.\-]+$", examples=["pk_0123456789abcdef"]
    )
    api_secret: SecretStr = Field(min_length=8, max_length=256, description="Kept encrypted, and never shown again.")


class MerchantShopModel(AnswerModel):
    """A merchant's shop. Callbacks have to be sent to `notification_urls`, by their kind."""

    merchant_id: UUID
    provider: str
    shop: str = Field(description="The name under which the gateway knows it; another public id is another shop.")
    public_id: str
    api_secret: str | None = Field(description="Masked; null when it cannot be used and has to be put again.")
    notification_urls: dict[str, str]
    version: int
    updated_by: str


@router.put(
    "/merchants/{merchant_id}/shop",
    summary="Give a merchant a shop of its own",
    responses=problem_responses(409, 412, 422, 428, 503),
)
async def put_shop(
    merchant_id: UUID,
    body: MerchantShopChange,
    principal: Manager,
    context: ContextDep,
    response: Response,
    if_match: OptionalIfMatch = None,
) -> MerchantShopModel:
    """Put a merchant's credentials in, or change them. Its orders are paid at, and refunded from, this shop only."""
    shown = await handlers.put(
        context,
        merchant_id,
        body.provider,
        body.public_id,
        body.api_secret.get_secret_value(),
        if_match,
        f"user:{principal.user_id}",
    )
    response.headers["ETag"] = etag_for(shown.stored.version)
    return _model(context, shown)


@router.get("/merchants/{merchant_id}/shop", summary="Show a merchant's shop", responses=problem_responses(404))
async def get_shop(merchant_id: UUID, _: Reader, context: ContextDep, response: Response) -> MerchantShopModel:
    """Show a merchant's shop, its secret masked."""
    shown = await handlers.show(context, merchant_id)
    response.headers["ETag"] = etag_for(shown.stored.version)
    return _model(context, shown)


@router.delete(
    "/merchants/{merchant_id}/shop",
    status_code=204,
    summary="Take a merchant's shop away",
    responses=problem_responses(404, 412, 428),
)
async def delete_shop(merchant_id: UUID, principal: Manager, context: ContextDep, if_match: IfMatch) -> None:
    """Let the shop take no new payments; what was paid there can still be refunded."""
    await handlers.remove(context, merchant_id, if_match, f"user:{principal.user_id}")


def _model(context: ContextDep, shown: handlers.Shown) -> MerchantShopModel:
    stored = shown.stored
    paid = f"{context.settings.public_url.rstrip('/')}/payments/api/v1/paid/{stored.provider}/{stored.shop}"
    return MerchantShopModel(
        merchant_id=stored.merchant_id,
        provider=stored.provider,
        shop=stored.shop,
        public_id=stored.public_id,
        api_secret=masked(shown.secret) if shown.secret is not None else None,
        notification_urls={kind.value: f"{paid}/{kind.value}" for kind in NotificationKind},
        version=stored.version,
        updated_by=stored.updated_by,
    )
