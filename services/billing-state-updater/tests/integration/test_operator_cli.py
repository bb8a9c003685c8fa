"""The operator's command line as a whole: how it fails, and what it may not do."""

from typing import Any

import psycopg
import pytest

from tests.support.operators import Copeck

pytestmark = pytest.mark.integration


async def test_what_is_wrong_is_one_line_with_a_status(copeck: Copeck) -> None:
    nowhere = "postgresql://operator:wrong@127.0.0.1:1/none"
    answer = await copeck("ledger", "verify", status=3, COPECK_DATABASE_URL=nowhere)
    assert "the database is not reached" in answer.err
    assert "Traceback" not in answer.err
    assert "wrong" not in answer.err
    await copeck("dlq", "list", status=3, COPECK_BROKER_URL="amqp://operator:wrong@127.0.0.1:1/none")
    await copeck("nonsense", status=2)
    for command in ("invoice", "payout", "wallet", "ledger", "replay", "quarantine", "outbox", "dlq"):
        assert "Usage" in (await copeck(command, "--help")).out


async def test_an_operator_can_do_nothing_else(database_urls: Any) -> None:
    """The functions are the operator's only way to write, and nobody else's at all."""
    call = "SELECT state_api.record_operator_action('a', 'b', 'c', 'd')"
    with psycopg.connect(database_urls["operator"], autocommit=True) as connection:
        connection.execute(call)
        for statement in ("INSERT INTO state.operator_actions (actor) VALUES ('x')", "DELETE FROM state.quarantine"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    for role in ("auth", "subscriptions", "gateway", "reminders", "devices", "state_updater"):
        with (
            psycopg.connect(database_urls[role], autocommit=True) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(call)
