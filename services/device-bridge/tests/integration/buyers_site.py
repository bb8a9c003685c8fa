"""The buyers' pages served for real: a machine on sale, and what the state updater and the machine would say."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx2

from copeck.contracts.envelope import Envelope
from copeck.contracts.events import (
    InvoiceCanceled,
    InvoiceEvent,
    InvoiceExpired,
    InvoiceIssued,
    InvoicePaid,
    RefundEvent,
    RefundFailed,
    RefundPending,
    RefundSucceeded,
)
from copeck.contracts.machines import sign_link
from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id
from copeck.testkit.tokens import TokenMint
from copeck.web.keys import StaticKeys
from copeck.web.server import Server, server_config
from device_bridge.domain.model import MachineState, Order, Report
from device_bridge.handlers import invoices
from device_bridge.handlers.reports import on_report, on_state
from device_bridge.service import build_app
from device_bridge.settings import DevicesSettings
from device_bridge.store import devices, orders

from .catalogue_site import Person, Site

DEVICE = "kofe-17"
HTML = {"Accept": "text/html,application/xhtml+xml", "Accept-Language": "ru"}
INVOICES: Mapping[str, type[InvoiceEvent]] = {
    "issued": InvoiceIssued,
    "paid": InvoicePaid,
    "expired": InvoiceExpired,
    "canceled": InvoiceCanceled,
}
REFUNDS: Mapping[str, type[RefundEvent]] = {
    "pending": RefundPending,
    "succeeded": RefundSucceeded,
    "failed": RefundFailed,
}


@dataclass
class Buyers(Site):
    """A machine with drinks, and everybody around it."""

    owner: Person | None = None
    versions: dict[UUID, int] = field(default_factory=dict)

    async def open(self, **changes: Any) -> None:
        """Put a machine on sale that is alive."""
        self.owner = await self.merchant()
        await self.device(self.owner, DEVICE, **{"model": "mqtt-v1", "location": "Tverskaya 1", **changes})
        await self.drink(self.owner, DEVICE)
        await self.drink(self.owner, DEVICE, "180.00", size="large")
        await self.drink(self.owner, DEVICE, "90.00", drink_id="tea", name="Чай", size="small")
        await self.says("ready")
        await self.beats()

    async def says(self, state: MachineState, *, online: bool = True, sold_out: list[Any] | None = None) -> None:
        """Let the machine say how it is."""
        await on_state(
            self.context, DEVICE, online=online, state=state, error_code="", sold_out=sold_out or [], at=None
        )

    async def page(self, path: str, *, expect: int = 200, **options: Any) -> httpx2.Response:
        """Open a page as a browser does, without following redirects."""
        answer = await self.http.get(path, headers=HTML | options.pop("headers", {}), **options)
        assert answer.status_code == expect, f"{path}: {answer.status_code}: {answer.text[:800]}"
        return answer

    async def send(self, form: dict[str, str], *, expect: int = 303, **options: Any) -> httpx2.Response:
        """Send the order form as a browser does."""
        answer = await self.http.post(
            f"/m/{DEVICE}/orders", data=form, headers=HTML | options.pop("headers", {}), **options
        )
        assert answer.status_code == expect, f"{answer.status_code}: {answer.text[:800]}"
        return answer

    async def form(self, drink: str = "latte", size: str = "medium", **query: str) -> dict[str, str]:
        """Open the order page and return its form's fields."""
        shown = await self.page(f"/m/{DEVICE}/order", params={"drink": drink, "size": size, **query})
        return fields_of(shown.text)

    async def bought(self, **changes: str) -> tuple[UUID, str]:
        """Fill the form in and send it; return the order and its token."""
        async with self.updater():
            answer = await self.send(await self.form() | changes)
        return order_in(answer.headers["Location"])

    def link(self, *, order: str = "m-1", drink: str = "latte", size: str = "medium", age_s: int = 0) -> dict[str, str]:
        """Return what a link says that the machine shows."""
        [(number,)] = self.sql("SELECT key_number FROM devices.devices WHERE id = %s", DEVICE)
        from device_bridge.domain.keys import device_key

        key = device_key(self.context.settings.secret(), DEVICE, number)
        ts = int((self.clock.now() - timedelta(seconds=age_s)).timestamp())
        sig = sign_link(key, device=DEVICE, drink=drink, size=size, order=order, ts=ts)
        return {"drink": drink, "size": size, "order": order, "ts": str(ts), "sig": sig}

    async def order_of(self, order_id: UUID) -> Order:
        """Return an order as it is stored."""
        async with self.context.database.reading() as tx:
            found = await orders.find(tx, order_id)
        assert found is not None
        return found

    async def hear(self, order_id: UUID, status: str) -> None:
        """Let the state updater say what became of an order's invoice."""
        order = await self.order_of(order_id)
        version = self.versions[order_id] = self.versions.get(order_id, 0) + 1
        event = INVOICES[status](
            invoice_id=order.invoice_id, version=version, status=status, kind="coffee", product="coffee",  # type: ignore[arg-type]
            account=order.account, amount_minor=order.price_minor, currency=order.currency, expires_at=order.expires_at,
        )  # fmt: skip
        await invoices.on_event(self.context, Envelope.new(event, source="state-updater", clock=self.clock))

    async def refunded(self, order_id: UUID, status: str) -> None:
        """Let the state updater say what became of an order's refund."""
        order = await self.order_of(order_id)
        version = self.versions[order_id] = self.versions.get(order_id, 0) + 1
        event = REFUNDS[status](
            refund_id=order.refund_id or new_id(), invoice_id=order.invoice_id, version=version,
            status=status, origin="requested" if order.refund_id else "late_payment", account=order.account,  # type: ignore[arg-type]
            amount_minor=order.price_minor, currency=order.currency,
        )  # fmt: skip
        await invoices.on_event(self.context, Envelope.new(event, source="state-updater", clock=self.clock))

    async def reports(self, order_id: UUID, state: str, code: str = "") -> None:
        """Let the machine report on an order's command."""
        [(command_id,)] = self.sql("SELECT id FROM devices.brew_commands WHERE order_id = %s", order_id)
        await on_report(self.context, Report(DEVICE, command_id, state, self.clock.now(), code))

    def sent(self, order_id: UUID) -> None:
        """Note that an order's command was handed on."""
        self.sql("UPDATE devices.brew_commands SET state = 'sent', sent_count = 1 WHERE order_id = %s", order_id)

    @asynccontextmanager
    async def updater(self) -> AsyncIterator[None]:
        """Issue the invoices of new orders, as the state updater does."""

        async def issue() -> None:
            while True:
                for (order_id,) in self.sql("SELECT id FROM devices.orders WHERE status = 'created'"):
                    await self.hear(order_id, "issued")
                await asyncio.sleep(0.01)

        task = asyncio.create_task(issue())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def beats(self) -> None:
        """Let the machine's heartbeat arrive."""
        async with self.context.database.transaction() as tx:
            await devices.note_heartbeats(tx, [DEVICE], self.clock.now())


def fields_of(html: str) -> dict[str, str]:
    """Return the fields of the order form, as they are filled in."""
    inputs = re.findall(r"<input ([^>]*)>", html)
    found: dict[str, str] = {}
    for text in inputs:
        attributes = dict(re.findall(r'([a-z_]+)="([^"]*)"', text))
        found[attributes["name"]] = attributes.get("value", "")
    return found


def order_in(location: str) -> tuple[UUID, str]:
    """Return the order and its token from where the form's answer leads."""
    from urllib.parse import unquote

    found = re.search(r"/m/orders/([0-9a-f-]{36})\?k=([A-Za-z0-9_-]+)", unquote(location))
    assert found, location
    return UUID(found[1]), found[2]


@asynccontextmanager
async def buyers_of(
    database_urls: dict[str, str], mint: TokenMint, clock: ManualClock, **changes: Any
) -> AsyncIterator[Buyers]:
    """Serve the application on a socket: streams of events need one."""
    settings = DevicesSettings(
        database_url=database_urls["devices"],
        public_url="http://coffee.test",
        device_secret="a secret of tests that is long enough",  # type: ignore[arg-type]
        **changes,
    )
    app = build_app(settings, clock=clock, keys=StaticKeys(mint.jwks()), with_bus=False)
    config = server_config(app, settings)
    config.port, config.log_level = 0, "error"
    server = Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server._serve())
    while not server.started:
        if serving.done():
            await serving
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
            yield Buyers(app, http, mint, app.state.context, clock, database_urls["admin"])
    finally:
        app.state.stopping = True
        server.should_exit = True
        await serving
