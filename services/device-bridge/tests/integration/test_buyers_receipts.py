"""Receipts by e-mail, through a real socket: sent once, tried again, given up, and never to a phone."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest

from copeck.kernel.clock import ManualClock
from copeck.testkit.tokens import TokenMint
from device_bridge.handlers import receipts

from .buyers_site import Buyers, buyers_of

pytestmark = pytest.mark.integration

ADDRESS = "anna@example.org"


class MailServer:
    """A mail server that says what it is told to."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answer_to_data = b"250 taken"
        self.answer_to_recipient = b"250 ok"
        self.port = 0

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._talk, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        while line := await reader.readline():
            command = line.strip().upper()
            if command.startswith(b"RCPT"):
                writer.write(self.answer_to_recipient + b"\r\n")
            elif command == b"DATA":
                writer.write(b"354 go on\r\n")
                raw = await reader.readuntil(b"\r\n.\r\n")
                writer.write(self.answer_to_data + b"\r\n")
                if self.answer_to_data.startswith(b"250"):
                    found = message_from_bytes(raw.removesuffix(b".\r\n"), policy=policy.default)
                    self.mails.append(found)
            elif command == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 ok\r\n")
            await writer.drain()
        writer.close()


@pytest.fixture
async def mail() -> AsyncIterator[MailServer]:
    found = MailServer()
    server = await found.serve()
    yield found
    server.close()
    await server.wait_closed()


@pytest.fixture
async def site(database_urls: dict[str, str], token_mint: TokenMint, mail: MailServer) -> AsyncIterator[Buyers]:
    clock = ManualClock(datetime(2026, 11, 30, 9, 0, tzinfo=UTC))
    settings: dict[str, Any] = {"smtp_url": f"smtp://127.0.0.1:{mail.port}", "receipt_tries_max": 3}
    async with buyers_of(database_urls, token_mint, clock, rate_limit_factor=100, **settings) as found:
        await found.open()
        yield found


async def made(site: Buyers, **changes: str) -> UUID:
    """Buy a cup that is brewed."""
    order_id, _ = await site.bought(contact=ADDRESS, **changes)
    await site.hear(order_id, "paid")
    site.sent(order_id)
    await site.reports(order_id, "done")
    return order_id


def rows(site: Buyers) -> list[tuple[Any, ...]]:
    return site.sql("SELECT kind, status, tries, last_error FROM devices.receipts ORDER BY kind")


async def test_a_receipt_is_sent_once(site: Buyers, mail: MailServer) -> None:
    order_id = await made(site)
    assert rows(site) == [("receipt", "waiting", 0, "")]
    both = await asyncio.gather(receipts.send_due(site.context), receipts.send_due(site.context, [order_id]))
    assert sorted(both, key=len) == [{}, {"sent": 1}]
    assert rows(site) == [("receipt", "sent", 1, "")]
    [message] = mail.mails
    assert message["To"] == ADDRESS
    assert "Латте" in message["Subject"]
    text = message.get_content()
    link = next(word for word in text.split() if word.startswith("http://coffee.test/m/orders/"))
    site.http.cookies.clear()
    page = await site.page(link.removeprefix("http://coffee.test"))
    assert "a***@example.org" in page.text
    assert ADDRESS not in page.text
    assert await receipts.send_due(site.context) == {}


async def test_a_refund_is_told_too(site: Buyers, mail: MailServer) -> None:
    order_id, _ = await site.bought(contact=ADDRESS)
    await site.hear(order_id, "paid")
    site.sent(order_id)
    await site.reports(order_id, "failed", "no_water")
    assert rows(site) == []
    await site.refunded(order_id, "succeeded")
    assert await receipts.send_due(site.context) == {"sent": 1}
    assert mail.mails[0]["Subject"].startswith("Возврат за кофе")


async def test_a_failure_is_tried_again_later_and_at_last_given_up(site: Buyers, mail: MailServer) -> None:
    order_id = await made(site)
    mail.answer_to_data = b"451 later"
    assert await receipts.send_due(site.context) == {"waiting": 1}
    assert rows(site) == [("receipt", "waiting", 1, "smtp 451")]
    assert await receipts.send_due(site.context) == {}, "not before its time"
    for expected in ("waiting", "failed"):
        site.clock.advance(timedelta(minutes=30))
        assert await receipts.send_due(site.context) == {expected: 1}
    assert rows(site) == [("receipt", "failed", 3, "smtp 451")]
    page = await site.page(f"/m/orders/{order_id}")
    assert "Не удалось отправить чек" in page.text
    site.clock.advance(timedelta(days=1))
    assert await receipts.send_due(site.context) == {}


async def test_an_address_that_does_not_exist_is_given_up_at_once(site: Buyers, mail: MailServer) -> None:
    await made(site)
    mail.answer_to_recipient = b"550 no such user anna@example.org"
    assert await receipts.send_due(site.context) == {"failed": 1}
    assert rows(site) == [("receipt", "failed", 1, "smtp 550")]


async def test_a_server_that_is_not_there_is_waited_for(site: Buyers, mail: MailServer) -> None:
    await made(site)
    settings = site.context.settings.model_copy(update={"smtp_url": "smtp://127.0.0.1:1"})
    from dataclasses import replace

    assert await receipts.send_due(replace(site.context, settings=settings)) == {"waiting": 1}
    assert rows(site) == [("receipt", "waiting", 1, "ConnectionRefusedError")]
    site.clock.advance(timedelta(minutes=1))
    assert await receipts.send_due(site.context) == {"sent": 1}


async def test_what_a_dead_worker_held_is_found_again(site: Buyers, mail: MailServer) -> None:
    from dataclasses import replace

    from device_bridge.store import receipts as store

    order_id = await made(site)
    async with site.context.database.transaction() as tx:
        [lost] = await store.claim(tx, site.clock.now(), receipts.LEASE, 5)
    assert await receipts.send_due(site.context) == {}
    asked: list[list[UUID]] = []
    context = replace(site.context, send_receipts=lambda ids: asked.append(list(ids)))
    assert await receipts.wake_due(context) == 0
    site.clock.advance(receipts.LEASE)
    assert await receipts.wake_due(context) == 1
    assert asked == [[order_id]]
    assert await receipts.send_due(site.context) == {"sent": 1}
    async with site.context.database.transaction() as tx:
        assert not await store.settle(tx, lost, "failed", error="late"), "its lease was over"
    assert rows(site) == [("receipt", "sent", 2, "")]


async def test_without_a_mail_server_receipts_wait(site: Buyers) -> None:
    from dataclasses import replace

    await made(site)
    context = replace(site.context, settings=site.context.settings.model_copy(update={"smtp_url": ""}))
    assert await receipts.send_due(context) == {}
    assert await receipts.wake_due(context) == 0
    assert rows(site) == [("receipt", "waiting", 0, "")]
