"""What the integration tests are told about: a small cinema, its customers, and the events that it hears."""

import json
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

import psycopg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from copeck.contracts.envelope import Envelope
from copeck.contracts.events import InvoiceEvent, InvoicePaid, InvoiceStatus
from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from copeck.storage.engine import driver_url, libpq_url
from subscriptions.domain.catalogue import Plan, Price, Product, Texts
from subscriptions.domain.model import LatePolicy, Subscription
from subscriptions.domain.periods import Period, PeriodUnit
from subscriptions.handlers import invoices
from subscriptions.handlers.context import Actor, Context, Work, in_transaction
from subscriptions.handlers.subscriptions import Begun, begin, invoice_to_pay, locked
from subscriptions.store import catalogue
from subscriptions.store import subscriptions as store

PRODUCT = "subscription"


class World:
    """A cinema with a clock that moves when told to."""

    def __init__(self, context: Context, clock: ManualClock, admin_url: str) -> None:
        self.admin_url = admin_url
        self.context = context
        self.clock = clock
        self.versions: dict[UUID, int] = {}

    async def plan(
        self,
        code: str = "monthly",
        *,
        minor: int = 19900,
        unit: PeriodUnit = PeriodUnit.MONTH,
        trial_days: int = 0,
        late_policy: LatePolicy = "refund",
    ) -> Price:
        """Put a plan on sale."""
        now = self.clock.now()
        async with self.context.database.transaction() as tx:
            if await catalogue.find_product(tx, PRODUCT) is None:
                product = Product(PRODUCT, Texts("Кино", "Cinema"), late_policy, 1, now)
                await catalogue.insert_product(tx, product)
            texts = Texts("Месяц кино", "A month of cinema")
            plan = Plan(new_id(), code, PRODUCT, texts, texts, True, 1, now)
            await catalogue.insert_plan(tx, plan)
            price = Price(
                new_id(), plan.id, Money(minor, "RUB"), Period(unit, 1), trial_days, now, now, "user:somebody"
            )
            await catalogue.insert_price(tx, price)
        return price

    async def subscribe(self, user: UUID, price: Price) -> Begun:
        """Begin a subscription as its customer."""
        begun = await in_transaction(self.context, Actor.user(user, "token"), lambda work: begin(work, user, price))
        return cast(Begun, begun)

    async def do(self, subscription_id: UUID, action: Any, *arguments: Any) -> Any:
        """Run a handler on a locked subscription."""

        async def run(work: Work) -> Any:
            return await action(work, await locked(work, subscription_id, None), *arguments)

        return await in_transaction(self.context, Actor.user(new_id(), "token"), run)

    async def invoice(self, subscription_id: UUID) -> UUID:
        """Ask for the invoice to pay now."""
        return cast(UUID, await self.do(subscription_id, invoice_to_pay))

    async def hear(
        self, invoice_id: UUID, status: InvoiceStatus, *, kind: type[InvoiceEvent] = InvoicePaid, version: int = 0
    ) -> Envelope:
        """Let the state updater say that an invoice has a status now; returns the message, to be sent again."""
        message = self.event(invoice_id, status, kind=kind, version=version)
        await invoices.on_event(self.context, message)
        return message

    def event(
        self, invoice_id: UUID, status: InvoiceStatus, *, kind: type[InvoiceEvent] = InvoicePaid, version: int = 0
    ) -> Envelope:
        """Build what the state updater would say."""
        version = version or self.versions.get(invoice_id, 1) + 1
        self.versions[invoice_id] = max(version, self.versions.get(invoice_id, 0))
        data = kind(
            invoice_id=invoice_id,
            version=version,
            status=status,
            kind="subscription",
            product=PRODUCT,
            account=f"customer:{new_id()}",
            amount_minor=19900,
            currency="RUB",
            expires_at=self.clock.now() + timedelta(hours=1),
        )
        return Envelope.new(data, source="state-updater", clock=self.clock)

    async def subscription(self, subscription_id: UUID) -> Subscription:
        """Return a subscription as it is stored."""
        async with self.context.database.reading() as tx:
            found = await store.find(tx, subscription_id)
        assert found is not None
        return found

    async def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        """Read anything."""
        async with self.context.database.reading() as tx:
            return [dict(row._mapping) for row in await tx.execute(sa.text(query), values)]

    async def access(self, subscription_id: UUID) -> list[tuple[datetime, datetime]]:
        """Return the entitlements that are worth something."""
        found = await self.rows(
            "SELECT starts_at, ends_at FROM subscriptions.entitlements WHERE subscription_id = :id "
            "AND ends_at > starts_at ORDER BY starts_at",
            id=subscription_id,
        )
        return [(row["starts_at"], row["ends_at"]) for row in found]

    async def sent(self, *types: str) -> list[tuple[str, dict[str, Any]]]:
        """Return what waits in the outbox, as (type, data), in order."""
        found = await self.rows("SELECT headers, body FROM subscriptions.outbox ORDER BY id")
        messages = [(row["headers"]["cloudEvents:type"], json.loads(bytes(row["body"]))) for row in found]
        return [(name, data) for name, data in messages if not types or name in types]

    async def issue_in_state(
        self, invoice_id: UUID, user: UUID, *, cause_id: UUID | None = None, kind: str = "subscription"
    ) -> None:
        """Write an invoice where only the state updater may: the tests of this service run without it."""
        await self._in_state(
            "INSERT INTO state.invoices (id, version, status, updated_at, account, kind, product, payer, beneficiary, "
            "amount_minor, currency, late_policy, capture, expires_at, issued_at) VALUES (:id, 1, 'issued', :now, "
            ":account, :kind, 'subscription', :payer, 'revenue:subscription', :amount, 'RUB', 'refund', 'automatic', "
            ":expires, :now)",
            id=invoice_id,
            now=self.clock.now(),
            account=f"customer:{user}",
            kind=kind,
            payer=str(user),
            amount=5000 if kind == "manual" else 19900,
            expires=self.clock.now() + timedelta(hours=1),
        )
        await self._in_state(
            "INSERT INTO state.transitions (aggregate_id, version, aggregate, event, status, changes, cause_id, "
            "cause_type, actor, shard, epoch, at) VALUES (:id, 1, 'invoice', 'issued', 'issued', '{}', :cause, "
            "'invoice.issue', '', 0, 0, :now)",
            id=invoice_id,
            cause=cause_id or new_id(),
            now=self.clock.now(),
        )

    async def set_in_state(self, invoice_id: UUID, status: str) -> None:
        """Move an invoice of the State Storage to a status."""
        await self._in_state("UPDATE state.invoices SET status = :status WHERE id = :id", id=invoice_id, status=status)

    async def refund_in_state(
        self,
        invoice_id: UUID,
        refund_id: UUID,
        status: str = "failed",
        *,
        minor: int = 19900,
        origin: str = "requested",
        returning: bool = False,
    ) -> None:
        """Write a refund as the state updater does; `returning` ones count among those that are on their way."""
        await self._in_state(
            "INSERT INTO state.refunds (invoice_id, id, version, status, origin, source, amount_minor, "
            "commission_minor, currency, provider, shop, transaction, refund_transaction, reason, failure_code, "
            "failure_reason, created_at, updated_at) VALUES (:invoice, :id, 2, :status, :origin, "
            "'revenue:subscription', :minor, 0, 'RUB', 'cloudpayments', 'main', 'p1', '', 'no cup', :code, :said, "
            ":now, :now)",
            invoice=invoice_id,
            id=refund_id,
            status=status,
            origin=origin,
            minor=minor,
            code="5051" if status == "failed" else "",
            said="Not enough money at the shop" if status == "failed" else "",
            now=self.clock.now(),
        )
        if returning:
            change = "UPDATE state.invoices SET refunding_minor = refunding_minor + :minor WHERE id = :id"
            await self._in_state(change, id=invoice_id, minor=minor)

    async def refuse_in_state(self, command_id: UUID, invoice_id: UUID) -> None:
        """Write that a command was refused."""
        await self._in_state(
            "INSERT INTO state.refusals (command_id, command_type, aggregate, outcome, code, detail, actor, at) "
            "VALUES (:id, 'invoice.cancel', :invoice, 'illegal', 'test', 'because', '', :now)",
            id=command_id,
            invoice=str(invoice_id),
            now=self.clock.now(),
        )

    async def as_admin(self, statement: str) -> None:
        """Run a statement as the superuser."""
        async with await psycopg.AsyncConnection.connect(libpq_url(self.admin_url)) as connection:
            await connection.execute(statement)

    async def _in_state(self, statement: str, **values: object) -> None:
        engine = create_async_engine(driver_url(self.admin_url))
        async with engine.begin() as tx:
            await tx.execute(sa.text(statement), values)
        await engine.dispose()
