"""What this service is told."""

from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from copeck.kernel.settings import Settings


class SubscriptionsSettings(Settings):
    """Settings of `subscriptions`, beside those that every service has."""

    service: ClassVar[str] = "subscriptions"

    invoice_lifetime_s: int = Field(default=24 * 3600, ge=60, le=30 * 24 * 3600)
    """How long an invoice of a period can be paid."""
    invoice_least_left_s: int = Field(default=600, ge=0, le=24 * 3600)
    """An invoice that expires sooner than this is replaced when the customer wants to pay."""
    incomplete_lifetime_s: int = Field(default=48 * 3600, ge=60)
    """How long a subscription waits for its first payment."""
    grace_days: int = Field(default=3, ge=0, le=60)
    """How long a subscription whose period ended unpaid can still be paid."""
    due_poll_s: float = Field(default=1.0, gt=0, le=60)
    """How often the service looks for periods that have ended."""
    catch_up_interval_s: float = Field(default=30.0, gt=0, le=3600)
    """How often the State Storage is asked for invoices whose events never came."""
    catch_up_after_s: float = Field(default=15.0, ge=0, le=3600)
    """How old a change has to be before its event counts as missed."""
    retention_days: int = Field(default=30, ge=2, le=365)
    """How long answers under idempotency keys and ids of applied messages are kept."""
    consumer_prefetch: int = Field(default=50, ge=1, le=1000)
    consumer_concurrency: int = Field(default=8, ge=1, le=64)
    terms_url: str = ""
    """Where the customer reads the terms of the offer; no link when empty."""

    @property
    def invoice_lifetime(self) -> timedelta:
        """How long an invoice of a period can be paid."""
        return timedelta(seconds=self.invoice_lifetime_s)

    @property
    def grace(self) -> timedelta:
        """How long a subscription whose period ended unpaid can still be paid."""
        return timedelta(days=self.grace_days)

    def pay_url(self, invoice_id: object) -> str:
        """Return where the payer opens an invoice."""
        return f"{self.public_url.rstrip('/')}/pay/{invoice_id}"
