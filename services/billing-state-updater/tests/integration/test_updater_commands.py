"""The updater's commands beside `serve`."""

import psycopg
import pytest
from typer.testing import CliRunner

from billing_state_updater.main import app


def test_help_names_the_commands() -> None:
    said = CliRunner().invoke(app, ["--help"]).output
    assert "serve" in said
    assert "partitions" in said


@pytest.mark.integration
@pytest.mark.covers("billing_state_updater partitions")
def test_partitions_are_made_ahead_and_only_once(database_urls: dict[str, str]) -> None:
    command = ["partitions", "--database-url", database_urls["copeck_migrator"], "--months", "15", "--weeks", "10"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert "made 0 " not in first.output
    assert "made 0 partitions" in CliRunner().invoke(app, command).output
    with psycopg.connect(database_urls["admin"]) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'state.transfers'::regclass"
        ).fetchone()
    assert row == (16,)


def test_old_partitions_go_and_unpublished_events_stay(database_urls: dict[str, str]) -> None:
    """Inbox and outbox are dropped by age, the outbox only where every event was confirmed; the updater may do it."""
    with psycopg.connect(database_urls["admin"], autocommit=True) as admin:
        admin.execute("SET ROLE copeck_owner")
        admin.execute("SELECT state.make_partitions('2025-01-06', 0, 1)")
        admin.execute("RESET ROLE")
        admin.execute(
            "INSERT INTO state.outbox (day, shard, seq, message_id, type, subject, cause_id, body, at) "
            "VALUES ('2025-01-07', 3, 7, gen_random_uuid(), 'invoice.issued', 'x', gen_random_uuid(), '{}', now())"
        )

        def old() -> set[str]:
            rows = admin.execute("SELECT relname FROM pg_class WHERE relname ~ '^(in|out)box_2025_01_06$'").fetchall()
            return {row[0] for row in rows}

        with psycopg.connect(database_urls["state_updater"], autocommit=True) as updater:
            updater.execute("SELECT state.maintain_partitions(13, 9, 60)")
            assert old() == {"outbox_2025_01_06"}
            admin.execute("UPDATE state.outbox_cursors SET seq = 7 WHERE shard = 3")
            updater.execute("SELECT state.maintain_partitions(13, 9, 60)")
            assert old() == set()
        with (
            psycopg.connect(database_urls["gateway"], autocommit=True) as other,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            other.execute("SELECT state.maintain_partitions(13, 9, 60)")
