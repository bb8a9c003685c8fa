"""What the integration tests are told about: a few machines that do as they are told, and the events that come by."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from copeck.contracts import events
from copeck.contracts.base import Message
from copeck.contracts.envelope import Envelope
from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id
from copeck.storage.engine import driver_url
from device_bridge.clockwork import decide_due
from device_bridge.domain.drivers import Answer, BrewInstruction, DriverPolicy, Handed, Target
from device_bridge.domain.model import BrewCommand, Device, Order, Report
from device_bridge.handlers import invoices, orders, reports, sending
from device_bridge.handlers.context import BUYER, Context, Work, in_transaction
from device_bridge.store import commands as command_store
from device_bridge.store import devices, drinks, merchants
from device_bridge.store import orders as order_store
from tests.support.cups import DOUBTFUL, SILENT, TALKATIVE, a_device, a_drink, a_merchant, a_state

POLICIES: dict[str, DriverPolicy] = {
    "talkative": TALKATIVE,
    "silent": SILENT,
    "doubtful": DOUBTFUL,
    "slow": replace(SILENT, through="worker"),
}


@dataclass
class Machine:
    """A driver whose machine keeps a log of what it was told, and answers as a test wants it to."""

    policy: DriverPolicy
    told: list[tuple[str, Target, BrewInstruction]] = field(default_factory=list)
    answer: Answer = field(default_factory=lambda: Answer(Handed.SENT))

    async def brew(self, target: Target, instruction: BrewInstruction) -> Answer:
        """Take a brew command."""
        self.told.append(("brew", target, instruction))
        return self.answer

    async def revoke(self, target: Target, instruction: BrewInstruction) -> Answer:
        """Take a revocation."""
        self.told.append(("revoke", target, instruction))
        return self.answer

    @property
    def words(self) -> list[str]:
        """What it was told, in order."""
        return [word for word, _, _ in self.told]


class Machines:
    """The drivers of the tests' models."""

    def __init__(self) -> None:
        self.by_model = {model: Machine(policy) for model, policy in POLICIES.items()}

    def policy(self, model: str) -> DriverPolicy:
        """Return what a model can do."""
        return self.by_model[model].policy

    def driver(self, model: str) -> Machine:
        """Return the machine of a model."""
        return self.by_model[model]


class Fleet:
    """A merchant with machines, buyers, and a clock that moves when told to."""

    def __init__(self, context: Context, clock: ManualClock, machines: Machines, admin_url: str) -> None:
        self.context, self.clock, self.machines, self.admin_url = context, clock, machines, admin_url
        self.versions: dict[UUID, int] = {}

    @property
    def machine(self) -> Machine:
        """The machine of the usual model."""
        return self.machines.driver("talkative")

    async def device(self, device_id: str = "kiosk-1", model: str = "talkative", **changes: Any) -> Device:
        """Put a machine somewhere that is alive and sells a latte."""
        now = self.clock.now()
        merchant = a_merchant(id=new_id(), created_at=now, updated_at=now, **changes)
        device = a_device(id=device_id, merchant_id=merchant.id, model=model, created_at=now, updated_at=now)
        async with self.context.database.transaction() as tx:
            await merchants.insert(tx, merchant)
            await devices.insert(tx, device)
            await drinks.put(tx, a_drink(device_id=device_id))
            await devices.note_state(tx, a_state(device_id=device_id, heartbeat_at=now, reported_at=now))
        return device

    async def beat(self, *device_ids: str) -> None:
        """Let machines say that they are alive."""
        await reports.on_heartbeats(self.context, device_ids)

    async def ask(self, device_id: str = "kiosk-1", **more: Any) -> Order:
        """Ask for a latte, as a buyer."""

        async def begin(work: Work) -> Order:
            return await orders.begin(work, device_id, "latte", "medium", **more)

        order: Order = await in_transaction(self.context, BUYER, begin)
        return order

    async def paid(self, device_id: str = "kiosk-1", **more: Any) -> Order:
        """Ask for a latte and pay for it."""
        order = await self.ask(device_id, **more)
        await self.hear(order, events.InvoiceIssued)
        await self.hear(order, events.InvoicePaid)
        return await self.order(order.id)

    async def hear(self, order: Order, what: type[events.InvoiceEvent], **more: Any) -> Envelope:
        """Let the state updater say something about an order's invoice; returns the message, to be sent again."""
        message = self.event(order, what, **more)
        await invoices.on_event(self.context, message)
        return message

    def event(self, order: Order, what: type[events.InvoiceEvent], **more: Any) -> Envelope:
        """Build what the state updater would say."""
        version = more.pop("version", self.versions.get(order.invoice_id, 0) + 1)
        self.versions[order.invoice_id] = max(version, self.versions.get(order.invoice_id, 0))
        values = {
            "invoice_id": order.invoice_id,
            "version": version,
            "status": what.TYPE.removeprefix("invoice."),
            "kind": "coffee",
            "product": "coffee",
            "account": order.account,
            "amount_minor": order.price_minor,
            "currency": order.currency,
            "expires_at": order.expires_at,
        }
        return Envelope.new(what(**values | more), source="state-updater", clock=self.clock)

    async def hear_refund(self, order: Order, kind: type[events.RefundEvent], **more: Any) -> None:
        """Let the state updater say something about a refund."""
        values: dict[str, Any] = {
            "refund_id": order.refund_id or new_id(),
            "invoice_id": order.invoice_id,
            "version": 1,
            "status": kind.TYPE.removeprefix("refund."),
            "origin": "requested",
            "account": order.account,
            "amount_minor": order.price_minor,
            "currency": order.currency,
        }
        await self.hear_message(kind(**values | more))

    async def hear_message(self, data: Message) -> None:
        """Let the state updater say anything."""
        await invoices.on_event(self.context, self.envelope(data))

    def envelope(self, data: Message) -> Envelope:
        """Wrap what the state updater says."""
        return Envelope.new(data, source="state-updater", clock=self.clock)

    async def send(self) -> int:
        """Hand on what is due."""
        return await sending.send_due(self.context)

    async def says(self, order: Order, *states: str, code: str = "", after_s: float = 0) -> None:
        """Let the machine report on the order's command."""
        command = await self.command(order.id)
        for state in states:
            at = self.clock.now() + timedelta(seconds=after_s)
            await reports.on_report(self.context, Report(command.device_id, command.id, state, at, code))

    async def pass_s(self, seconds: float) -> None:
        """Let time pass, and what it makes due be done; machines stay alive."""
        self.clock.advance(timedelta(seconds=seconds))
        await decide_due(self.context)
        await self.send()

    async def order(self, order_id: UUID) -> Order:
        """Return an order as it is stored."""
        async with self.context.database.reading() as tx:
            found = await order_store.find(tx, order_id)
        assert found is not None
        return found

    async def command(self, order_id: UUID) -> BrewCommand:
        """Return an order's command as it is stored."""
        async with self.context.database.reading() as tx:
            found = await command_store.of_order(tx, order_id)
        assert found is not None
        return found

    async def ends(self, order: Order) -> tuple[str, str, str | None]:
        """Return how an order stands: status, reason, and the way of its refund."""
        found = await self.order(order.id)
        return found.status.value, found.reason, found.refund_status

    async def history(self, order: Order) -> list[str]:
        """Return what happened to an order."""
        async with self.context.database.reading() as tx:
            steps = await order_store.history(tx, order.id)
        assert [step.n for step in steps] == list(range(1, len(steps) + 1))
        return [step.event for step in steps]

    async def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        """Read anything."""
        async with self.context.database.reading() as tx:
            return [dict(row._mapping) for row in await tx.execute(sa.text(query), values)]

    async def incidents(self) -> list[str]:
        """Return the kinds of the incidents."""
        return [row["kind"] for row in await self.rows("SELECT kind FROM devices.incidents ORDER BY at, kind")]

    async def sent(self, *types: str) -> list[tuple[str, dict[str, Any]]]:
        """Return what waits in the outbox, as (type, data), in order."""
        found = await self.rows("SELECT headers, body FROM devices.outbox ORDER BY id")
        messages = [(row["headers"]["cloudEvents:type"], json.loads(bytes(row["body"]))) for row in found]
        return [(name, data) for name, data in messages if not types or name in types]

    async def do(self, action: Callable[[Work], Any]) -> Any:
        """Run a handler as somebody."""
        return await in_transaction(self.context, BUYER, action)

    async def in_state(self, statement: str, **values: object) -> None:
        """Write where only the state updater may: the tests of this service run without it."""
        engine = create_async_engine(driver_url(self.admin_url))
        try:
            async with engine.begin() as tx:
                await tx.execute(sa.text(statement), values)
        finally:
            await engine.dispose()

    async def invoice_in_state(self, order: Order, status: str, version: int) -> None:
        """Let an order's invoice stand in the State Storage, as of now."""
        await self.in_state(
            "INSERT INTO state.invoices (id, version, status, updated_at, account, kind, product, payer, beneficiary, "
            "amount_minor, currency, late_policy, capture, expires_at, issued_at) "
            "VALUES (:id, :version, :status, :now, :account, 'coffee', 'coffee', :payer, :beneficiary, :amount, 'RUB', "
            "'refund', 'automatic', :expires, :now) "
            "ON CONFLICT (id) DO UPDATE SET version = :version, status = :status, updated_at = :now",
            id=order.invoice_id,
            version=version,
            status=status,
            now=self.clock.now(),
            account=order.account,
            payer=f"order:{order.id}",
            beneficiary=order.beneficiary,
            amount=order.price_minor,
            expires=order.expires_at,
        )
