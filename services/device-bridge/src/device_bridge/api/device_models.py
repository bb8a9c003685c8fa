"""What the APIs of devices and drinks take and give."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, model_validator

from copeck.web.models import AnswerModel, StrictModel
from copeck.web.money import MoneyModel
from device_bridge.api.models import (
    DeviceId,
    DrinkId,
    Line,
    Measure,
    PaymentMethod,
    PaymentSubject,
    PriceRuleName,
    Reason,
    Size,
    StateName,
    TimeZone,
    Words,
)


class StateTexts(StrictModel):
    """What a buyer reads in a state of the machine, instead of our own words."""

    ru: Words = ""
    en: Words = ""


Texts = Annotated[
    dict[StateName, StateTexts], Field(max_length=5, examples=[{"off": {"ru": "Мы спим", "en": "We sleep"}}])
]
_Name = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Number = Annotated[int, Field(ge=0, le=2_000_000_000)]
Driver = Annotated[
    dict[
        Annotated[str, Field(max_length=40, pattern=r"^[a-z][a-z0-9_]*$")],
        Words | _Number | bool | Annotated[dict[_Name, Words | _Number], Field(max_length=500)],
    ],
    Field(max_length=20, examples=[{"id": "1234", "drinks": {"latte/small": "17"}}]),
]
"""How a driver reaches a machine; a mapping gives the machine's own numbers of our drinks."""


class DeviceCreate(StrictModel):
    """A new machine."""

    id: DeviceId = Field(description="The code in its QR; it never changes.")
    merchant_id: UUID | None = Field(default=None, description="Managers name it; a merchant's is their own.")
    name: Line
    location: Words = ""
    time_zone: TimeZone = "Europe/Moscow"
    model: Annotated[str, Field(max_length=40, pattern=r"^[a-z0-9][a-z0-9_.-]*$", examples=["mqtt-v1"])]
    driver: Driver = Field(default_factory=dict, description="How its driver reaches it: as the model needs.")
    payment_scenario: Literal["widget"] = "widget"
    price_rule: PriceRuleName = "catalogue"
    texts: Texts = Field(default_factory=dict)


class DeviceChange(StrictModel):
    """What to change of a machine; what is left out stays."""

    name: Line | None = None
    location: Words | None = None
    time_zone: TimeZone | None = None
    model: Annotated[str, Field(max_length=40, pattern=r"^[a-z0-9][a-z0-9_.-]*$")] | None = None
    driver: Driver | None = None
    payment_scenario: Literal["widget"] | None = None
    price_rule: PriceRuleName | None = None
    texts: Texts | None = None


class DeviceStateModel(AnswerModel):
    """What the machine said last. One whose heartbeat is too old counts as off."""

    state: StateName
    online: bool
    error_code: str
    heartbeat_at: datetime | None
    reported_at: datetime | None


class DeviceModel(AnswerModel):
    """A machine."""

    id: str
    merchant_id: UUID
    name: str
    location: str
    time_zone: str
    model: str
    driver: dict[str, Any]
    payment_scenario: str
    price_rule: PriceRuleName
    texts: dict[str, dict[str, str]]
    selling: bool
    stopped_reason: str | None = Field(description="Why it does not sell.")
    stopped_by: str | None = Field(description="`user:<id>`, or `service:device-bridge`: it stopped by itself.")
    stopped_at: datetime | None
    failures_in_row: int
    state: DeviceStateModel
    page_url: str = Field(description="What its QR code says.")
    version: int
    created_at: datetime
    updated_at: datetime


class DeviceCreatedModel(DeviceModel):
    """A new machine with its key, which is shown this once."""

    link_key: str = Field(description="Hexadecimal. The machine signs its links and checks its commands with it.")


class StopRequest(StrictModel):
    """Why it is stopped."""

    reason: Reason


class DrinkStopRequest(StrictModel):
    """Why a drink is stopped, and in which size; without one, in all."""

    reason: Reason
    size: Size | None = None


class DrinkStartRequest(StrictModel):
    """In which size a drink is sold again; without one, in all."""

    size: Size | None = None


class LinkKeyModel(AnswerModel):
    """The machine's new key. It is shown this once; the old one is no good any more."""

    device_id: str
    link_key: str = Field(description="Hexadecimal. The machine signs its links and checks its commands with it.")
    version: int


class BrokerPasswordModel(AnswerModel):
    """A machine's account at the broker with its new password, which is shown this once."""

    device_id: str
    username: str
    client_id: str = Field(description="The only client id that the broker lets in with it.")
    password: str
    publishes: list[str] = Field(description="Topics that it may publish to; + stands for one word.")
    subscribes: list[str] = Field(description="What it may subscribe to, in these very words.")


class FiscalModel(StrictModel):
    """How the drink is named to the tax office."""

    vat_code: Annotated[int, Field(ge=1, le=12)] | None = None
    payment_subject: PaymentSubject | None = None
    payment_method: PaymentMethod | None = None
    measure: Measure | None = None


class DrinkCreate(StrictModel):
    """A drink in one size."""

    drink_id: DrinkId
    size: Size
    name: Line
    price: MoneyModel | None = Field(default=None, description="Null: there is no price of ours.")
    available: bool = True
    fiscal: FiscalModel = FiscalModel()

    @model_validator(mode="after")
    def _costs_something(self) -> "DrinkCreate":
        _check_price(self.price)
        return self


class DrinkChange(StrictModel):
    """What to change of a drink; what is left out stays."""

    name: Line | None = None
    price: MoneyModel | None = None
    without_price: Literal[True] | None = Field(default=None, description="True takes our price away.")
    available: bool | None = None
    fiscal: FiscalModel | None = None

    @model_validator(mode="after")
    def _costs_something(self) -> "DrinkChange":
        _check_price(self.price)
        if self.price is not None and self.without_price:
            raise ValueError("give price or without_price, not both")
        return self


def _check_price(price: MoneyModel | None) -> None:
    if price is not None and price.money().minor <= 0:
        raise ValueError("a price is more than nothing; null where there is none of ours")


class DrinkModel(AnswerModel):
    """A drink in one size, its prices, and what it costs now."""

    device_id: str
    drink_id: str
    size: Size
    name: str
    price: MoneyModel | None = Field(description="Ours.")
    telemetry_price: MoneyModel | None = Field(description="The machine's.")
    telemetry_at: datetime | None
    sold_at: MoneyModel | None = Field(description="By the device's rule; null: neither is known, and it is not sold.")
    available: bool
    stopped_reason: str | None
    sold_out: bool = Field(description="The machine says that it has run out of it.")
    fiscal: FiscalModel
    version: int
    updated_at: datetime
