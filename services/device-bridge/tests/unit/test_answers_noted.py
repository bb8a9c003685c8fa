"""Noting what a call of a driver came to: its answer is said once, and the database may be away just then."""

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from copeck.messaging.backoff import Backoff
from device_bridge.domain.drivers import Answer, Handed
from device_bridge.handlers import sending
from device_bridge.store.commands import ToSend
from tests.support.cups import a_device, brewing

pytestmark = pytest.mark.unit

AWAY = OperationalError("UPDATE", {}, OSError("the server is away"))
BAD = IntegrityError("UPDATE", {}, ValueError("the data is bad"))


async def tries(monkeypatch: pytest.MonkeyPatch, failures: list[Exception]) -> int:
    """Note an answer while the database fails like this; return how often it was tried."""
    made = 0

    async def write_down(*_: Any) -> None:
        nonlocal made
        made += 1
        if made <= len(failures):
            raise failures[made - 1]

    monkeypatch.setattr(sending, "_write_down", write_down)
    monkeypatch.setattr(sending, "_NOTED_AGAIN", Backoff(first_s=0.0))
    order, command = brewing()
    due = ToSend(command, order, a_device())
    context: Any = None
    try:
        await sending._note(context, due, Answer(Handed.ACCEPTED))
    except (OperationalError, IntegrityError):
        return -made
    return made


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([], 1),
        ([AWAY] * 2, 3),
        ([AWAY] * sending.NOTE_TRIES, -sending.NOTE_TRIES),
        ([BAD], -1),
    ],
)
async def test_an_answer_is_noted_although_the_database_was_away(
    monkeypatch: pytest.MonkeyPatch, failures: list[Exception], expected: int
) -> None:
    """Defect: a consent was lost with a connection, and the cup was made and refunded."""
    assert await tries(monkeypatch, failures) == expected
