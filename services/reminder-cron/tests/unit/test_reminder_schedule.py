"""The schedule and the table of kinds, without any server."""

from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from copeck.contracts.commands import InvoiceExpire
from copeck.contracts.registry import REGISTRY
from copeck.kernel.ids import new_id
from copeck.messaging.topology import celery_queues
from reminder_cron.domain.kinds import INVOICE_EXPIRY, KINDS, OPEN_INVOICE, Due
from reminder_cron.main import cli
from reminder_cron.schedule import beat_schedule, ticks
from reminder_cron.settings import ReminderSettings


def test_every_tick_is_in_beats_schedule_and_dies_with_its_interval() -> None:
    settings = ReminderSettings(janitor_interval_s=0.2)
    schedule = beat_schedule(settings)
    assert set(schedule) == {
        "invoice-expiry", "outbox", "retention", "gateway-janitor", "gateway-sweep", "devices-janitor",
    }  # fmt: skip
    for tick in ticks(settings):
        entry = schedule[tick.name]
        assert entry["schedule"] == tick.every_s
        assert tick.queue in celery_queues()
        assert entry["options"] == {"queue": tick.queue, "expires": max(tick.every_s, 1.0)}


def test_an_expiry_is_the_command_of_its_invoice() -> None:
    due = Due(new_id(), datetime.now(UTC), "customer:1")
    envelope = INVOICE_EXPIRY.message(due)
    assert isinstance(envelope.data, InvoiceExpire)
    assert (envelope.source, envelope.subject) == ("reminders", str(due.subject))
    assert envelope.data.account == "customer:1"
    assert envelope.id != INVOICE_EXPIRY.message(due).id


def test_every_kind_sends_what_reminders_may_send() -> None:
    for kind in KINDS.values():
        envelope = kind.message(Due(new_id(), datetime.now(UTC), "customer:1"))
        assert "reminders" in REGISTRY[envelope.type].senders
    assert OPEN_INVOICE == ("issued", "pending")


@pytest.mark.parametrize("field", ["expiry_interval_s", "claims_batch_max", "worker_concurrency"])
def test_a_setting_of_zero_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        ReminderSettings.model_validate({field: 0})


def test_the_schedule_is_printed() -> None:
    printed = CliRunner().invoke(cli, ["schedule"])
    assert printed.exit_code == 0
    assert "invoice-expiry" in printed.stdout
    assert "payments_gateway.janitor" in printed.stdout


def test_every_command_is_in_the_help() -> None:
    printed = CliRunner().invoke(cli, ["--help"])
    for command in ("beat", "worker", "serve-metrics", "tick", "schedule", "migrate"):
        assert command in printed.stdout
