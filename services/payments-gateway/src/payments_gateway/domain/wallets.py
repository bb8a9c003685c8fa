"""Wallets as their owner sees them: the account, a payment's status in words, and what each transfer is. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

Language = Literal["ru", "en"]


class PaymentKind(StrEnum):
    """What a wallet's owner may ask for."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    PAYMENT = "payment"


class Status(StrEnum):
    """How a payment stands, whatever machine is behind it. `requested`: the updater has not decided yet."""

    REQUESTED = "requested"
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELED})


def wallet_of(user_id: UUID) -> str:
    """Return the account of a user's wallet; there is one in each currency, under the same name."""
    return f"wallet:{user_id}"


@dataclass(frozen=True, slots=True)
class WalletPayment:
    """A deposit, a withdrawal or a payment from the balance, with what became of it. Amounts in minor units.

    `state` is the status of the invoice or the payout behind it, None while there is none; `in_its_way` is what the
    last try to reach the provider said, while there is to be another one.
    """

    payment_id: UUID
    kind: PaymentKind
    status: Status
    user_id: UUID
    account: str
    invoice_id: UUID | None
    amount_minor: int
    commission_minor: int
    currency: str
    description: str
    requested_at: datetime
    updated_at: datetime
    state: str | None = None
    last_error: str = ""
    attempts: int = 0
    next_retry_at: datetime | None = None
    in_its_way: str = ""
    outcome_unknown: bool = False
    recipient: str = ""


@dataclass(frozen=True, slots=True)
class Balance:
    """One wallet: what can be spent, what payouts on their way hold, what deposits on their way will bring."""

    currency: str
    available_minor: int
    held_minor: int
    pending_minor: int


# What a transfer means to the wallet that it leaves (debit) or reaches (credit).
_TITLES: dict[tuple[str, str], tuple[str, str]] = {
    ("payment", "debit"): ("Оплата счёта", "Payment of an invoice"),
    ("payment", "credit"): ("Пополнение", "Deposit"),
    ("commission", "debit"): ("Комиссия", "Commission"),
    ("commission_return", "credit"): ("Возврат комиссии", "Commission returned"),
    ("commission_reversal", "credit"): ("Возврат комиссии", "Commission returned"),
    ("commission_return_reversal", "debit"): ("Комиссия", "Commission"),
    ("payout", "debit"): ("Вывод средств", "Withdrawal"),
    ("payout_reversal", "credit"): ("Возврат несостоявшегося вывода", "Withdrawal returned"),
    ("refund", "debit"): ("Возврат пополнения", "Deposit refunded"),
    ("refund", "credit"): ("Возврат оплаты", "Payment refunded"),
    ("refund_settlement", "credit"): ("Возврат оплаты", "Payment refunded"),
    ("refund_reversal", "credit"): ("Отмена возврата пополнения", "Refund of a deposit undone"),
    ("late_to_wallet", "credit"): ("Поздний платёж", "Late payment"),
    ("chargeback", "debit"): ("Оспоренное пополнение", "Deposit charged back"),
    ("opening", "credit"): ("Начальный остаток", "Opening balance"),
}
_ANY: dict[str, tuple[str, str]] = {"correction": ("Исправление", "Correction")}


def title_of(kind: str, direction: str, language: Language) -> str:
    """Say in words what a transfer was for; the kind itself where there are no words yet."""
    titles = _TITLES.get((kind, direction)) or _ANY.get(kind)
    return kind if titles is None else titles[language == "en"]


def kinds_named(text: str) -> list[str]:
    """Return the kinds whose words hold a text, in either language: what a search for it should find."""
    wanted = text.casefold()
    named = [(kind, titles) for (kind, _), titles in _TITLES.items()] + list(_ANY.items())
    return sorted({kind for kind, titles in named if any(wanted in word.casefold() for word in (kind, *titles))})


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def plain_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: people write into descriptions what they like."""
    return f"'{text}" if text.startswith(_FORMULA) else text
