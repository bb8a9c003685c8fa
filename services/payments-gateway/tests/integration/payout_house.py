"""A gateway with a real updater behind it: people with tokens, a relay, and the word of the provider by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx2

from copeck.contracts import commands
from copeck.messaging.outbox import Relay
from copeck.messaging.publisher import Publisher
from copeck.testkit.rabbit import Broker
from copeck.testkit.tokens import TokenMint
from copeck.testkit.waiting import eventually
from payments_gateway import tables
from payments_gateway.handlers.context import Context
from payments_gateway.main import build
from payments_gateway.settings import GatewaySettings
from tests.support.updater import running, send

PREFIX = "/payments/api/v1"
PHONE = "+79161234567"
SBP = {"kind": "sbp", "phone": PHONE, "bank_id": "100000000004", "name": "Анна Петрова"}
SECRET = "test_secret_key"
SHOPS = [{"provider": "mock", "shop": "main", "public_id": "pk_mock", "api_secret": SECRET}]


@dataclass
class Someone:
    """A person with a role, and their requests."""

    client: httpx2.AsyncClient
    user_id: UUID
    token: str

    async def call(
        self, method: str, path: str, *, key: str | None = "", wait: bool = False, **options: Any
    ) -> httpx2.Response:
        """Make one request; POSTs get an idempotency key of their own unless one is given."""
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        if method == "POST" and key is not None:
            headers["Idempotency-Key"] = key or str(uuid4())
        if wait:
            headers["Prefer"] = "wait=15"
        return await self.client.request(method, f"{PREFIX}{path}", headers=headers, **options)

    @property
    def actor(self) -> str:
        """The person in commands."""
        return f"user:{self.user_id}"


@dataclass
class House:
    """A gateway, driven over HTTP without a socket."""

    context: Context
    client: httpx2.AsyncClient
    mint: TokenMint
    people: dict[str, Someone] = field(default_factory=dict)
    broker: Broker | None = None
    database_url: str = ""

    def someone(self, *roles: str, name: str = "") -> Someone:
        """Return the person of a name (by default the roles), who is made when first asked for."""
        known = name or "+".join(roles)
        if known not in self.people:
            user_id = uuid4()
            token = self.mint.token(user_id, ("customer", *roles))
            self.people[known] = Someone(self.client, user_id, token)
        return self.people[known]

    @property
    def manager(self) -> Someone:
        """A manager."""
        return self.someone("manager")

    @property
    def other_manager(self) -> Someone:
        """Another one."""
        return self.someone("manager", name="the other manager")

    async def ask(self, who: Someone | None = None, *, value: str = "150.00", **changes: Any) -> httpx2.Response:
        """Ask for a payout and wait for the updater, if one runs."""
        body = {
            "source": "house:payouts",
            "amount": {"value": value, "currency": "RUB"},
            "recipient": SBP,
            "description": "Royalties",
        } | changes
        return await (who or self.manager).call("POST", "/payouts", json=body, wait=self.broker is not None)

    async def payout(self, who: Someone | None = None, **changes: Any) -> str:
        """The same, and return its id."""
        answer = await self.ask(who, **changes)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def seen(self, payout_id: str, who: Someone | None = None) -> dict[str, Any]:
        """Read a payout."""
        answer = await (who or self.manager).call("GET", f"/payouts/{payout_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def becomes(self, payout_id: str, status: str) -> dict[str, Any]:
        """Wait until a payout has a status."""
        found: dict[str, Any] = {}

        async def look() -> bool:
            found.clear()
            found.update(await self.seen(payout_id))
            return bool(found["status"] == status)

        await eventually(look, timeout_s=20, message=f"{payout_id} did not become {status}")
        return found

    async def report(self, payout_id: str, status: str, attempt: int = 1, **more: Any) -> None:
        """Say as the worker would what the provider said."""
        assert self.broker is not None
        account = (await self.seen(payout_id))["source"]
        terms: dict[str, Any] = {"status": status, **more}
        word = commands.PayoutReport(account=account, payout_id=UUID(payout_id), attempt=attempt, **terms)
        await send(self.broker, "gateway", [word])


@asynccontextmanager
async def house_of(settings: GatewaySettings, context: Context, mint: TokenMint) -> AsyncIterator[House]:
    """Build a house without an updater."""
    app = build(settings, context, bus=False)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://gateway", timeout=60
    ) as client:
        yield House(context, client, mint)


@asynccontextmanager
async def decided(house: House, broker: Broker, environment: Callable[..., dict[str, str]]) -> AsyncIterator[House]:
    """Run a real updater, and the relay of the gateway's outbox."""
    publisher = Publisher(broker.urls["gateway"], name="test-relay")
    relay = Relay(house.context.database, tables.outbox, publisher)
    house.context.poke_relay = relay.poke
    task = asyncio.create_task(relay.run())
    house.broker = broker
    try:
        async with running(environment("state_updater", "state-updater")):
            yield house
    finally:
        await relay.stop()
        await asyncio.wait_for(task, 20)
        await publisher.close()
