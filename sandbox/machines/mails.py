"""A mail sink: takes every mail over SMTP, keeps the last ones, delivers none."""

from __future__ import annotations

import asyncio
import html
import json
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from sandbox.machines.control import fleet_of
from sandbox.machines.store import MAILS_KEPT, Store
from sandbox.machines.wire import now_ms

router = APIRouter()
_MAIL_BYTES_MAX = 2 * 1024 * 1024


class Sink:
    """aiosmtpd's handler."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802, ARG002 - its names
        """Keep a mail."""
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content or "").encode()
        subject = str(make_header(decode_header(message_from_bytes(content).get("Subject", ""))))
        with self._store.unit():
            number = self._store.write(
                "INSERT INTO mails (at_ms, sender, recipients, subject, content) VALUES (?, ?, ?, ?, ?)",
                (now_ms(), envelope.mail_from or "", json.dumps(envelope.rcpt_tos), subject[:500], content),
            )
            self._store.write("DELETE FROM mails WHERE id <= ?", (number - MAILS_KEPT,))
        return "250 OK"


async def listen(store: Store, host: str, port: int) -> asyncio.Server:
    """Take mails on a port."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        lambda: SMTP(Sink(store), data_size_limit=_MAIL_BYTES_MAX, enable_SMTPUTF8=True, loop=loop), host, port
    )


def _texts(message: Message) -> dict[str, str]:
    texts: dict[str, str] = {}
    for part in message.walk():
        if part.get_content_type() in ("text/plain", "text/html"):
            content = part.get_payload(decode=True)
            if isinstance(content, bytes):
                charset = part.get_content_charset() or "utf-8"
                texts[part.get_content_type()] = content.decode(charset, "replace")
    return texts


def _shown(row: tuple[Any, ...]) -> dict[str, Any]:
    texts = _texts(message_from_bytes(row[5]))
    return {
        "id": row[0], "at_ms": row[1], "from": row[2], "to": json.loads(row[3]), "subject": row[4],
        "text": texts.get("text/plain", ""), "html": texts.get("text/html", ""),
    }  # fmt: skip


def _find(store: Store, to: str | None, limit: int) -> list[dict[str, Any]]:
    rows = store.rows(
        "SELECT id, at_ms, sender, recipients, subject, content FROM mails ORDER BY id DESC LIMIT ?", (MAILS_KEPT,)
    )
    chosen = [row for row in rows if to is None or to.lower() in str(row[3]).lower()]
    return [_shown(row) for row in chosen[:limit]]


@router.get("/control/mails")
async def mails(request: Request, to: str | None = None, limit: int = Query(100, ge=1, le=MAILS_KEPT)) -> Response:
    """The newest mails first."""
    return JSONResponse({"items": _find(fleet_of(request).store, to, limit)})


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Mails</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:16px/1.5 system-ui,sans-serif;margin:1rem auto;max-width:44rem;padding:0 1rem}li{margin:.5rem 0}
pre{white-space:pre-wrap;background:#f2f4f7;padding:1rem;border-radius:.5rem}</style></head><body>%s</body></html>"""


@router.get("/mails")
async def mails_page(request: Request) -> Response:
    """What has come, as a page."""
    lines = [
        f'<li><a href="/mails/{mail["id"]}">{html.escape(mail["subject"]) or "(no subject)"}</a><br>'
        f"{html.escape(', '.join(mail['to']))}</li>"
        for mail in _find(fleet_of(request).store, None, 200)
    ]
    listed = f"<ul>{''.join(lines)}</ul>" if lines else "<p>No mail has come yet.</p>"
    return HTMLResponse(_PAGE % f"<h1>Mails</h1>{listed}")


@router.get("/mails/{mail_id}")
async def mail_page(request: Request, mail_id: int) -> Response:
    """One mail's text."""
    rows = fleet_of(request).store.rows(
        "SELECT id, at_ms, sender, recipients, subject, content FROM mails WHERE id = ?", (mail_id,)
    )
    if not rows:
        raise HTTPException(404, "no such mail")
    mail = _shown(rows[0])
    who = f"{html.escape(mail['from'])} → {html.escape(', '.join(mail['to']))}"
    head = f"<h1>{html.escape(mail['subject'])}</h1><p>{who}</p>"
    return HTMLResponse(_PAGE % f"{head}<pre>{html.escape(mail['text'] or mail['html'])}</pre>")
