"""Dead-lettering at least once is what the broker really does: it falls back in silence, but for a line in its log."""

import pytest

from copeck.testkit.rabbit import Broker, broker_log
from copeck.testkit.waiting import eventually

pytestmark = pytest.mark.integration

FALLBACK = "Falling back to dead-letter-strategy at-most-once"


async def test_no_queue_of_ours_falls_back_to_dead_lettering_at_most_once(broker: Broker) -> None:
    log = broker_log()
    if log is None:
        pytest.skip("the broker's log is not on this machine")
    wrong = "probe.without.reject-publish"
    connection = await broker.connect_admin()
    try:
        channel = await connection.channel()
        arguments = {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": "billing.dead",
            "x-dead-letter-strategy": "at-least-once",
        }
        await channel.queue_declare(wrong, durable=True, arguments=arguments)

        def fallen() -> list[str]:
            return [line for line in log.read_text("utf-8", "replace").splitlines() if FALLBACK in line]

        # The line is there for a queue that is declared wrong: so its absence says something about the others.
        await eventually(lambda: [line for line in fallen() if wrong in line], 20)
        await channel.queue_delete(wrong)
    finally:
        await connection.close()
    assert [line for line in fallen() if wrong not in line and f"'{broker.billing_host}'" in line] == []
