"""Beat's schedule. A tick only says "look": what matters is a row, so a lost or a doubled tick is nothing."""

from dataclasses import dataclass

from reminder_cron.settings import ReminderSettings

EXPIRE_INVOICES = "reminder_cron.expire_invoices"
PUBLISH_OUTBOX = "reminder_cron.publish_outbox"
RETAIN = "reminder_cron.retain"
# Tasks of another service are known by name and queue only.
GATEWAY_QUEUE = "gateway"
GATEWAY_JANITOR = "payments_gateway.janitor"
GATEWAY_SWEEP = "payments_gateway.sweep"
DEVICES_QUEUE = "devices"
DEVICES_JANITOR = "device_bridge.janitor"


@dataclass(frozen=True, slots=True)
class Tick:
    """One line of the schedule."""

    name: str
    task: str
    every_s: float
    queue: str
    purpose: str


def ticks(settings: ReminderSettings) -> tuple[Tick, ...]:
    """Return the whole schedule."""
    own = settings.service
    return (
        Tick("invoice-expiry", EXPIRE_INVOICES, settings.expiry_interval_s, own, "open invoices whose time is over"),
        Tick("outbox", PUBLISH_OUTBOX, settings.outbox_interval_s, own, "messages that a crash left in the outbox"),
        Tick("retention", RETAIN, settings.retention_interval_s, own, "claims that nothing can ask for again"),
        Tick("gateway-janitor", GATEWAY_JANITOR, settings.janitor_interval_s, GATEWAY_QUEUE,
             "provider operations and attempts that are stuck or unknown"),
        Tick("gateway-sweep", GATEWAY_SWEEP, settings.provider_sweep_interval_s, GATEWAY_QUEUE,
             "the providers' own lists, the gateway's partitions and limits"),
        Tick("devices-janitor", DEVICES_JANITOR, settings.janitor_interval_s, DEVICES_QUEUE,
             "receipts that were not e-mailed yet"),
    )  # fmt: skip


def beat_schedule(settings: ReminderSettings) -> dict[str, dict[str, object]]:
    """Render the schedule for Celery. A tick that waited for longer than its interval is dropped: the next is there."""
    return {
        tick.name: {
            "task": tick.task,
            "schedule": tick.every_s,
            "options": {"queue": tick.queue, "expires": max(tick.every_s, 1.0)},
        }
        for tick in ticks(settings)
    }
