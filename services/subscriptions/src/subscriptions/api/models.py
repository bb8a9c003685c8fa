"""What the APIs take and give, except what only managers see."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from copeck.web.models import AnswerModel, StrictModel
from copeck.web.money import MoneyModel
from subscriptions.domain.machine import Status
from subscriptions.domain.periods import PeriodUnit

InvoiceStatusName = Literal[
    "issued",
    "pending",
    "authorized",
    "paid",
    "partially_refunded",
    "refunded",
    "canceled",
    "expired",
    "voided",
    "disputed",
    "charged_back",
]
Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$")]
"""A text in one line that is not blank."""

Reason = Annotated[str, Field(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]


class TextsModel(StrictModel):
    """A text in both languages."""

    ru: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
    en: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


class PeriodModel(StrictModel):
    """How long a paid period is."""

    unit: PeriodUnit
    count: Annotated[int, Field(ge=1, le=366)]


class PriceModel(AnswerModel):
    """A price. It never changes: another one supersedes it."""

    id: UUID
    plan_id: UUID
    amount: MoneyModel
    period: PeriodModel
    trial_days: int
    active_from: datetime


class PlanModel(AnswerModel):
    """A plan that can be bought, with its price of now."""

    id: UUID
    code: str
    product: str
    title: TextsModel
    description: TextsModel
    price: PriceModel | None


class OpenInvoiceModel(AnswerModel):
    """The invoice that waits for payment."""

    id: UUID
    status: InvoiceStatusName | None = Field(
        default=None, description="Null until the state updater has issued it, which takes a moment."
    )
    pay_url: str
    expires_at: datetime


class SubscriptionModel(AnswerModel):
    """A subscription and until when it gives access."""

    id: UUID
    user_id: UUID
    product: str
    plan_id: UUID
    plan_code: str
    plan_title: TextsModel
    price: PriceModel = Field(description="What the next period costs; the running one was paid as agreed then.")
    status: Status
    version: int
    created_at: datetime
    period_number: int = Field(description="How many periods were paid.")
    period_start: datetime | None
    period_end: datetime | None
    entitled_until: datetime | None = Field(description="Until when there is access; null when there is none.")
    trial_ends_at: datetime | None
    cancel_at_period_end: bool
    pay_by: datetime | None = Field(description="When an unpaid subscription is given up.")
    paused_at: datetime | None
    ended_at: datetime | None
    reason: str
    invoice: OpenInvoiceModel | None = Field(description="What waits for payment.")
    url: str = Field(description="Where to see how it goes on.")


class PaymentModel(AnswerModel):
    """Where to pay."""

    subscription_id: UUID
    invoice_id: UUID
    status: InvoiceStatusName | None
    pay_url: str
    url: str = Field(description="The invoice's status.")


class AccessModel(AnswerModel):
    """A product that the customer may use now, and until when."""

    product: str
    subscription_id: UUID
    until: datetime


class InvoiceModel(AnswerModel):
    """An invoice."""

    id: UUID
    status: InvoiceStatusName
    version: int
    kind: str
    product: str
    amount: MoneyModel
    refunded: MoneyModel
    description: str
    references: dict[str, str]
    method: str = Field(description="What it was paid with, masked.")
    failure_code: str
    failure_reason: str = Field(description="Why the last attempt to pay failed.")
    reason: str
    issued_at: datetime
    updated_at: datetime
    expires_at: datetime
    pay_url: str | None = Field(description="Null when it cannot be paid any more.")


class TimelineEntry(AnswerModel):
    """One thing that happened: to the invoice, to a payment or refund, in the books, or to the subscription."""

    at: datetime
    what: Literal["invoice", "payment", "refund", "transfer", "subscription"]
    event: str
    status: str | None = None
    detail: str = ""
    amount: MoneyModel | None = None


class TimelineModel(AnswerModel):
    """An invoice and why the customer was charged, in the order of time."""

    invoice: InvoiceModel
    entries: list[TimelineEntry]


class SubscribeRequest(StrictModel):
    """Which plan to subscribe to."""

    plan_id: UUID
    price_id: UUID | None = Field(
        default=None, description="The price that the customer saw: if it is no longer the plan's, nothing is bought."
    )


class CancelRequest(StrictModel):
    """When to cancel: with what is paid (the default), or now."""

    when: Literal["now", "period_end"] = "period_end"
    reason: Reason = ""


class PauseRequest(StrictModel):
    """Why the subscription rests."""

    reason: Reason = ""
