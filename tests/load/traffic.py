"""The traffic: sixteen people at a time, each of whom asks for the next thing as soon as the last was accepted."""

import asyncio
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.load.people import CURRENCY, Owner, World
from tests.load.wire import Connection

SHARES: dict[str, int] = {"pay": 40, "deposit": 30, "withdraw": 20, "refund": 10}
# A refund is asked for what was paid a while ago: people do not change their minds within a second.
_PAID_AGO_S = 2.0
_PATH = "/payments/api/v1/payments"


@dataclass(slots=True)
class Asked:
    """One request: what was asked, when, of which wallet, and under which id its decision is found."""

    kind: str
    hot: bool
    began: float
    answered: float
    status: int
    id: str
    other_id: str = ""


@dataclass
class Traffic:
    """What was asked so far, and what is left to ask for."""

    world: World
    gateway: str
    subscriptions: str
    random: random.Random
    asked: list[Asked] = field(default_factory=list)
    paid: list[tuple[float, uuid.UUID, bool]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    async def run(self, clients: int, seconds: float) -> None:
        """Keep so many clients busy for so long."""
        ends = time.monotonic() + seconds
        await asyncio.gather(*(self._client(ends) for _ in range(clients)))

    async def _client(self, ends: float) -> None:
        places = [urlsplit(url) for url in (self.gateway, self.subscriptions)]
        gateway, subscriptions = (Connection(place.hostname or "", place.port or 80) for place in places)
        kinds, weights = list(SHARES), list(SHARES.values())
        try:
            while time.monotonic() < ends:
                kind = self.random.choices(kinds, weights)[0]
                hot = self.random.random() < 0.5
                owner = self.world.owners[0] if hot else self.random.choice(self.world.owners[1:])
                if kind == "refund":
                    await self._refund(subscriptions)
                else:
                    await self._wallet(gateway, kind, owner, hot=hot)
        finally:
            await gateway.close()
            await subscriptions.close()

    async def _wallet(self, connection: Connection, kind: str, owner: Owner, *, hot: bool) -> None:
        body: dict[str, Any]
        invoice = None
        if kind == "pay":
            if not self.world.invoices:
                self.errors["no invoice is left to pay"] += 1
                return
            invoice = self.world.invoices.pop()
            body = {"invoice_id": str(invoice)}
        else:
            minor = self.random.randint(100, 5_000)
            amount = {"value": f"{minor // 100}.{minor % 100:02d}", "currency": CURRENCY}
            body = {"amount": amount, "provider": "mock"}
            if kind == "withdraw":
                body["recipient"] = {"kind": "card_token", "token": f"tk_load_{self.random.randint(1, 1000)}"}
        asked = await self._ask(connection, kind, f"{_PATH}/{kind}", body, owner, hot=hot)
        if asked is not None and invoice is not None:
            asked.other_id = str(invoice)
            self.paid.append((time.monotonic(), invoice, hot))

    async def _refund(self, connection: Connection) -> None:
        if not self.paid or self.paid[0][0] > time.monotonic() - _PAID_AGO_S:
            await asyncio.sleep(0.01)
            return
        _, invoice, hot = self.paid.pop(0)
        path = f"/admin/api/v1/invoices/{invoice}/refund"
        await self._ask(connection, "refund", path, {"reason": "load"}, self.world.manager, hot=hot)

    async def _ask(
        self, connection: Connection, kind: str, path: str, body: dict[str, Any], owner: Owner, *, hot: bool
    ) -> Asked | None:
        began = time.time()
        headers = {**owner.headers, "Idempotency-Key": str(uuid.uuid4())}
        try:
            status, answer = await connection.post(path, body, headers)
        except (OSError, TimeoutError) as error:
            self.errors[f"{kind}: {error}"[:120]] += 1
            return None
        if status != 202:
            self.errors[f"{kind}: {status} {answer.get('type', '')} {answer.get('detail', '')}"[:160]] += 1
            return None
        asked = Asked(kind, hot, began, time.time(), status, str(answer["id"]))
        self.asked.append(asked)
        return asked
