"""Tasks that one service sends to another are known by name only: here both sides meet."""

import os
import subprocess
import sys

import pytest

from reminder_cron.schedule import ticks
from reminder_cron.settings import ReminderSettings

MODULES = {"gateway": "payments_gateway.tasks", "devices": "device_bridge.tasks", "reminders": "reminder_cron.tasks"}


@pytest.mark.parametrize("queue", sorted(MODULES))
def test_every_tick_is_a_task_of_the_service_whose_queue_it_goes_to(queue: str) -> None:
    # In a process of its own: a Celery application is global to its process.
    script = f"from {MODULES[queue]} import app; print('\\n'.join(app.tasks)); print(app.conf.task_default_queue)"
    environment = {**os.environ, "COPECK_CELERY_BROKER_URL": "amqp://x:x@127.0.0.1:1/celery"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    names = done.stdout.split()
    assert names[-1] == queue
    sent = {tick.task for tick in ticks(ReminderSettings()) if tick.queue == queue}
    assert sent
    assert sent <= set(names)
