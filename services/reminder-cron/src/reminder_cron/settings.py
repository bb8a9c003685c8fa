"""What the service is told: how often it looks for due work, and how much of it it takes at once."""

from typing import ClassVar

from pydantic import Field

from copeck.kernel.settings import Settings


class ReminderSettings(Settings):
    """Settings of the service, read from `COPECK_…`."""

    service: ClassVar[str] = "reminders"

    expiry_interval_s: float = Field(default=5.0, gt=0, le=3600)
    expiry_grace_s: float = Field(default=2.0, ge=0, le=600)
    """How long after its time an invoice is told to expire: the updater refuses what is early by its own clock."""
    janitor_interval_s: float = Field(default=5.0, gt=0, le=3600)
    outbox_interval_s: float = Field(default=5.0, gt=0, le=3600)
    provider_sweep_interval_s: float = Field(default=60.0, gt=0, le=86_400)
    retention_interval_s: float = Field(default=3600.0, gt=0, le=86_400)
    claims_batch_max: int = Field(default=500, ge=1, le=5000)
    claims_kept_days: int = Field(default=400, ge=7)
    """Longer than any period that is reminded of: what is forgotten here could be reminded of again."""
    worker_concurrency: int = Field(default=2, ge=1, le=64)
