"""Pieces that the APIs' models share, and what the API of merchants takes and gives."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field

from copeck.web.models import AnswerModel, StrictModel
from copeck.web.money import SumModel
from device_bridge.domain.catalogue_lines import (
    DEVICE_ID,
    DRINK_ID,
    NAME_CHARS_MAX,
    TEXT_CHARS_MAX,
    is_time_zone,
)

Line = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$")]
"""A text in one line that is not blank."""
Words = Annotated[str, Field(max_length=TEXT_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]*$")]
Reason = Annotated[
    str,
    Field(
        min_length=3,
        max_length=300,
        pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$",
        examples=["the boiler is being cleaned"],
    ),
]
"""A reason that a person has to give."""
Search = Annotated[str | None, Field(max_length=100, pattern=r"^[^\x00]*$")]
DeviceId = Annotated[str, Field(pattern=DEVICE_ID, max_length=40, examples=["kofe-17"])]
DrinkId = Annotated[str, Field(pattern=DRINK_ID, max_length=64, examples=["cappuccino"])]
Currency = Literal["BYN", "EUR", "JPY", "KZT", "RUB", "USD"]
ModeName = Literal["platform_shop", "own_shop"]
Size = Literal["small", "medium", "large"]
PriceRuleName = Literal["catalogue", "telemetry", "catalogue_then_telemetry", "telemetry_then_catalogue"]
StateName = Literal["ready", "busy", "error", "sold_out", "off"]
PaymentSubject = Literal["commodity", "excise", "job", "service", "payment", "agent_commission", "composite", "another"]
PaymentMethod = Literal[
    "full_prepayment", "partial_prepayment", "advance", "full_payment", "partial_payment", "credit", "credit_payment"
]
Measure = Literal["piece", "gram", "kilogram", "milliliter", "liter", "another"]


def _known_zone(name: str) -> str:
    if not is_time_zone(name):
        raise ValueError("an IANA name such as Europe/Moscow is needed")
    return name


TimeZone = Annotated[str, Field(max_length=60, examples=["Europe/Moscow"]), AfterValidator(_known_zone)]
Ttl = Annotated[int, Field(ge=60, le=24 * 3600, description="How many seconds an order can be paid.")]
BrewTimeout = Annotated[int, Field(ge=15, le=1800, description="Seconds from paid to the cup, or the money back.")]
FailuresMax = Annotated[
    int, Field(ge=1, le=100, description="After how many failed brews in a row a machine stops selling by itself.")
]
Commission = Annotated[int, Field(ge=0, le=5000, description="In basis points: 500 are 5 %.", examples=[500])]


class PayoutDetails(StrictModel):
    """Where a merchant's balance is paid out to. Read back, all but the last four digits are hidden."""

    bank_account: Annotated[str, Field(pattern=r"^[0-9]{20}$", examples=["40702810900000012345"])] | None = None
    bic: Annotated[str, Field(pattern=r"^[0-9]{9}$", examples=["044525225"])] | None = None
    inn: Annotated[str, Field(pattern=r"^([0-9]{10}|[0-9]{12})$", examples=["7707083893"])] | None = None
    recipient: Words | None = None


class MerchantCreate(StrictModel):
    """A new merchant."""

    name: Annotated[Line, Field(examples=["Coffee by the lake"])]
    owner_id: UUID | None = Field(
        default=None, description="The user with the role `merchant` whose machines they are; one merchant each."
    )
    active_until: AwareDatetime | None = Field(default=None, description="Sells until then; null: without an end.")
    mode: ModeName = Field(
        default="platform_shop",
        description="`platform_shop`: we collect and owe the balance. `own_shop`: the money is the merchant's at once,"
        " paid at the shop of `PUT /payments/api/v1/merchants/{id}/shop`.",
    )
    currency: Currency = "RUB"
    commission_bps: Commission = 500
    order_ttl_s: Ttl = 900
    brew_timeout_s: BrewTimeout = 180
    failures_max: FailuresMax = 3
    payout_details: PayoutDetails | None = None


class MerchantChange(StrictModel):
    """What to change of a merchant; what is left out stays. Orders that are made already keep their terms."""

    name: Line | None = None
    active_until: AwareDatetime | None = None
    mode: ModeName | None = None
    commission_bps: Commission | None = None
    order_ttl_s: Ttl | None = None
    brew_timeout_s: BrewTimeout | None = None
    failures_max: FailuresMax | None = None
    selling: bool | None = Field(default=None, description="False stops all machines of the merchant at once.")
    payout_details: PayoutDetails | None = None


class MaskedDetails(AnswerModel):
    """Payout details as they are shown."""

    bank_account: str | None = Field(default=None, examples=["****2345"])
    bic: str | None = None
    inn: str | None = None
    recipient: str | None = None


class MerchantModel(AnswerModel):
    """A merchant."""

    id: UUID
    name: str
    owner_id: UUID | None
    active_until: datetime | None
    mode: ModeName
    currency: str
    commission_bps: int
    order_ttl_s: int
    brew_timeout_s: int
    failures_max: int
    selling: bool
    payout_details: MaskedDetails | None
    account: str = Field(description="The account of the books whose balance it is.")
    version: int
    created_at: datetime
    updated_at: datetime


class TransitModel(AnswerModel):
    """Payouts of the balance that are under way."""

    payouts: int
    amount: SumModel


class BalanceModel(AnswerModel):
    """What we owe a merchant; below zero when refunds came after a payout. Payouts are asked for at `payouts_url`."""

    merchant_id: UUID
    mode: ModeName
    account: str
    balance: SumModel
    updated_at: datetime | None = Field(description="When it changed last; null: never.")
    in_transit: TransitModel
    payout_source: str | None = Field(
        description="`source` of a payout at `payouts_url`; null in the mode `own_shop`, which has no balance."
    )
    payouts_url: str = "/payments/api/v1/payouts"
