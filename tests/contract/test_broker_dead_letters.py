"""Dead-lettering at least once is what the broker really does: it falls back in silence, but for a line in its log."""

import pytest

from copeck.testkit.rabbit import Broker, broker_log
from copeck.testkit.waiting import eventually

pytestmark = pytest.mark.integration

FALLBACK = "Falling back to dead-letter-strategy at-most-once"


PROBE = "probe.without.reject-publish"
ARGUMENTS = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": "billing.dead",
    "x-dead-letter-strategy": "at-least-once",
}


async def test_no_queue_of_ours_falls_back_to_dead_lettering_at_most_once(broker: Broker) -> None:
    log = broker_log()
    if log is None:
        pytest.skip("the broker's log is not on this machine")
    connection = await broker.connect_admin()
    probes: list[str] = []

    def fallen() -> list[str]:
        return [line for line in log.read_text("utf-8", "replace").splitlines() if FALLBACK in line]

    async def a_probe_is_told_of() -> bool:
        # A busy broker drops lines of its log: Erlang's logger lets 500 a second through (its burst limit).
        channel = await connection.channel()
        probes.append(f"{PROBE}.{len(probes)}")
        await channel.queue_declare(probes[-1], durable=True, arguments=ARGUMENTS)
        await channel.queue_delete(probes[-1])
        await channel.close()
        return any(PROBE in line for line in fallen())

    try:
        # The line is there for a queue that is declared wrong: so its absence says something about the others.
        await eventually(a_probe_is_told_of, 60)
    finally:
        await connection.close()
    assert [line for line in fallen() if PROBE not in line and f"'{broker.billing_host}'" in line] == []
