"""What only managers send and see."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, model_validator

from copeck.web.models import AnswerModel, StrictModel
from copeck.web.money import MoneyModel
from subscriptions.api.models import InvoiceModel, InvoiceStatusName, Line, PeriodModel, PriceModel, TextsModel

Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$", max_length=32)]
LatePolicyName = Literal["refund", "wallet", "accept"]
WrittenReason = Annotated[str, Field(min_length=3, max_length=300, pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$")]
"""A reason that a person has to give."""


class TitleModel(StrictModel):
    """A title in both languages; neither is blank."""

    ru: Line
    en: Line


class ProductCreate(StrictModel):
    """A new product."""

    code: Code
    title: TitleModel
    late_policy: LatePolicyName = "refund"


class ProductChange(StrictModel):
    """What to change of a product."""

    title: TitleModel | None = None
    late_policy: LatePolicyName | None = None


class ProductModel(AnswerModel):
    """A product."""

    code: str
    title: TextsModel
    late_policy: LatePolicyName = Field(description="What becomes of money that comes too late.")
    version: int
    created_at: datetime


class PlanCreate(StrictModel):
    """A new plan; give it a price next."""

    code: Code
    product: Code
    title: TitleModel
    description: TextsModel = TextsModel(ru="", en="")
    on_sale: bool = True


class PlanChange(StrictModel):
    """What to change of a plan; its price is superseded by another price."""

    title: TitleModel | None = None
    description: TextsModel | None = None
    on_sale: bool | None = None


class AdminPlanModel(AnswerModel):
    """A plan, also one that is not on sale."""

    id: UUID
    code: str
    product: str
    title: TextsModel
    description: TextsModel
    on_sale: bool
    version: int
    created_at: datetime
    price: PriceModel | None = Field(description="The price of now.")


class PriceCreate(StrictModel):
    """A new price; it supersedes the plan's price from `active_from` on (now when it is left out)."""

    plan_id: UUID
    amount: MoneyModel
    period: PeriodModel
    trial_days: Annotated[int, Field(ge=0, le=366)] = 0
    active_from: Annotated[datetime, Field(description="With a time zone.")] | None = None

    @model_validator(mode="after")
    def _has_zone(self) -> "PriceCreate":
        if self.active_from is not None and self.active_from.tzinfo is None:
            raise ValueError("active_from needs a time zone")
        return self


class AdminPriceModel(PriceModel):
    """A price, and who set it."""

    created_at: datetime
    created_by: str


class SubscriptionCreateRequest(StrictModel):
    """A subscription for a customer, by the plan's price of now or by a certain price."""

    user_id: UUID
    plan_id: UUID | None = None
    price_id: UUID | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "SubscriptionCreateRequest":
        if (self.plan_id is None) == (self.price_id is None):
            raise ValueError("give plan_id or price_id, one of them")
        return self


class SubscriptionChangeRequest(StrictModel):
    """What to change of a subscription, and why."""

    price_id: UUID | None = Field(default=None, description="The price of the next period, of any plan of the product.")
    extend_days: Annotated[int, Field(ge=1, le=366)] | None = None
    cancel_at_period_end: bool | None = None
    paused: bool | None = None
    reason: WrittenReason


class AdminCancelRequest(StrictModel):
    """When to cancel a subscription, and why."""

    when: Literal["now", "period_end"] = "period_end"
    reason: WrittenReason


class StepModel(AnswerModel):
    """One step of a subscription's history."""

    version: int
    event: str
    status_before: str | None
    status: str
    at: datetime
    actor: str
    cause_id: UUID | None
    data: dict[str, Any]


class InvoiceIssueRequest(StrictModel):
    """An invoice to a customer."""

    user_id: UUID
    product: Code
    amount: MoneyModel
    description: Line
    expires_in_hours: Annotated[int, Field(ge=1, le=24 * 60)] = 72
    capture: Literal["automatic", "manual"] = "automatic"


class InvoiceCancelRequest(StrictModel):
    """Why the invoice is annulled."""

    reason: WrittenReason


class InvoiceRefundRequest(StrictModel):
    """How much to return (all that is left when it is left out), and why.

    `retry_of` is a refund of the invoice that failed: it is tried again, whole, as by `POST /refunds/{id}/retry`.
    """

    amount: MoneyModel | None = None
    reason: WrittenReason
    retry_of: UUID | None = None


class RefundRetryRequest(StrictModel):
    """Why the refund is asked for again."""

    reason: WrittenReason


RefundStatusName = Literal["requested", "pending", "succeeded", "failed", "unknown"]


class RefundModel(AnswerModel):
    """A refund of any product's invoice."""

    id: UUID
    invoice_id: UUID
    kind: str = Field(description="The invoice's.")
    product: str
    payer: str
    status: RefundStatusName
    origin: str = Field(
        description="`requested` by somebody, of a `late_payment`, or made at the `provider` without being asked for."
    )
    amount: MoneyModel
    provider: str
    reason: str = Field(description="Why it was asked for.")
    failure_code: str
    failure_reason: str = Field(description="Why it failed, as the provider said it.")
    requested_at: datetime
    updated_at: datetime = Field(description="When it came to its status.")
    retried_as: UUID | None = Field(
        description="The refund that was asked for in place of this one, which failed. A failed one without it waits "
        "for a manager, unless the money went back by another refund of the invoice."
    )


class AdminInvoiceModel(InvoiceModel):
    """An invoice with what only managers see."""

    account: str
    payer: str
    refunding: MoneyModel
    late_policy: LatePolicyName
    capture: str


class CommandModel(AnswerModel):
    """A command on its way to the state updater, and what became of it."""

    id: UUID
    type: str
    invoice_id: UUID
    status: Literal["pending", "applied", "refused"]
    code: str = ""
    detail: str = ""
    actor: str
    sent_at: datetime
    invoice_status: InvoiceStatusName | None = None
    pay_url: str | None = None
    url: str = Field(description="Where to see what becomes of it.")


class AuditModel(AnswerModel):
    """One action of a person."""

    id: int
    at: datetime
    actor: str
    client: str
    action: str
    subject_kind: str
    subject_id: str
    reason: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    correlation_id: str | None
