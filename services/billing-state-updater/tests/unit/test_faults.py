"""Which faults mean the same batch again, and which mean that a message is to blame (design, 8)."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import errors

from billing_state_updater.consumer import is_transient
from billing_state_updater.outbox import Outbox
from billing_state_updater.world import Outgoing
from copeck.kernel.ids import new_id
from copeck.testkit.waiting import eventually

SERVER, DATA = True, False


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("40001", SERVER),  # serialization failure
        ("40P01", SERVER),  # deadlock
        ("57P01", SERVER),  # the server shuts down
        ("57P02", SERVER),
        ("57P03", SERVER),
        ("57014", SERVER),  # statement time-out
        ("08006", SERVER),  # the connection broke
        ("08003", SERVER),
        ("53100", SERVER),  # the disk is full
        ("53300", SERVER),  # too many connections
        ("55P03", SERVER),  # lock time-out
        ("58030", SERVER),  # the server's own input and output
        ("25006", SERVER),  # read only: a standby answers
        ("42501", SERVER),  # a right is missing
        ("42P01", SERVER),  # a table is missing
        ("XX001", SERVER),
        ("22001", DATA),  # too long
        ("22003", DATA),  # out of range
        ("22012", DATA),  # a row that was not there (the guard divides by zero)
        ("22021", DATA),  # a character that cannot be stored
        ("22P02", DATA),
        ("23502", DATA),
        ("23514", DATA),  # a check: a wallet below zero
    ],
)
def test_by_its_state(state: str, expected: bool) -> None:
    """Every class that a batch may meet."""
    assert is_transient(errors.lookup(state)("told")) is expected


def test_a_connection_that_broke_has_no_state() -> None:
    assert is_transient(psycopg.OperationalError("the connection is closed"))
    assert is_transient(TimeoutError())
    assert is_transient(ConnectionResetError())


def test_a_value_that_the_driver_refuses_is_an_error_of_the_data() -> None:
    """I-13: tried again for ever, it would hold up every shard of its lane."""
    assert not is_transient(psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"))
    assert is_transient(psycopg.InterfaceError("the connection is lost"))


def test_a_defect_is_no_fault_of_the_server() -> None:
    assert not is_transient(AssertionError("wallet:anna would fall below zero"))
    assert not is_transient(LookupError("the account was not locked"))
    assert not is_transient(ValueError())


def test_a_unique_key_is_an_error_of_the_data() -> None:
    """But for a new account that another shard made at the same time: the second try finds it there."""
    assert not is_transient(errors.UniqueViolation("duplicate key"))


async def test_a_window_that_broke_in_any_way_is_left_to_the_sweeper() -> None:
    """I-05: until the sweeper has looked, nothing of it counts as confirmed."""

    class Broken:
        async def publish(self, _events: Any) -> None:
            raise RuntimeError("the transport is closed")

    broken: Any = Broken()
    outbox = Outbox(broken)
    outbox.take(3, 0, 0)
    place = outbox._places[3]
    place.clean = True
    running = asyncio.create_task(outbox.run())
    event = Outgoing(
        3, 1, new_id(), "invoice.paid", "x", new_id(), None, None, b"{}", datetime.now(UTC), "invoice.paid.coffee"
    )
    outbox.committed([event])
    await eventually(lambda: not place.clean)
    assert (place.committed, place.confirmed, outbox.lag) == (1, 0, 1)
    running.cancel()
