"""A Celery application of its own for the tests, run as a process: `python celery_probe.py worker`."""

import os
import time

from copeck.messaging.celery import make_celery, worker_command
from copeck.observability.trace import current_correlation_id, current_trace


class _Settings:
    celery_broker_url = os.environ["COPECK_CELERY_BROKER_URL"]


app = make_celery("reminders", _Settings())
LOG = os.environ.get("PROBE_LOG", "")


def note(text: str) -> None:
    """Append one line to the file that the test reads; O_APPEND keeps lines of several processes whole."""
    with open(LOG, "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text + "\n")


@app.task(name="probe.trace")
def trace(word: str) -> None:
    """Note the ids of the trace that the task runs in."""
    found = current_trace()
    note(f"{word} {found.trace_id if found else None} {current_correlation_id()}")


@app.task(name="probe.die")
def die(word: str) -> None:
    """Kill the child process once: the task must come again."""
    note(f"{word} {os.getpid()}")
    with open(LOG, encoding="utf-8") as file:  # noqa: PTH123
        times = sum(line.startswith(word) for line in file)
    if times == 1:
        os.kill(os.getpid(), 9)


@app.task(name="probe.hang", soft_time_limit=10, time_limit=1)
def hang(word: str) -> None:
    """Run into the hard limit."""
    note(f"{word} begins")
    time.sleep(60)
    note(f"{word} ends")


@app.task(name="probe.later", bind=True, max_retries=2)
def later(self: object, word: str) -> None:
    """Retry after a countdown: the delayed-delivery queues carry it."""
    note(word)
    raise self.retry(countdown=1)  # type: ignore[attr-defined]


if __name__ == "__main__":
    app.worker_main(worker_command("reminders", concurrency=2))
