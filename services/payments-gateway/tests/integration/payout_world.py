"""A gateway that pays out through the mock gateway's process; the updater's part is played by its own tables."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import sqlalchemy as sa

from copeck.contracts import events
from copeck.contracts.envelope import Envelope
from copeck.kernel.clock import SystemClock
from copeck.kernel.ids import new_id
from copeck.storage.engine import Database
from copeck.testkit.waiting import eventually
from payments_gateway import tables
from payments_gateway.composition import make_context
from payments_gateway.domain.recipients import Recipient, RecipientKind, seal
from payments_gateway.domain.switches import Switch
from payments_gateway.handlers import events as event_handler
from payments_gateway.handlers import operations
from payments_gateway.handlers.context import Context
from payments_gateway.settings import GatewaySettings
from payments_gateway.store import payout_requests, switches

from .conftest import free_port

MOCK_SECRET = "mock_test_secret"
TOKEN = "tk_0123456789abcdef"
HOUSE = "house:payouts"


@dataclass
class MockGateway:
    """The running emulator of the mock gateway."""

    url: str
    client: httpx2.AsyncClient

    async def arm(self, switch: str, operation: str = "withdraw", count: int = 1) -> None:
        body = {"switch": switch, "operation": operation, "count": count}
        answer = await self.client.post("/sandbox/chaos/once", json=body)
        assert answer.status_code == 200, answer.text

    async def chaos(self, **body: Any) -> None:
        answer = await self.client.put("/sandbox/chaos", json=body)
        assert answer.status_code == 200, answer.text

    async def calm(self) -> None:
        await self.client.delete("/sandbox/chaos")

    async def balance(self, roubles: str) -> None:
        answer = await self.client.put("/sandbox/balance", json={"RUB": roubles})
        assert answer.status_code == 200, answer.text

    async def transfers(self) -> dict[str, int]:
        """How many transfers were really made, by reference."""
        items = (await self.client.get("/sandbox/totals")).json()["items"]
        return {item["payment_id"]: item["transfers"] for item in items}


@asynccontextmanager
async def mock_process(folder: Path) -> AsyncIterator[MockGateway]:
    """Run the emulator as a process until the block ends."""
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "SANDBOX_MOCK_SHOPS": json.dumps([{"public_id": "mock_test", "api_secret": MOCK_SECRET}]),
        "SANDBOX_MOCK_PORT": str(port),
        "SANDBOX_MOCK_DATA_DIR": str(folder),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox.providers.mock", "serve", env=environment
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:

            async def healthy() -> bool:
                try:
                    return (await client.get("/healthz")).status_code == 200
                except httpx2.HTTPError:
                    return False

            await eventually(healthy, timeout_s=30)
            yield MockGateway(url, client)
    finally:
        process.terminate()
        await process.wait()


@dataclass
class PayoutWorld:
    """A gateway, its provider, and the updater's tables, with what a test does to all three."""

    context: Context
    provider: MockGateway
    state: Database
    tasks: list[UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.enqueue = self.tasks.extend

    async def payout(
        self,
        *,
        amount_minor: int = 1010,
        status: str = "pending",
        attempt: int = 1,
        recipient: Recipient | None = None,
        payout_id: UUID | None = None,
        provider: str = "mock",
    ) -> UUID:
        """A payout that was asked for here and whose source the updater has debited."""
        payout_id, now = payout_id or new_id(), SystemClock().now()
        recipient = recipient or Recipient(RecipientKind.CARD_TOKEN, token=TOKEN)
        shop = self.context.shops.get(provider, "main")
        assert shop is not None
        row = payout_requests.PayoutRequestRow(
            payout_id=payout_id, origin="payout", account=HOUSE, user_id=new_id(), requested_by="user:1",
            amount_minor=amount_minor, currency="RUB", provider=provider, shop="main",
            recipient_kind=recipient.kind.value, recipient_masked=recipient.masked,
            recipient_sealed=seal(shop.api_secret, recipient, str(payout_id)), requested_at=now,
        )  # fmt: skip
        async with self.context.database.transaction() as tx:
            await payout_requests.add(tx, [row])
        async with self.state.transaction() as tx:
            await tx.execute(
                _PAYOUT,
                {
                    "id": payout_id, "status": status, "attempt": attempt, "now": now, "account": HOUSE,
                    "amount": amount_minor, "recipient": recipient.masked, "provider": provider,
                },
            )  # fmt: skip
            await tx.execute(_DEBIT, {"id": payout_id, "cause": new_id(), "amount": amount_minor, "at": now})
        return payout_id

    def event(self, kind: type[events.PayoutEvent], payout_id: UUID, *, attempt: int = 1, **changes: Any) -> Envelope:
        status = {events.PayoutPending: "pending", events.PayoutProcessing: "processing"}[kind]
        values: dict[str, Any] = {
            "payout_id": payout_id, "version": attempt, "status": status, "account": HOUSE, "amount_minor": 1010,
            "currency": "RUB", "provider": "mock", "shop": "main", "recipient": "***", "attempt": attempt,
        }  # fmt: skip
        return Envelope.new(kind.model_validate(values | changes), source="state-updater")

    async def pending(self, payout_id: UUID, **changes: Any) -> UUID:
        """Tell the gateway that a payout is to be executed; returns the operation that it makes of it."""
        before = {row["id"] for row in await self.table("operations")}
        await event_handler.Events(self.context).handle(self.event(events.PayoutPending, payout_id, **changes))
        (operation_id,) = [row["id"] for row in await self.table("operations") if row["id"] not in before]
        return UUID(str(operation_id))

    async def updater(self) -> None:
        """Let the updater take the reports that wait, as its machine does."""
        async with self.state.transaction() as tx:
            for report in await self.reports():
                status = {"unknown": "processing"}.get(report["status"], report["status"])
                await tx.execute(_TAKE, {"id": UUID(report["payout_id"]), "status": status, "n": report["attempt"]})

    async def set_state(self, payout_id: UUID, status: str, attempt: int = 1) -> None:
        async with self.state.transaction() as tx:
            await tx.execute(
                sa.text("UPDATE state.payouts SET status = :status, attempt = :attempt WHERE id = :id"),
                {"id": payout_id, "status": status, "attempt": attempt},
            )

    async def begun(self, **options: Any) -> tuple[UUID, UUID]:
        """A payout that the updater has under way, and its operation: the next try is the call."""
        payout_id = await self.payout(**options)
        changes = {name: options[name] for name in ("amount_minor", "provider") if name in options}
        operation_id = await self.pending(payout_id, **changes)
        await eventually(lambda: self._announced(operation_id))
        await self.updater()
        return payout_id, operation_id

    async def _announced(self, operation_id: UUID) -> bool:
        return await operations.execute(self.context, operation_id) in ("announced", "waits")

    async def until(self, operation_id: UUID, *ends: str) -> list[str]:
        """Execute an operation until it ends; returns where every try ended."""
        seen: list[str] = []

        async def once() -> bool:
            ended = await operations.execute(self.context, operation_id)
            if ended not in ("early", "leased"):
                seen.append(ended)
            return bool(seen) and seen[-1] in ends

        await eventually(once, timeout_s=20)
        return seen

    async def table(self, name: str) -> list[dict[str, Any]]:
        async with self.context.database.reading() as tx:
            return [row._asdict() for row in await tx.execute(sa.select(tables.metadata.tables[f"gateway.{name}"]))]

    async def operation(self, operation_id: UUID) -> dict[str, Any]:
        return next(row for row in await self.table("operations") if row["id"] == operation_id)

    async def reports(self) -> list[dict[str, Any]]:
        found = sorted(await self.table("outbox"), key=lambda row: int(row["id"]))
        return [json.loads(row["body"]) for row in found if row["routing_key"].startswith("payout.report")]

    async def statuses(self) -> list[str]:
        return [report["status"] for report in await self.reports()]


_PAYOUT = sa.text("""
INSERT INTO state.payouts (id, version, status, attempt, updated_at, account, amount_minor, commission_minor, currency,
    provider, shop, recipient, description, requested_by, requested_at)
VALUES (:id, 1, :status, :attempt, :now, :account, :amount, 0, 'RUB', :provider, 'main', :recipient, '', 'user:1', :now)
ON CONFLICT (id) DO UPDATE SET status = excluded.status, attempt = excluded.attempt
""")
_DEBIT = sa.text("""
INSERT INTO state.transfers (aggregate_id, cause_id, n, debit_account, credit_account, amount_minor, currency, kind, at)
VALUES (:id, :cause, 0, 'house:payouts', 'payouts:in_transit', :amount, 'RUB', 'payout', :at)
""")
_TAKE = sa.text("""
UPDATE state.payouts SET status = :status WHERE id = :id AND attempt = :n AND status IN ('pending', 'processing')
""")


async def put_switch(world: PayoutWorld, name: str, *, stopped: bool, version: int = 1) -> None:
    now = world.context.clock.now()
    switch = Switch(name, stopped, "the bank is closed", version, "user:1", now)
    async with world.context.database.transaction() as tx:
        assert await switches.put(tx, switch, now)


@asynccontextmanager
async def payout_world(
    settings: GatewaySettings, database_urls: dict[str, str], provider: MockGateway, redis_url: str, emulator_url: str
) -> AsyncIterator[PayoutWorld]:
    """Make a gateway with a shop at the mock gateway."""
    shop = {"provider": "mock", "shop": "main", "public_id": "mock_test", "api_secret": MOCK_SECRET}
    told = GatewaySettings.model_validate(
        settings.model_dump()
        | {
            "shops": [*(item.model_dump() | {"api_secret": item.api_secret} for item in settings.shops), shop],
            "mock_gateway_url": provider.url,
            "cloudpayments_api_url": emulator_url,
            "redis_url": redis_url,
            "operation_retry_base_s": 0.001,
            "operation_retry_cap_s": 0.01,
            "operation_timeout_s": 1.0,
            "breaker_failures": 1000,
            "catch_up_after_s": 0.001,
        }
    )
    made = make_context(told, pool_size=4)
    state = Database(database_urls["state_updater"], pool_size=2, application="updater-test")
    yield PayoutWorld(made, provider, state)
    await state.close()
    await made.close()
