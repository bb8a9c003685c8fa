"""Tasks that carry ids of rows: what comes while one is being sent shares the next."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from copeck.messaging import celery
from copeck.messaging.celery import RowTasks
from copeck.testkit.waiting import eventually_sync


class SlowTask:
    """What Celery offers of a task, where each sending waits until the test lets it go on."""

    name = "slow"
    app = SimpleNamespace(conf=SimpleNamespace(task_default_queue="first"))

    def __init__(self) -> None:
        self.sent: list[tuple[str, ...]] = []
        self.queues: list[str] = []
        self.go_on = threading.Semaphore(0)

    def apply_async(self, args: tuple[str, ...], queue: str, **_: Any) -> None:
        self.sent.append(args)
        self.queues.append(queue)
        assert self.go_on.acquire(timeout=10)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of one thread, made anew."""
    monkeypatch.setattr(celery, "_SENDING_THREADS", 1)
    monkeypatch.setattr(celery, "_executor", None)


@pytest.mark.usefixtures("one_thread")
def test_ids_that_come_while_a_task_is_being_sent_share_the_next_one() -> None:
    task: Any = SlowTask()
    rows = RowTasks(task, 3, queue="second")
    rows.send([1])
    eventually_sync(lambda: task.sent == [("1",)])
    for one in (2, 3, 4, 5):
        rows.send([one])
    task.go_on.release(3)
    eventually_sync(lambda: len(task.sent) == 3)
    assert task.sent == [("1",), ("2", "3", "4"), ("5",)]
    assert set(task.queues) == {"second"}


@pytest.mark.usefixtures("one_thread")
def test_more_ids_than_a_task_carries_are_sent_in_several() -> None:
    task: Any = SlowTask()
    task.go_on.release(3)
    RowTasks(task, 2).send(range(5))
    eventually_sync(lambda: len(task.sent) == 3)
    assert task.sent == [("0", "1"), ("2", "3"), ("4",)]
    assert set(task.queues) == {"first"}


@pytest.mark.usefixtures("one_thread")
def test_what_waits_has_a_bound_and_loses_nothing_that_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery, "_IDS_WAITING_MAX", 3)
    task: Any = SlowTask()
    rows = RowTasks(task, 10)
    rows.send(["first"])
    eventually_sync(lambda: task.sent == [("first",)])
    rows.send(range(5))
    rows.send([9])
    task.go_on.release(2)
    eventually_sync(lambda: len(task.sent) == 2)
    assert task.sent[1] == ("0", "1", "2")
