"""Rows of the gateway as values: an attempt, an operation."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from copeck.kernel.money import Money
from payments_gateway.domain.provider import AttemptStatus


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to pay an invoice, at one shop; bound to one transaction of the provider once there is one."""

    payment_id: UUID
    invoice_id: UUID
    account: str
    provider: str
    shop: str
    amount: Money
    status: AttemptStatus
    created_at: datetime
    transaction_id: str | None = None
    method: str = ""
    failure_code: str = ""
    failure_reason: str = ""
    decline: str | None = None


class OperationKind(StrEnum):
    """What a provider is asked to do."""

    REFUND = "refund"
    VOID = "void"
    CONFIRM = "confirm"
    PAYOUT = "payout"
    CHARGE = "charge"
    STATUS_QUERY = "status_query"


class OperationStatus(StrEnum):
    """Where an operation stands. `calling` without a living lease means that nobody knows how the call ended."""

    READY = "ready"
    CALLING = "calling"
    PENDING = "pending"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing to be done at a provider, under one idempotency key for ever."""

    id: UUID
    kind: OperationKind
    invoice_id: UUID | None
    account: str
    provider: str
    shop: str
    amount: Money
    idempotency_key: str
    status: OperationStatus
    next_at: datetime
    created_at: datetime
    payment_id: UUID | None = None
    refund_id: UUID | None = None
    transaction_id: str | None = None
    attempts: int = 0
    lease_token: UUID | None = None
    leased_until: datetime | None = None
    first_sent_at: datetime | None = None
    result_transaction_id: str | None = None
    outcome: str | None = None
    failure_code: str = ""
    failure_reason: str = ""
    reported: str | None = None
    cause_id: UUID | None = None
    correlation_id: str | None = None
    payout_id: UUID | None = None
    payout_attempt: int | None = None
    updated_at: datetime | None = None
    """When it was leased or written last."""

    @property
    def of_invoice(self) -> UUID:
        """The invoice of an operation that has one: all but payouts."""
        if self.invoice_id is None:
            raise ValueError(f"operation {self.id} belongs to no invoice")
        return self.invoice_id
