"""Payouts: money that the shop sends to a card or, by phone, to a bank account.

The provider keeps no order number unique: two requests of one InvoiceId are two transfers unless they carry the same
X-Request-ID. The log tells how many were really made.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson

from sandbox.providers.cloudpayments import notices
from sandbox.providers.cloudpayments.cards import EXPIRED_CARD, INSUFFICIENT_FUNDS, INVALID_CARD, Card
from sandbox.providers.cloudpayments.chaos import Switch
from sandbox.providers.cloudpayments.delivery import Delivery
from sandbox.providers.cloudpayments.engine import RefusedError
from sandbox.providers.cloudpayments.settings import NoticeType, Settings, Shop
from sandbox.providers.cloudpayments.store import DONE, Store, Transaction, now_ms

KIND, UNDER_WAY = "CardPayout", "payout"
_REFUSE_THE_MONEY = frozenset({EXPIRED_CARD, INVALID_CARD})


@dataclass(frozen=True, slots=True)
class PayoutOrder:
    """How much is to be sent, and what the shop calls it; the amount is of kopecks."""

    amount: int
    invoice_id: str | None = None
    account_id: str | None = None
    description: str | None = None
    data: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Who gets it: a card, or a phone number at a bank."""

    card: dict[str, Any] = field(default_factory=dict)
    token: str | None = None
    receiver: dict[str, Any] | None = None
    member_id: str | None = None

    @property
    def masked(self) -> str:
        """What the log keeps of it."""
        if self.receiver is not None:
            return f"sbp {self.member_id} ***{str(self.receiver['Phone'])[-4:]}"
        return f"card ****{self.card.get('last_four')}"


class Payouts:
    """The part of the provider that sends money out."""

    def __init__(self, store: Store, delivery: Delivery, settings: Settings, shops: dict[str, Shop]) -> None:
        self._store, self._delivery, self._settings, self._shops = store, delivery, settings, shops
        self._under_way: set[asyncio.Task[None]] = set()

    # The balance that payouts are made from; what payers pay does not add to it.

    def balance(self, public_id: str) -> int:
        """What a terminal can pay out."""
        kept = self._store.keep_get(f"balance/{public_id}")
        return self._settings.payout_balance_minor if kept is None else int(kept)

    def set_balance(self, public_id: str, minor: int) -> None:
        """Set it; inside a unit."""
        self._store.keep_set(f"balance/{public_id}", str(minor))

    # Sending

    def to_token(self, shop: Shop, order: PayoutOrder, token: str) -> Transaction:
        """Send to the card of a token. It works with its terminal only; of the payer nothing is stated."""
        rows = self._store.rows("SELECT public_id, card FROM tokens WHERE token = ?", (token,))
        if not rows:
            raise RefusedError("Token not found")
        public_id, card = rows[0]
        if public_id != shop.public_id:
            raise RefusedError("CrossTerminalTokenRestriction")
        return self._send(shop, order, Target(card=orjson.loads(card), token=token))

    def to_card(self, shop: Shop, order: PayoutOrder, card: Card) -> Transaction:
        """Send to a card by its cryptogram."""
        refusal = card.first if card.first in _REFUSE_THE_MONEY else 0
        return self._send(shop, order, Target(card=card.as_json()), refusal)

    def to_phone(self, shop: Shop, order: PayoutOrder, member_id: str, receiver: dict[str, Any]) -> Transaction:
        """Send through the Faster Payments System, to a phone number at a bank."""
        return self._send(shop, order, Target(receiver=receiver, member_id=member_id))

    def _send(self, shop: Shop, order: PayoutOrder, target: Target, refusal: int = 0) -> Transaction:
        chaos = self._delivery.chaos
        tx = Transaction(
            id=self._store.next_id(), public_id=shop.public_id, kind=KIND, status="Created", stage=DONE,
            amount=order.amount, currency="RUB", created_ms=now_ms(), invoice_id=order.invoice_id,
            account_id=order.account_id, description=order.description, data=order.data, card=target.card,
            token=target.token, receiver=target.receiver, request_id=order.request_id,
        )  # fmt: skip
        with self._store.unit():
            if not refusal and self._strikes(Switch.DECLINE, "topup", tx):
                refusal = chaos.options.decline_code
            if not refusal and self.balance(shop.public_id) < tx.amount:
                refusal = INSUFFICIENT_FUNDS
            if refusal:
                self._fail(tx, refusal, target.masked)
                return tx
            self.set_balance(shop.public_id, self.balance(shop.public_id) - tx.amount)
            self._store.log_of("payout.accepted", tx, recipient=target.masked)
            if self._strikes(Switch.LATE_SUCCESS, "topup", tx):
                tx.stage = UNDER_WAY
                tx.late_due_ms = now_ms() + chaos.between(chaos.options.late_success_ms, str(tx.id))
                self._store.save(tx)
            else:
                self._complete(tx)
        if tx.stage == UNDER_WAY:
            self._later(tx)
        return tx

    def _complete(self, tx: Transaction) -> None:
        tx.status, tx.stage = "Completed", DONE
        tx.auth_ms = tx.confirmed_ms = now_ms()
        tx.auth_code, tx.rrn = f"A{tx.id % 100_000:05d}", f"{tx.id % 10**12:012d}"
        self._store.save(tx)
        self._store.log_of("payout.completed", tx)

    def _fail(self, tx: Transaction, code: int, recipient: str | None = None) -> None:
        tx.status, tx.stage, tx.reason_code = "Failed", DONE, code
        self._store.save(tx)
        self._store.log_of("payout.declined", tx, reason_code=code, recipient=recipient)

    def _strikes(self, switch: Switch, operation: str, tx: Transaction) -> bool:
        return self._delivery.chaos.strikes(
            switch, operation, str(tx.id), invoice_id=tx.invoice_id, public_id=tx.public_id
        )

    # Payouts that are under way for a while

    def _later(self, tx: Transaction) -> None:
        task = asyncio.create_task(self._settle_late(tx.id, tx.late_due_ms or 0))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _settle_late(self, tx_id: int, due_ms: int) -> None:
        await asyncio.sleep(max(0, due_ms - now_ms()) / 1000)
        tx = self._store.transaction(tx_id)
        if tx is None or tx.stage != UNDER_WAY or tx.public_id not in self._shops:
            return
        shop = self._shops[tx.public_id]
        with self._store.unit():
            failed = self._strikes(Switch.DECLINE, "settle", tx)
            if failed:
                self.set_balance(tx.public_id, self.balance(tx.public_id) + tx.amount)
                self._fail(tx, self._delivery.chaos.options.decline_code)
            else:
                self._complete(tx)
            if self._settings.notify_payouts:
                kind = NoticeType.FAIL if failed else NoticeType.PAY
                self._delivery.queue(shop, kind, notices.payment_fields(kind, tx, shop), tx)

    def recover(self) -> None:
        """After a restart: payouts under way are waited for again."""
        for tx in self._store.unfinished():
            if tx.stage == UNDER_WAY and tx.public_id in self._shops:
                self._later(tx)

    def stop(self) -> None:
        """Drop timers; they are set again at the next start."""
        for task in self._under_way:
            task.cancel()
