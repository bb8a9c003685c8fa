"""The Celery edge: each task is one call of a handler."""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from copeck.messaging.celery import make_celery
from copeck.observability.logs import configure_logging
from reminder_cron import handlers, schedule
from reminder_cron.handlers import Context
from reminder_cron.settings import ReminderSettings

settings = ReminderSettings()
app: Celery = make_celery("reminders", settings)
app.conf.beat_schedule = schedule.beat_schedule(settings)
# In memory: nothing is lost with it, and two beats do not fight for a file.
app.conf.beat_scheduler = "celery.beat:Scheduler"

_contexts: dict[int, Context] = {}


def _context() -> Context:
    """Return this process's connections, made after the fork."""
    pid = os.getpid()
    if pid not in _contexts:
        _contexts[pid] = Context.of(settings)
    return _contexts[pid]


@app.task(name=schedule.EXPIRE_INVOICES)
def expire_invoices() -> int:
    """Claim open invoices whose time is over, and ask the updater to expire them."""
    return handlers.expire_invoices(_context())


@app.task(name=schedule.PUBLISH_OUTBOX)
def publish_outbox() -> int:
    """Publish what a crash left in the outbox."""
    return handlers.publish(_context())


@app.task(name=schedule.RETAIN)
def retain() -> int:
    """Forget old claims."""
    return handlers.retain(_context())


@worker_process_init.connect(weak=False)
def _begin(**_: Any) -> None:
    configure_logging("reminder-worker", settings.log_level, settings.log_format)


@worker_process_shutdown.connect(weak=False)
def _end(**_: Any) -> None:
    context = _contexts.pop(os.getpid(), None)
    if context is not None:
        context.database.close()
