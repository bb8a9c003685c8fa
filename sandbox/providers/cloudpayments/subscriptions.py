"""Subscriptions kept by the provider: minimal, with charges made on request instead of by the calendar."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from sandbox.providers.cloudpayments import notices
from sandbox.providers.cloudpayments.delivery import Delivery
from sandbox.providers.cloudpayments.settings import NoticeType, Shop
from sandbox.providers.cloudpayments.store import Store, Transaction, now_ms

_DAYS = {"Day": 1, "Week": 7, "Month": 30}
_FAILURES_TO_REJECT = 3


class Subscriptions:
    """The book of subscriptions; amounts in it are kopecks and moments milliseconds."""

    def __init__(self, store: Store, delivery: Delivery) -> None:
        self._store, self._delivery = store, delivery

    def from_payment(self, shop: Shop, tx: Transaction, recurrent: dict[str, Any]) -> str:
        """Create one from the ``recurrent`` block of a paid widget; inside the payment's unit."""
        interval, period = str(recurrent.get("interval", "Month")), int(recurrent.get("period", 1))
        fields = {
            "Token": tx.token, "AccountId": tx.account_id, "Description": tx.description or "", "Email": tx.email,
            "Amount": int(recurrent.get("amount_minor") or tx.amount), "Currency": tx.currency,
            "RequireConfirmation": False, "StartDate": _next(now_ms(), interval, period), "Interval": interval,
            "Period": period, "MaxPeriods": recurrent.get("maxPeriods"),
        }  # fmt: skip
        return str(self.create(shop, fields, SuccessfulTransactionsNumber=1, LastTransactionDate=now_ms())["Id"])

    def create(self, shop: Shop, fields: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Add one and tell the shop."""
        document = {
            "Id": f"sc_{secrets.token_hex(16)}", "Status": "Active", "SuccessfulTransactionsNumber": 0,
            "FailedTransactionsNumber": 0, "LastTransactionDate": None, "FailedInRow": 0,
            "NextTransactionDate": fields["StartDate"],
        } | fields | more  # fmt: skip
        self._save(shop, document)
        self._notify(shop, document)
        return document

    def get(self, shop: Shop, subscription_id: str) -> dict[str, Any] | None:
        """One of the terminal's."""
        rows = self._store.rows(
            "SELECT document FROM subscriptions WHERE id = ? AND public_id = ?", (subscription_id, shop.public_id)
        )
        return None if not rows else dict(orjson.loads(rows[0][0]))

    def find(self, shop: Shop, account_id: str) -> list[dict[str, Any]]:
        """All of one payer."""
        rows = self._store.rows(
            "SELECT document FROM subscriptions WHERE public_id = ? AND account_id = ? ORDER BY id",
            (shop.public_id, account_id),
        )
        return [dict(orjson.loads(row[0])) for row in rows]

    def update(self, shop: Shop, document: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
        """Change terms; the provider sends no notification of that."""
        changed = document | fields
        if "StartDate" in fields:
            changed["NextTransactionDate"] = fields["StartDate"]
        self._save(shop, changed)
        return changed

    def cancel(self, shop: Shop, document: dict[str, Any]) -> dict[str, Any]:
        """End one."""
        changed = document | {"Status": "Cancelled", "NextTransactionDate": None}
        self._save(shop, changed)
        self._notify(shop, changed)
        return changed

    def charged(self, shop: Shop, document: dict[str, Any], *, success: bool) -> dict[str, Any]:
        """Count a charge: three failures in a row reject the subscription, the last period expires it."""
        changed = dict(document)
        name = "SuccessfulTransactionsNumber" if success else "FailedTransactionsNumber"
        changed[name] += 1
        changed["FailedInRow"] = 0 if success else changed["FailedInRow"] + 1
        changed["LastTransactionDate"] = now_ms()
        changed["NextTransactionDate"] = _next(now_ms(), changed["Interval"], changed["Period"])
        status = "Active"
        if changed["FailedInRow"]:
            status = "Rejected" if changed["FailedInRow"] >= _FAILURES_TO_REJECT else "PastDue"
        elif changed["MaxPeriods"] and changed["SuccessfulTransactionsNumber"] >= int(changed["MaxPeriods"]):
            status = "Expired"
        changed["Status"] = status
        if status in ("Rejected", "Expired"):
            changed["NextTransactionDate"] = None
        self._save(shop, changed)
        self._notify(shop, changed)
        return changed

    def _save(self, shop: Shop, document: dict[str, Any]) -> None:
        self._store.write(
            "INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?, ?)",
            (document["Id"], shop.public_id, document["AccountId"], orjson.dumps(document)),
        )

    def _notify(self, shop: Shop, document: dict[str, Any]) -> None:
        self._store.log(
            "subscription.changed", shop.public_id, amount=document["Amount"], currency=document["Currency"],
            id=document["Id"], status=document["Status"],
        )  # fmt: skip
        self._delivery.queue(shop, NoticeType.RECURRENT, notices.recurrent_fields(document), None)


def _next(from_ms: int, interval: str, period: int) -> int:
    start = datetime.fromtimestamp(from_ms / 1000, UTC)
    return int((start + timedelta(days=_DAYS.get(interval, 30) * max(1, period))).timestamp() * 1000)
