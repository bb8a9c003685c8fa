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
