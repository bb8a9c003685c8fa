"""What the updater is told, beside the settings that every service has."""

from typing import ClassVar

from pydantic import Field

from copeck.kernel.settings import Settings


class UpdaterSettings(Settings):
    """Defaults suit one process on one machine; each is a trade-off that its line explains."""

    service: ClassVar[str] = "state-updater"

    batch_max: int = Field(default=256, ge=1, le=2000)
    """Commands a transaction: more share a commit, and hold locks for longer."""

    prefetch: int = Field(default=300, ge=1, le=2000)
    """Deliveries a shard that wait in memory; at least a batch."""

    lanes: int = Field(default=2, ge=1, le=8)
    """Database connections that apply batches: while one commits, another decides."""

    lease_s: float = Field(default=10.0, gt=0.5, le=300)
    """How long a silent process keeps its shards."""

    partition_interval_s: float = Field(default=21_600.0, gt=0, le=604_800)
    """How often partitions are made ahead and old ones of inbox and outbox dropped."""

    messages_kept_days: int = Field(default=60, ge=14, le=3650)
    """How long ids of messages and published events are kept."""

    drain_timeout_s: float = Field(default=20.0, gt=0, le=300)
    """How long a stop waits for what is in memory."""
