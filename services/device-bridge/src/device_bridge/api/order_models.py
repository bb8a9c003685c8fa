"""What the APIs of orders, incidents and statements give."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from copeck.web.models import AnswerModel, StrictModel
from copeck.web.money import MoneyModel, SumModel
from device_bridge.api.models import ModeName, Size

StatusName = Literal["created", "pending", "paid", "not_paid", "make_pending", "successful", "failed"]
RefundStatusName = Literal["requested", "pending", "succeeded", "failed"]
IncidentKind = Literal["done_after_refund", "brewed_unpaid", "refund_failed"]


class OrderModel(AnswerModel):
    """An order of one drink."""

    id: UUID
    device_id: str
    merchant_id: UUID
    mode: ModeName
    drink_id: str
    size: Size
    drink_name: str
    price: MoneyModel
    commission: MoneyModel
    fiscal: dict[str, Any] = Field(description="The drink's fiscal attributes as they were when it was ordered.")
    status: StatusName
    reason: str = Field(description="Why it stands where it stands; empty when all is well.")
    machine_order_id: str | None
    receipt_address: str | None = Field(description="Where the receipt goes, in part.", examples=["a***@example.org"])
    invoice_id: UUID
    refund_status: RefundStatusName | None
    refund_id: UUID | None
    expires_at: datetime
    paid_at: datetime | None
    brew_by: datetime | None
    created_at: datetime
    updated_at: datetime
    url: str


class StepModel(AnswerModel):
    """One step of an order's history."""

    n: int
    at: datetime
    event: str
    status: StatusName
    reason: str
    actor: str


class BrewReportModel(AnswerModel):
    """What the machine reported."""

    state: str
    code: str
    at: datetime | None = Field(description="By the machine's clock.")
    received_at: datetime


class BrewCommandModel(AnswerModel):
    """What the machine was told, and what it said."""

    id: UUID
    state: str
    model: str
    sent_count: int
    expires_at: datetime
    accepted_at: datetime | None
    finished_at: datetime | None
    last_code: str
    reports: list[BrewReportModel]


class ReceiptModel(AnswerModel):
    """A mail about an order. The address is shown in part."""

    kind: Literal["receipt", "refund"] = Field(description="`refund`: that the money is on its way back.")
    address: str = Field(examples=["a***@example.org"])
    status: Literal["waiting", "sent", "failed"]
    tries: int
    sent_at: datetime | None
    last_error: str


class IncidentModel(AnswerModel):
    """What should not have happened, for a person to look at."""

    id: UUID
    order_id: UUID | None
    device_id: str
    kind: IncidentKind
    detail: dict[str, Any]
    at: datetime
    closed_at: datetime | None
    closed_by: str | None
    note: str


class CloseRequest(StrictModel):
    """What was found out, or done about it."""

    note: Annotated[
        str,
        Field(
            min_length=3,
            max_length=1000,
            pattern=r"^[^\x00]*\S[^\x00]*$",
            examples=["the buyer kept the cup; the merchant was told"],
        ),
    ]


class OrderHistoryModel(OrderModel):
    """An order with everything that is known of it."""

    history: list[StepModel]
    command: BrewCommandModel | None
    incidents: list[IncidentModel]
    receipts: list[ReceiptModel]


class CountsModel(AnswerModel):
    """How many orders."""

    paid: int
    successful: int
    failed: int
    refunded: int


class StatementRowModel(AnswerModel):
    """One machine on one day, by the clock of the place where it stands."""

    day: date
    device_id: str
    device_name: str
    time_zone: str
    gross: SumModel = Field(description="What buyers paid that day.")
    commission: SumModel = Field(description="What we took of it, less what went back with refunds.")
    refunds: SumModel = Field(description="What went back to buyers that day.")
    net: SumModel = Field(description="gross - refunds - commission: what the merchant's balance changed by.")
    counts: CountsModel


class StatementTotalModel(AnswerModel):
    """The sum of a statement's rows."""

    gross: SumModel
    commission: SumModel
    refunds: SumModel
    net: SumModel
    counts: CountsModel


class StatementModel(AnswerModel):
    """A merchant's statement."""

    merchant_id: UUID
    mode: ModeName
    date_from: date
    date_to: date
    rows: list[StatementRowModel]
    total: StatementTotalModel


class BadLineModel(AnswerModel):
    """What is wrong with a line of a file; a line may have several."""

    line: int = Field(description="As an editor counts; the header is line 1.")
    field: str
    reason: str


class ImportModel(AnswerModel):
    """What a file became, or would become by a dry run."""

    dry_run: bool
    lines: int
    good: int
    bad: int
    created: int = Field(description="How many are new.")
    changed: int = Field(description="How many are there already and would be written over.")
    bad_lines: list[BadLineModel]
