"""Payments from the request to their end: Check, 3-D Secure, the bank's decision, confirm, void, refund.

Every change of state, its line in the log, and the notifications that it causes are one commit.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson

from sandbox.providers.cloudpayments import notices
from sandbox.providers.cloudpayments.cards import Card
from sandbox.providers.cloudpayments.chaos import Switch
from sandbox.providers.cloudpayments.delivery import Delivery
from sandbox.providers.cloudpayments.settings import NoticeType, Settings, Shop
from sandbox.providers.cloudpayments.store import DONE, Store, Transaction, now_ms
from sandbox.providers.cloudpayments.subscriptions import Subscriptions

CHECKING, THREE_DS, LATE = "checking", "three_ds", "late"
AUTHENTICATION_FAILED, SYSTEM_ERROR, INVALID_REFUND = 5206, 5096, 6013
HOLD_MS, REFUND_MS = 7 * 86_400_000, 365 * 86_400_000


class RefusedError(Exception):
    """A request that the provider answers with ``Success=false`` and a message."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be paid and by whom."""

    amount: int
    currency: str
    scheme: str
    invoice_id: str | None = None
    account_id: str | None = None
    email: str | None = None
    name: str | None = None
    description: str | None = None
    ip: str | None = None
    data: str | None = None
    recurrent: dict[str, Any] | None = None
    receipt: dict[str, Any] | None = None
    subscription_id: str | None = None
    force_decline: int = 0
    request_id: str | None = None


class Engine:
    """The provider's core; the API, the widget and the scenario endpoint all call it."""

    def __init__(self, store: Store, delivery: Delivery, settings: Settings, shops: dict[str, Shop]) -> None:
        self._store, self._delivery, self._settings, self._shops = store, delivery, settings, shops
        self._subscriptions = Subscriptions(store, delivery)
        self._late_tasks: set[asyncio.Task[None]] = set()

    # Starting a payment

    async def pay_by_card(self, shop: Shop, order: Order, card: Card) -> Transaction:
        """Check, then ask for 3-D Secure or decide at once."""
        return await self._start(shop, order, card.as_json(), three_ds=card.three_ds, token=None)

    async def pay_by_token(self, shop: Shop, order: Order, token: str) -> Transaction:
        """Charge a saved card. The token works only with the terminal and the payer that it was given to."""
        rows = self._store.rows("SELECT public_id, account_id, card FROM tokens WHERE token = ?", (token,))
        if not rows:
            raise RefusedError("Token not found")
        public_id, account_id, card = rows[0]
        if public_id != shop.public_id:
            raise RefusedError("CrossTerminalTokenRestriction")
        if account_id != order.account_id:
            raise RefusedError("AccountId does not match the token")
        return await self._start(shop, order, orjson.loads(card), three_ds=False, token=token)

    async def _start(
        self, shop: Shop, order: Order, card: dict[str, Any], *, three_ds: bool, token: str | None
    ) -> Transaction:
        chaos = self._delivery.chaos
        tx = Transaction(
            id=self._store.next_id(), public_id=shop.public_id, kind="Payment", status="AwaitingAuthentication",
            stage=CHECKING, amount=order.amount, currency=order.currency, created_ms=now_ms(), scheme=order.scheme,
            invoice_id=order.invoice_id, account_id=order.account_id, email=order.email, name=order.name,
            description=order.description, ip=order.ip, data=order.data, card=card, by_token=token is not None,
            token=token, recurrent=order.recurrent, subscription_id=order.subscription_id,
            force_decline=order.force_decline, request_id=order.request_id,
            receipt=order.receipt,
        )  # fmt: skip
        told = tx.amount
        if self._strikes(Switch.WRONG_AMOUNT, "charge", tx):
            tx.asked_amount = tx.amount
            tx.amount = max(1, tx.amount + chaos.options.wrong_amount_minor)
            told = tx.asked_amount if chaos.options.wrong_amount_hidden_from_check else tx.amount
        with self._store.unit():
            self._store.save(tx)
            self._store.log_of("payment.created", tx, scheme=tx.scheme, by_token=tx.by_token, asked=tx.asked_amount)
        refusal = await self._delivery.check(shop, tx, told)
        if refusal:
            with self._store.unit():
                self._decline(shop, tx, refusal, notify=self._settings.fail_after_check_refusal)
            return tx
        if three_ds:
            tx.stage = THREE_DS
            with self._store.unit():
                self._store.save(tx)
            return tx
        return self._decide(shop, tx)

    def finish_three_ds(self, shop: Shop, tx_id: int, *, passed: bool) -> Transaction:
        """The payer came back from the bank's page. Coming back twice changes nothing."""
        tx = self._store.transaction(tx_id, shop.public_id)
        if tx is None:
            raise RefusedError("Transaction not found")
        if tx.stage != THREE_DS:
            return tx
        if not passed:
            with self._store.unit():
                self._decline(shop, tx, AUTHENTICATION_FAILED)
            return tx
        return self._decide(shop, tx)

    # The bank's decision

    def _decide(self, shop: Shop, tx: Transaction) -> Transaction:
        chaos = self._delivery.chaos
        code = tx.force_decline or int(tx.card["by_token" if tx.by_token else "first"])
        if not code and self._strikes(Switch.DECLINE, "charge", tx):
            code = chaos.options.decline_code
        with self._store.unit():
            if code:
                self._decline(shop, tx, code)
            elif self._strikes(Switch.LATE_SUCCESS, "charge", tx):
                tx.status, tx.stage = "Pending", LATE
                tx.late_due_ms = now_ms() + chaos.between(chaos.options.late_success_ms, str(tx.id))
                self._store.save(tx)
                self._store.log_of("payment.delayed", tx, due_ms=tx.late_due_ms)
            else:
                self._approve(shop, tx)
        if tx.stage == LATE:
            self._later(tx)
        return tx

    def _approve(self, shop: Shop, tx: Transaction) -> None:
        at = now_ms()
        tx.stage, tx.auth_ms = DONE, at
        tx.auth_code, tx.rrn = f"A{tx.id % 100_000:05d}", f"{tx.id % 10**12:012d}"
        if tx.account_id and tx.token is None:
            tx.token = self._store.add_token(tx.public_id, tx.account_id, tx.card)
        if tx.recurrent is not None and tx.subscription_id is None and tx.account_id and tx.token:
            tx.subscription_id = self._subscriptions.from_payment(shop, tx, tx.recurrent)
        if tx.scheme == "Dual":
            tx.status, tx.held = "Authorized", tx.amount
            self._store.log_of("payment.authorized", tx)
        else:
            tx.status, tx.confirmed_ms = "Completed", at
            self._store.log_of("payment.charged", tx, asked=tx.asked_amount)
        self._store.save(tx)
        self._delivery.queue(shop, NoticeType.PAY, notices.payment_fields(NoticeType.PAY, tx, shop), tx)
        receipt = _receipt_of(tx)
        if receipt is not None and tx.status == "Completed":
            self._delivery.queue(shop, NoticeType.RECEIPT, notices.receipt_fields(tx, receipt, at), tx)

    def _decline(self, shop: Shop, tx: Transaction, code: int, *, notify: bool = True) -> None:
        tx.status, tx.stage, tx.reason_code = "Declined", DONE, code
        self._store.save(tx)
        self._store.log_of("payment.declined", tx, reason_code=code)
        if notify:
            self._delivery.queue(shop, NoticeType.FAIL, notices.payment_fields(NoticeType.FAIL, tx, shop), tx)

    # What comes after

    def confirm(self, shop: Shop, tx_id: int, amount: int | None) -> Transaction:
        """Take a held amount, or less of it."""
        tx = self._payment(shop, tx_id)
        value = tx.amount if amount is None else amount
        if tx.status != "Authorized":
            raise RefusedError("Transaction is not authorized")
        if value > tx.held:
            raise RefusedError("Amount exceeds the authorized amount")
        at = now_ms()
        tx.status, tx.amount, tx.confirmed_ms = "Completed", value, at
        with self._store.unit():
            self._store.save(tx)
            self._store.log_of("payment.confirmed", tx)
            self._delivery.queue(shop, NoticeType.CONFIRM, notices.payment_fields(NoticeType.CONFIRM, tx, shop), tx)
        return tx

    def void(self, shop: Shop, tx_id: int, *, why: str = "asked") -> Transaction:
        """Give up a hold."""
        tx = self._payment(shop, tx_id)
        if tx.status != "Authorized":
            raise RefusedError("Transaction is not authorized")
        tx.status = "Cancelled"
        with self._store.unit():
            self._store.save(tx)
            self._store.log_of("payment.voided", tx, why=why)
            self._delivery.queue(shop, NoticeType.CANCEL, notices.cancel_fields(tx, now_ms()), tx)
        return tx

    def refund(
        self, shop: Shop, tx_id: int, amount: int | None, data: str | None, request_id: str | None = None
    ) -> Transaction:
        """Give money back, all or a part, as an operation of its own."""
        tx = self._payment(shop, tx_id)
        value = tx.amount - tx.refunded if amount is None else amount
        if tx.status != "Completed" or tx.kind != "Payment":
            raise RefusedError("Transaction cannot be refunded")
        if now_ms() - tx.created_ms > REFUND_MS:
            raise RefusedError("Transaction is older than a year")
        if value <= 0 or value > tx.amount - tx.refunded:
            raise RefusedError("Amount exceeds the rest of the payment")
        back = Transaction(
            id=self._store.next_id(), public_id=shop.public_id, kind="Refund", status="Completed", stage=DONE,
            amount=value, currency=tx.currency, created_ms=now_ms(), invoice_id=tx.invoice_id,
            account_id=tx.account_id, email=tx.email, data=data, card=tx.card, parent_id=tx.id,
            request_id=request_id,
        )  # fmt: skip
        back.auth_ms = back.confirmed_ms = back.created_ms
        back.rrn = f"{back.id % 10**12:012d}"
        declined = self._strikes(Switch.DECLINE, "refund", back)
        with self._store.unit():
            if declined:
                back.status, back.reason_code = "Declined", INVALID_REFUND
                self._store.save(back)
                self._store.log_of("refund.declined", back, payment=tx.id, reason_code=back.reason_code)
                return back
            tx.refunded += value
            self._store.save(tx)
            self._store.save(back)
            self._store.log_of("payment.refunded", back, payment=tx.id)
            self._delivery.queue(shop, NoticeType.REFUND, notices.refund_fields(back), back)
        return back

    def print_receipt(self, shop: Shop, tx_id: int, receipt: dict[str, Any]) -> Transaction:
        """Send a Receipt notification for a payment or a refund, as the cash register service does."""
        tx = self._store.transaction(tx_id, shop.public_id)
        if tx is None:
            raise RefusedError("Transaction not found")
        with self._store.unit():
            self._store.log_of("receipt.printed", tx)
            self._delivery.queue(shop, NoticeType.RECEIPT, notices.receipt_fields(tx, receipt, now_ms()), tx)
        return tx

    def _payment(self, shop: Shop, tx_id: int) -> Transaction:
        tx = self._store.transaction(tx_id, shop.public_id)
        if tx is None:
            raise RefusedError("Transaction not found")
        return tx

    def _strikes(self, switch: Switch, operation: str, tx: Transaction) -> bool:
        return self._delivery.chaos.strikes(
            switch, operation, str(tx.id), invoice_id=tx.invoice_id, public_id=tx.public_id
        )

    # Work that outlives a request

    def _later(self, tx: Transaction) -> None:
        task = asyncio.create_task(self._approve_late(tx.id, tx.late_due_ms or 0))
        self._late_tasks.add(task)
        task.add_done_callback(self._late_tasks.discard)

    async def _approve_late(self, tx_id: int, due_ms: int) -> None:
        await asyncio.sleep(max(0, due_ms - now_ms()) / 1000)
        tx = self._store.transaction(tx_id)
        if tx is not None and tx.stage == LATE and tx.public_id in self._shops:
            with self._store.unit():
                self._approve(self._shops[tx.public_id], tx)

    def recover(self) -> None:
        """After a crash: payments that were being checked are declined, late ones are waited for again."""
        for tx in self._store.unfinished():
            if tx.public_id not in self._shops:
                continue
            if tx.stage == CHECKING:
                with self._store.unit():
                    self._decline(self._shops[tx.public_id], tx, SYSTEM_ERROR)
            elif tx.stage == LATE:
                self._later(tx)

    def release_holds(self, *, older_than_ms: int = HOLD_MS) -> int:
        """Void holds that nobody confirmed in seven days."""
        limit, count = now_ms() - older_than_ms, 0
        rows = self._store.rows(
            "SELECT public_id, id FROM transactions WHERE status = 'Authorized' AND created_ms <= ?", (limit,)
        )
        for public_id, tx_id in rows:
            if public_id in self._shops:
                self.void(self._shops[public_id], tx_id, why="hold ended")
                count += 1
        return count

    def stop(self) -> None:
        """Drop timers; they are set again at the next start."""
        for task in self._late_tasks:
            task.cancel()


def _receipt_of(tx: Transaction) -> dict[str, Any] | None:
    """The receipt of the widget's parameters, or of the payment's data under either spelling."""
    if tx.receipt is not None:
        return tx.receipt
    try:
        data = orjson.loads(tx.data or "null")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(data, dict):
        return None
    block = data.get("CloudPayments") or data.get("cloudPayments")
    if not isinstance(block, dict):
        return None
    receipt = block.get("CustomerReceipt") or block.get("customerReceipt")
    return receipt if isinstance(receipt, dict) else None
