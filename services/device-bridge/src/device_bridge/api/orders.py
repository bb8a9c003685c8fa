"""Orders: searching, exporting, and everything that is known of one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime

from copeck.kernel.money import Money, major
from copeck.web.money import MoneyModel
from copeck.web.pagination import Cursor, Page
from copeck.web.problems import problem_responses
from device_bridge.api import finding
from device_bridge.api.dependencies import FILES, PREFIX, READS, Ctx, Reader, after
from device_bridge.api.files import PAGE_ROWS, ROWS_MAX, csv_answer, csv_responses, csv_text, too_many
from device_bridge.api.incidents import shown as shown_incident
from device_bridge.api.models import DeviceId, Search
from device_bridge.api.order_models import (
    BrewCommandModel,
    BrewReportModel,
    OrderHistoryModel,
    OrderModel,
    ReceiptModel,
    StatusName,
    StepModel,
)
from device_bridge.domain.contacts import mask
from device_bridge.domain.model import BrewCommand, Order
from device_bridge.store import commands, incidents, lookups, orders
from device_bridge.store.lookups import KeptReport, Receipt

router = APIRouter(tags=["orders"])

OrderBy = Literal["-created_at", "created_at"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which orders are asked for; everything that is given must match."""

    merchant_id: UUID | None
    device_id: str | None
    statuses: tuple[str, ...]
    since: AwareDatetime | None
    until: AwareDatetime | None
    text: str | None
    order: OrderBy

    @property
    def filters(self) -> dict[str, Any]:
        """As the store takes them."""
        return {name: getattr(self, name) for name in self.__slots__}


async def _wanted(
    caller: Reader,
    merchant_id: UUID | None = None,
    device_id: Annotated[DeviceId | None, Query()] = None,
    status: Annotated[list[StatusName] | None, Query(description="Only those in these statuses.")] = None,
    created_from: Annotated[AwareDatetime | None, Query(description="From this moment on.")] = None,
    created_to: Annotated[AwareDatetime | None, Query(description="Before this moment.")] = None,
    search: Annotated[
        Search, Query(description="The beginning of an id, a part of the drink's name, or the machine's order id.")
    ] = None,
    order: Annotated[OrderBy, Query(description="`-` for the newest first.")] = "-created_at",
) -> Wanted:
    return Wanted(
        merchant_id=caller.narrowed(merchant_id),
        device_id=device_id,
        statuses=tuple(status or ()),
        since=created_from,
        until=created_to,
        text=search,
        order=order,
    )


WantedDep = Annotated[Wanted, Depends(_wanted)]


def values_of(one: Order) -> dict[str, Any]:
    """Return what is shown of an order."""
    return {
        "id": one.id,
        "device_id": one.device_id,
        "merchant_id": one.merchant_id,
        "mode": one.mode,
        "drink_id": one.drink_id,
        "size": one.size,
        "drink_name": one.drink_name,
        "price": MoneyModel.of(one.price),
        "commission": MoneyModel.of(Money(one.commission_minor, one.currency)),
        "fiscal": one.fiscal,
        "status": one.status.value,
        "reason": one.reason,
        "machine_order_id": one.machine_order_id,
        "receipt_address": mask(one.receipt_address) if one.receipt_address else None,
        "invoice_id": one.invoice_id,
        "refund_status": one.refund_status,
        "refund_id": one.refund_id,
        "expires_at": one.expires_at,
        "paid_at": one.paid_at,
        "brew_by": one.brew_by,
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "url": f"{PREFIX}/orders/{one.id}",
    }


@router.get("/orders", summary="List orders", dependencies=READS)
async def list_orders(context: Ctx, cursor: Cursor, wanted: WantedDep) -> Page[OrderModel]:
    """Show orders that match everything that is given: managers all, merchants their own machines'."""
    async with context.database.reading() as tx:
        found = await orders.list_(tx, **wanted.filters, after=after(cursor, UUID), limit=cursor.limit + 1)
    return cursor.page(found, lambda one: (str(one.id),), lambda one: OrderModel(**values_of(one)))


_COLUMNS = (
    "id", "created_at", "device_id", "drink_id", "size", "drink_name", "price", "commission", "currency", "status",
    "reason", "paid_at", "refund_status", "machine_order_id", "invoice_id", "merchant_id",
)  # fmt: skip


@router.get(
    "/orders.csv",
    summary="Export orders",
    response_class=Response,
    responses=csv_responses("Every order that matches.", 422),
    dependencies=FILES,
)
async def export_orders(context: Ctx, wanted: WantedDep) -> Response:
    """Return the orders that match as a file; 422 when they are more than twenty thousand."""
    rows: list[Sequence[Any]] = []
    key: tuple[Any, ...] | None = None
    while True:
        async with context.database.reading() as tx:
            found = await orders.list_(tx, **wanted.filters, after=key, limit=PAGE_ROWS)
        rows += [_row(one) for one in found]
        if len(found) < PAGE_ROWS:
            break
        if len(rows) >= ROWS_MAX:
            raise too_many("created_from")
        key = (found[-1].id,)
    return csv_answer("orders.csv", csv_text(_COLUMNS, rows))


def _row(one: Order) -> Sequence[Any]:
    moments = {name: getattr(one, name) for name in ("created_at", "paid_at")}
    shown = {name: moment.isoformat() if moment else None for name, moment in moments.items()}
    shown |= {
        "price": major(one.price_minor, one.currency),
        "commission": major(one.commission_minor, one.currency),
        "status": one.status.value,
    }
    return [shown[name] if name in shown else getattr(one, name) for name in _COLUMNS]


@router.get("/orders/{order_id}", summary="Show an order", responses=problem_responses(404), dependencies=READS)
async def get_order(order_id: UUID, caller: Reader, context: Ctx) -> OrderHistoryModel:
    """Show an order: its history, what the machine was told and said, incidents, and the mails about it."""
    async with context.database.reading() as tx:
        found = await finding.order(tx, caller, order_id)
        steps = await orders.history(tx, order_id)
        command = await commands.of_order(tx, order_id)
        reports = await lookups.reports_of(tx, command.id) if command else []
        odd = await incidents.list_(tx, order_id=order_id, limit=100)
        mails = await lookups.receipts_of(tx, order_id)
    return OrderHistoryModel(
        **values_of(found),
        history=[StepModel.model_validate(step) for step in steps],
        command=_command(command, reports) if command else None,
        incidents=[shown_incident(one) for one in odd],
        receipts=[_receipt(one) for one in mails],
    )


def _command(command: BrewCommand, reports: Sequence[KeptReport]) -> BrewCommandModel:
    return BrewCommandModel(
        id=command.id,
        state=command.state.value,
        model=command.model,
        sent_count=command.sent_count,
        expires_at=command.expires_at,
        accepted_at=command.accepted_at,
        finished_at=command.finished_at,
        last_code=command.last_code,
        reports=[BrewReportModel.model_validate(one) for one in reports],
    )


def _receipt(mail: Receipt) -> ReceiptModel:
    return ReceiptModel.model_validate({**asdict(mail), "address": mask(mail.address)})
