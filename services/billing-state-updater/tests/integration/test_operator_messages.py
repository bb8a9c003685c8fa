"""`copeck quarantine` and `copeck outbox`: what was set aside, and what waits."""

import json
from typing import Any
from uuid import UUID

import pytest

from copeck.kernel.ids import new_id
from copeck.testkit.waiting import eventually
from tests.support.operators import Copeck, damage
from tests.support.updater import issue, paid, rows, running, send, status_becomes

pytestmark = pytest.mark.integration


@pytest.mark.covers("copeck quarantine list", "copeck quarantine show", "copeck quarantine replay")
async def test_a_quarantined_message_is_replayed_once_its_cause_is_mended(
    copeck: Copeck, environment: dict[str, str], broker: Any, database_urls: Any
) -> None:
    """Money reported for an invoice that comes later: set aside, then replayed, judged, and booked once."""
    admin = database_urls["admin"]
    invoice = issue()
    async with running(environment):
        (message_id,) = await send(broker, "gateway", [paid(invoice.invoice_id)])

        async def aside() -> bool:
            return await rows(admin, "SELECT count(*) FROM state.quarantine") == [(1,)]

        await eventually(aside)
        (listed,) = (await copeck("quarantine", "list", "--json")).json["messages"]
        assert (listed["sender"], listed["reason"]) == ("gateway", "the invoice is not known")
        assert listed["message_id"] == str(message_id)
        shown = (await copeck("quarantine", "show", listed["id"], "--json")).json
        assert json.loads(shown["body"])["invoice_id"] == str(invoice.invoice_id)
        await send(broker, "subscriptions", [invoice])
        await status_becomes(admin, invoice.invoice_id, "issued")
        replayed = (await copeck("quarantine", "replay", listed["id"], "--json")).json
        await status_becomes(admin, invoice.invoice_id, "paid")
    assert await rows(admin, "SELECT cause_id FROM state.transitions WHERE event = 'paid'") == [
        (UUID(replayed["message_id"]),)
    ]
    assert (await copeck("quarantine", "list", "--json")).json == {"messages": []}
    assert len((await copeck("quarantine", "list", "--all", "--json")).json["messages"]) == 1
    again = await copeck("quarantine", "replay", listed["id"], status=1)
    assert "was resolved" in again.err
    assert await rows(admin, "SELECT login, actor, action FROM state.operator_actions ORDER BY id") == [
        ("operator", "olga", "quarantine.replay"),
        ("operator", "olga", "quarantine.resolve"),
    ]


@pytest.mark.covers("copeck quarantine replay")
async def test_a_replay_that_broke_off_is_repeated_under_the_same_id(
    copeck: Copeck, environment: dict[str, str], broker: Any, database_urls: Any
) -> None:
    admin = database_urls["admin"]
    identity, chosen = new_id(), new_id()
    report = paid(new_id())
    damage(
        admin,
        "INSERT INTO state.quarantine (id, shard, message_id, sender, reason, headers, body, at, replay_id) VALUES ("
        f"'{identity}', 0, '{new_id()}', 'gateway', 'x', '{{\"cloudEvents:type\": \"payment.report.v1\"}}', "
        f"convert_to('{report.model_dump_json()}', 'UTF8'), now(), '{chosen}')",
    )
    replayed = (await copeck("quarantine", "replay", str(identity), "--json")).json
    assert replayed["message_id"] == str(chosen)
    message = (await broker.take(replayed["queue"]))[0]
    properties = message.header.properties
    assert (properties.message_id, properties.user_id) == (str(chosen), "operator")
    assert properties.headers["x-original-sender"] == "gateway"


@pytest.mark.covers("copeck quarantine close")
async def test_a_quarantined_message_is_closed_on_the_record(copeck: Copeck, database_urls: Any) -> None:
    identity = new_id()
    damage(
        database_urls["admin"],
        f"INSERT INTO state.quarantine VALUES ('{identity}', 0, 'x', 'gateway', 'y', '{{}}', '', now())",
    )
    await copeck("quarantine", "close", str(identity), "--reason", " ", status=1)
    await copeck("quarantine", "replay", str(identity), status=1)
    await copeck("quarantine", "close", str(identity), "--reason", "a drill", "--json")
    await copeck("quarantine", "close", str(identity), "--reason", "a drill", status=1)
    assert await rows(database_urls["admin"], "SELECT resolved_by, resolution FROM state.quarantine") == [
        ("olga", "closed: a drill")
    ]


@pytest.mark.covers("copeck outbox status")
async def test_outbox_status_counts_what_waits(copeck: Copeck, sold: list[UUID], database_urls: Any) -> None:
    document = (await copeck("outbox", "status", "--json")).json
    assert {row["service"] for row in document["outboxes"]} >= {"auth", "subscriptions", "gateway", "state"}
    assert document["waiting"] == 0
    damage(
        database_urls["admin"],
        "UPDATE state.outbox_cursors SET seq = greatest(seq - 1, 0)",
        "INSERT INTO gateway.outbox (message_id, exchange, routing_key, headers, body, created_at) "
        "VALUES (gen_random_uuid(), 'e', 'k', '{}', '', now() - interval '5 minutes')",
    )
    document = (await copeck("outbox", "status", "--json")).json
    waiting = {row["service"]: row["waiting"] for row in document["outboxes"]}
    assert waiting["gateway"] == 1
    assert waiting["state"] >= 1
    assert document["oldest_age_s"] > 290
    await copeck("outbox", "status", "--older-than", "60", status=4)
    assert "messages wait" in (await copeck("outbox", "status")).out
