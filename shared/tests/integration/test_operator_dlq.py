"""`copeck dlq` as a process: rejected messages are looked at, sent again and dropped, on the record."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from copeck.contracts import events
from copeck.contracts.envelope import Envelope
from copeck.kernel.ids import new_id
from copeck.messaging.publisher import OutgoingMessage, Publisher
from copeck.testkit.waiting import eventually
from tests.support.operators import command_line

pytestmark = pytest.mark.integration

QUEUE, DEAD = "subscriptions.events", "subscriptions.events.dead"
Copeck = Callable[..., Any]


@pytest.fixture
def copeck(service_environment: Callable[..., dict[str, str]]) -> Copeck:
    process = command_line(service_environment("operator", "operator", operator_name="olga"))

    async def run(*arguments: str, status: int = 0) -> Any:
        answer = await process(*arguments, status=status)
        return answer.json if "--json" in arguments and answer.out else answer.err

    return run


@pytest.fixture
async def dead(broker: Any, database_urls: Any) -> list[str]:
    """Three events that their consumer rejected; the reason of the first is recorded."""
    envelopes = [
        Envelope.new(
            events.InvoiceIssued(
                invoice_id=new_id(),
                version=1,
                status="issued",
                kind="subscription",
                product="cinema",
                account="customer:anna",
                amount_minor=100,
                currency="RUB",
                expires_at=datetime.now(UTC) + timedelta(hours=1),
            ),
            source="state-updater",
        )
        for _ in range(3)
    ]
    publisher = await Publisher.connect(broker.urls["state-updater"], user_id="state-updater")
    try:
        await publisher.publish_window([OutgoingMessage.of(envelope) for envelope in envelopes])
    finally:
        await publisher.close()
    connection = await broker.connect_admin()
    try:
        channel = await connection.channel()
        for _ in envelopes:
            message = await channel.basic_get(QUEUE)
            await channel.basic_reject(message.delivery.delivery_tag, requeue=False)
    finally:
        await connection.close()

    async def arrived() -> bool:
        return bool(await broker.count(DEAD) == len(envelopes))

    await eventually(arrived)
    ids = [str(envelope.id) for envelope in envelopes]
    with psycopg.connect(database_urls["admin"], autocommit=True) as database:
        database.execute(
            "INSERT INTO subscriptions.dead_letter_reasons (message_id, queue, reason) VALUES (%s, %s, 'odd')",
            [ids[0], QUEUE],
        )
    return ids


@pytest.mark.covers("copeck dlq list", "copeck dlq show")
async def test_dead_letters_are_counted_listed_and_shown(copeck: Copeck, dead: list[str], broker: Any) -> None:
    counts = {row["queue"]: row["messages"] for row in (await copeck("dlq", "list", "--json"))["queues"]}
    assert counts[DEAD] == 3
    assert counts["billing.commands.dead"] == 0
    listed = (await copeck("dlq", "list", DEAD, "--json"))["messages"]
    assert [row["message_id"] for row in listed] == dead
    first = (listed[0]["source_queue"], listed[0]["sender"], listed[0]["cause"], listed[0]["reason"])
    assert first == (QUEUE, "state-updater", "rejected", "odd")
    shown = await copeck("dlq", "show", DEAD, dead[1], "--json")
    assert json.loads(shown["body"])["product"] == "cinema"
    assert "no message" in await copeck("dlq", "show", DEAD, "x", status=1)
    assert "no dead-letter queue" in await copeck("dlq", "list", "x.dead", status=1)
    assert await broker.count(DEAD) == 3


@pytest.mark.covers("copeck dlq redrive")
async def test_a_dead_letter_is_sent_again_as_what_it_was(copeck: Copeck, dead: list[str], broker: Any) -> None:
    assert "name the messages" in await copeck("dlq", "redrive", DEAD, status=1)
    assert (await copeck("dlq", "redrive", DEAD, dead[1], "--json"))["count"] == 1
    message = await broker.get(QUEUE)
    assert message.header.properties.message_id == dead[1]
    assert message.header.properties.user_id == "state-updater"
    assert (await copeck("dlq", "redrive", DEAD, "--all", "--json"))["count"] == 2
    assert await broker.count(DEAD) == 0


@pytest.mark.covers("copeck dlq drop")
async def test_a_dead_letter_is_dropped_on_the_record(
    copeck: Copeck, dead: list[str], broker: Any, database_urls: Any
) -> None:
    await copeck("dlq", "drop", DEAD, dead[0], status=2)
    await copeck("dlq", "drop", DEAD, dead[0], "--reason", "", status=1)
    assert "nothing was dropped" in await copeck("dlq", "drop", DEAD, dead[0], "x", "--reason", "old", status=1)
    assert await broker.count(DEAD) == 3
    assert (await copeck("dlq", "drop", DEAD, dead[0], "--reason", "old", "--json"))["count"] == 1
    assert await broker.count(DEAD) == 2
    with psycopg.connect(database_urls["admin"]) as connection:
        record = connection.execute("SELECT actor, action, subject, detail FROM state.operator_actions").fetchall()
    assert [row[:3] for row in record] == [("olga", "dlq.drop", DEAD)]
    assert "old" in record[0][3]
    assert dead[0] in record[0][3]
    assert "cinema" in record[0][3]
