"""Sending notifications: Check at once and never again; the others until they are answered, up to 100 times."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from pydantic import BaseModel

from sandbox.providers.cloudpayments import notices
from sandbox.providers.cloudpayments.chaos import Chaos, Switch
from sandbox.providers.cloudpayments.http_client import BadReplyError, ConnectFailedError, HttpClient
from sandbox.providers.cloudpayments.reasons import CHECK_REFUSALS
from sandbox.providers.cloudpayments.settings import NoticeType, Settings, Shop
from sandbox.providers.cloudpayments.signing import signature_headers
from sandbox.providers.cloudpayments.store import Store, Transaction, now_ms

# Pauses between attempts; the last repeats.
RETRY_MINUTES = (1, 2, 5, 10, 30)
_SETTLE_S = 5.0
_UNAVAILABLE, _UNABLE_TO_CONNECT, _FORMAT_ERROR = 3006, 3007, 3005


class Address(BaseModel):
    """Where one type of notification goes, as ``site/notifications/{type}`` shows it."""

    enabled: bool
    url: str = ""
    method: Literal["GET", "POST"] = "POST"
    encoding: Literal["UTF8", "Windows1251"] = "UTF8"
    format: Literal["CloudPayments", "QIWI", "RT"] = "CloudPayments"
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended."""

    ok: bool
    status: int | None
    code: int | None
    body: str
    error: str | None
    elapsed_ms: int

    def details(self) -> dict[str, Any]:
        """What the log keeps of it."""
        return {name: getattr(self, name) for name in ("status", "code", "body", "error", "elapsed_ms")}


class Delivery:
    """Queue of notifications, kept in the store and mirrored by a heap of due times."""

    def __init__(self, store: Store, settings: Settings, shops: dict[str, Shop]) -> None:
        self._store, self._settings, self._shops = store, settings, shops
        self._client = HttpClient()
        self._heap: list[tuple[int, int]] = []
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(settings.notify_parallel_max)
        self._sending: set[asyncio.Task[None]] = set()
        self._in_flight: set[int] = set()
        self._addresses: dict[tuple[str, NoticeType], Address] = {}
        self.chaos = Chaos()
        self.held = False
        self._load()

    def _load(self) -> None:
        """Read the switches and the queue from the store."""
        self.chaos = Chaos.model_validate_json(self._store.keep_get("chaos") or "{}")
        self.chaos.watch(self._keep_chaos)
        self.held = self._store.keep_get("held") == "1"
        rows = self._store.rows("SELECT due_ms, id FROM notifications WHERE state = 'pending'")
        self._heap = [(int(due), int(number)) for due, number in rows if number not in self._in_flight]
        heapq.heapify(self._heap)

    def forget(self) -> None:
        """Read the (emptied) store again."""
        self._addresses.clear()
        self._load()
        self._wake.set()

    def set_chaos(self, chaos: Chaos) -> None:
        """Replace the faults; inside a unit."""
        chaos.watch(self._keep_chaos)
        self.chaos = chaos
        self._keep_chaos()

    def _keep_chaos(self) -> None:
        # Kept at each use too: an armed fault must not go off again after a restart.
        self._store.keep_set("chaos", self.chaos.model_dump_json())

    # Addresses

    def address(self, shop: Shop, kind: NoticeType) -> Address:
        """The address in force: what the API has set, else what the shop's settings say."""
        key = (shop.public_id, kind)
        if key not in self._addresses:
            rows = self._store.rows("SELECT document FROM addresses WHERE public_id = ? AND type = ?", key)
            self._addresses[key] = Address.model_validate_json(rows[0][0]) if rows else self._default(shop, kind)
        return self._addresses[key]

    def _default(self, shop: Shop, kind: NoticeType) -> Address:
        if not shop.notify_url or kind not in shop.notify_types:
            return Address(enabled=False)
        url = shop.notify_url.replace("{type}", kind).replace("{shop}", shop.name)
        return Address(enabled=True, url=url, method=shop.notify_method, as_json=shop.notify_body == "json")

    def set_address(self, shop: Shop, kind: NoticeType, address: Address) -> None:
        """Change an address; inside a unit."""
        self._store.write(
            "INSERT OR REPLACE INTO addresses VALUES (?, ?, ?)",
            (shop.public_id, kind.value, address.model_dump_json().encode()),
        )
        self._addresses[(shop.public_id, kind)] = address

    # Check

    async def check(self, shop: Shop, tx: Transaction, amount: int) -> int:
        """Ask the shop whether it takes the payment: 0, or the reason code of the refusal. Never repeated."""
        address = self.address(shop, NoticeType.CHECK)
        if not address.enabled:
            return 0
        fields = notices.payment_fields(NoticeType.CHECK, tx, shop, amount=amount)
        body, content_type = notices.encode(fields, as_json=address.as_json, encoding=address.encoding)
        outcome = await self._attempt(shop, address, body, content_type, None)
        refusal = _check_reason(outcome)
        with self._store.unit():
            self._store.log_of("check.answered", tx, amount, refusal=refusal, **outcome.details())
        return refusal

    # The others

    def queue(self, shop: Shop, kind: NoticeType, fields: notices.Fields, tx: Transaction | None) -> int | None:
        """Queue one notification inside the unit that changed the state; chaos decides its fate here."""
        address = self.address(shop, kind)
        if not address.enabled:
            return None
        body, content_type = notices.encode(fields, as_json=address.as_json, encoding=address.encoding)
        subject = f"{tx.id if tx else fields.get('Id')}/{kind}"
        invoice_id = tx.invoice_id if tx else None
        struck = [
            switch for switch in (Switch.DROP, Switch.DELAY, Switch.REORDER, Switch.DUPLICATE, Switch.FORGED)
            if self.chaos.strikes(switch, kind, subject, invoice_id=invoice_id, public_id=shop.public_id)
        ]  # fmt: skip
        options, due = self.chaos.options, now_ms()
        if Switch.DELAY in struck:
            due += self.chaos.between(options.delay_ms, subject)
        if Switch.REORDER in struck:
            due += options.reorder_window_ms
        common = {
            "public_id": shop.public_id, "kind": kind.value, "transaction_id": tx.id if tx else None,
            "invoice_id": invoice_id, "body": body, "content_type": content_type,
        }  # fmt: skip
        number = self._add(common, due, "dropped" if Switch.DROP in struck else "pending")
        if Switch.DUPLICATE in struck:
            self._add(common, due + self.chaos.between(options.duplicate_delay_ms, subject), copy_of=number)
        if Switch.FORGED in struck and tx is not None:
            self.queue_forged(shop, NoticeType.PAY, _forged_pay(shop, tx), invoice_id)
        self._store.log(
            "notification.queued", shop.public_id, transaction_id=tx.id if tx else None, invoice_id=invoice_id,
            notification=number, type=kind.value, due_ms=due, chaos=[switch.value for switch in struck],
        )  # fmt: skip
        return number

    def queue_forged(self, shop: Shop, kind: NoticeType, fields: notices.Fields, invoice_id: str | None) -> int:
        """Queue a notification that the provider did not send: it is tried once, with a signature that is wrong."""
        address = self.address(shop, kind)
        body, content_type = notices.encode(fields, as_json=address.as_json)
        common = {
            "public_id": shop.public_id, "kind": kind.value, "transaction_id": int(fields.get("TransactionId") or 0),
            "invoice_id": invoice_id, "body": body, "content_type": content_type,
        }  # fmt: skip
        return self._add(common, now_ms(), forged=self.chaos.options.forged_with)

    def _add(self, common: dict[str, Any], due: int, state: str = "pending", **more: Any) -> int:
        number = self._store.add_notification(due_ms=due, state=state, **common, **more)
        if state == "pending":
            heapq.heappush(self._heap, (due, number))
            self._wake.set()
        return number

    def set_held(self, held: bool) -> None:
        """Hold back everything that is queued, or let it go; inside a unit."""
        self.held = held
        self._store.keep_set("held", "1" if held else "0")
        self._wake.set()

    def hurry(self) -> None:
        """Make everything that waits for its next attempt due now; inside a unit."""
        self._store.write("UPDATE notifications SET due_ms = ? WHERE state = 'pending'", (now_ms(),))
        self.forget()

    def pending(self) -> int:
        """How many notifications are still to be delivered, those being sent included."""
        return int(self._store.rows("SELECT count(*) FROM notifications WHERE state = 'pending'")[0][0])

    async def run(self) -> None:
        """Send what is due until cancelled."""
        while True:
            self._wake.clear()
            wait_s: float | None = None
            if not self.held and self._heap:
                wait_s = max(0.0, (self._heap[0][0] - now_ms()) / 1000)
                if wait_s == 0.0:
                    _due, number = heapq.heappop(self._heap)
                    await self._slots.acquire()
                    self._in_flight.add(number)
                    task = asyncio.create_task(self._deliver(number))
                    self._sending.add(task)
                    task.add_done_callback(self._sent)
                    continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._slots.release()

    async def settle(self) -> None:
        """Wait for the attempts under way, but not long."""
        if self._sending:
            await asyncio.wait(list(self._sending), timeout=_SETTLE_S)

    async def stop(self) -> None:
        """Give up the attempts under way; they are made again after a restart."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        self._client.close()

    async def _deliver(self, number: int) -> None:
        rows = self._store.rows(
            "SELECT public_id, type, transaction_id, invoice_id, body, content_type, forged, attempts, state"
            " FROM notifications WHERE id = ?",
            (number,),
        )
        if not rows or rows[0][8] != "pending" or rows[0][0] not in self._shops:
            self._in_flight.discard(number)
            return
        public_id, kind, tx_id, invoice_id, body, content_type, forged, attempts, _state = rows[0]
        shop = self._shops[public_id]
        address = self.address(shop, NoticeType(kind))
        try:
            outcome = await self._attempt(shop, address, bytes(body), content_type, forged)
        finally:
            self._in_flight.discard(number)
        attempt = attempts + 1
        ok = outcome.ok and not self.chaos.strikes(
            Switch.LOSE_ANSWER, kind, f"{number}/{attempt}", invoice_id=invoice_id, public_id=public_id
        )
        state, due = self._next(ok, attempt, forged)
        with self._store.unit():
            touched = self._store.write(
                "UPDATE notifications SET attempts = ?, state = ?, due_ms = ? WHERE id = ?",
                (attempt, state, due, number),
            )
            if touched:
                self._store.log(
                    "notification.forged" if forged else "notification.attempt", public_id, transaction_id=tx_id,
                    invoice_id=invoice_id, notification=number, type=kind, attempt=attempt, state=state,
                    counted=ok, **outcome.details(),
                )  # fmt: skip
        if touched and state == "pending":
            heapq.heappush(self._heap, (due, number))
            self._wake.set()

    def _next(self, ok: bool, attempt: int, forged: str | None) -> tuple[str, int]:
        if forged or ok:
            return ("forged" if forged else "delivered"), now_ms()
        if attempt >= self._settings.notify_attempts_max:
            return "gave_up", now_ms()
        minutes = RETRY_MINUTES[min(attempt, len(RETRY_MINUTES)) - 1]
        return "pending", now_ms() + max(1, int(minutes * 60_000 * self._settings.time_scale))

    async def _attempt(
        self, shop: Shop, address: Address, body: bytes, content_type: str, forged: str | None
    ) -> Outcome:
        secret = shop.api_secret.get_secret_value()
        signed = body
        if forged == "wrong_secret":
            secret = f"not-{secret[::-1]}"
        elif forged == "stale_signature":
            signed = body + b"0"
        headers = {"User-Agent": "CloudPayments"}
        if forged != "no_signature":
            headers |= signature_headers(secret, signed, url_encoded=content_type != notices.JSON)
        url = address.url
        if address.method == "GET":
            url = f"{url}{'&' if '?' in url else '?'}{body.decode('ascii')}"
        else:
            headers["Content-Type"] = content_type
        started = time.monotonic()
        status, text, error = None, b"", None
        try:
            reply = await self._client.send(address.method, url, headers, body, self._settings.notify_timeout_s)
            status, text = reply.status, reply.body
        except ConnectFailedError:
            error = "connect"
        except BadReplyError:
            error = "reply"
        except TimeoutError:
            error = "timeout"
        code = _answer_code(text) if status == 200 else None
        elapsed_ms = int((time.monotonic() - started) * 1000)
        return Outcome(code == 0, status, code, text[:200].decode("utf-8", "replace"), error, elapsed_ms)


def _answer_code(body: bytes) -> int | None:
    """The number of ``{"code": n}``, or None when the answer is anything else."""
    try:
        code = orjson.loads(body)["code"]
        return None if isinstance(code, bool) else int(code)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _check_reason(outcome: Outcome) -> int:
    if outcome.ok:
        return 0
    if outcome.error == "connect":
        return _UNABLE_TO_CONNECT
    if outcome.error is not None or outcome.status != 200:
        return _UNAVAILABLE
    return CHECK_REFUSALS.get(outcome.code if outcome.code is not None else -1, _FORMAT_ERROR)


def _forged_pay(shop: Shop, tx: Transaction) -> notices.Fields:
    """A Pay for the same order by a transaction that does not exist."""
    fields = notices.payment_fields(NoticeType.PAY, tx, shop)
    return fields | {"TransactionId": tx.id + 4_000_000_000, "Status": "Completed", "OperationType": "Payment"}
