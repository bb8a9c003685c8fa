"""What commands act on, as plain records. Only `fold.apply` and the books' posting change them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(slots=True)
class Payment:
    """One payment attempt as its provider reports it."""

    id: UUID
    invoice_id: UUID
    provider: str
    shop: str
    transaction: str
    status: str
    amount_minor: int
    currency: str
    method: str = ""
    failure_code: str = ""
    failure_reason: str = ""
    late: bool = False


@dataclass(slots=True)
class Refund:
    """Money that goes back: `source` is the account that gave it, `commission_minor` what came back to that account."""

    id: UUID
    invoice_id: UUID
    status: str
    origin: str
    source: str
    amount_minor: int
    commission_minor: int
    currency: str
    payment_id: UUID | None
    provider: str
    shop: str
    transaction: str
    refund_transaction: str = ""
    reason: str = ""
    failure_code: str = ""
    failure_reason: str = ""
    version: int = 0


@dataclass(slots=True)
class Invoice:
    """An invoice with its attempts and refunds. Version 0 means that it does not exist yet."""

    id: UUID
    version: int = 0
    status: str | None = None
    refunded_minor: int = 0
    refunding_minor: int = 0
    commission_returned_minor: int = 0
    payment_id: UUID | None = None
    provider: str = ""
    shop: str = ""
    transaction: str = ""
    method: str = ""
    failure_code: str = ""
    failure_reason: str = ""
    reason: str = ""
    account: str = ""
    kind: str = ""
    product: str = ""
    payer: str = ""
    beneficiary: str = ""
    amount_minor: int = 0
    commission_minor: int = 0
    currency: str = ""
    description: str = ""
    late_policy: str = "refund"
    late_wallet: str | None = None
    capture: str = "automatic"
    expires_at: datetime | None = None
    references: dict[str, str] = field(default_factory=dict)
    payments: dict[UUID, Payment] = field(default_factory=dict)
    refunds: dict[UUID, Refund] = field(default_factory=dict)


@dataclass(slots=True)
class Payout:
    """A payout. `attempt` counts how often its source was debited for it."""

    id: UUID
    version: int = 0
    status: str | None = None
    account: str = ""
    amount_minor: int = 0
    commission_minor: int = 0
    currency: str = ""
    provider: str = ""
    shop: str = ""
    recipient: str = ""
    description: str = ""
    attempt: int = 0
    outcome_unknown: bool = False
    transaction: str = ""
    last_error: str = ""
    requested_by: str = ""
    approved_by: str = ""
    needs_approval: bool = False
    references: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Account:
    """A materialised account: a wallet, which never goes below zero, or a merchant's balance, which may."""

    name: str
    currency: str
    balance_minor: int = 0
    version: int = 0
    opened: bool = False


Changes = dict[str, Any]
