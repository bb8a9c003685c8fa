"""Nothing is used that RabbitMQ 4 or PostgreSQL 17 dropped or changed (arch/decisions/0009)."""

import ast
import re

import pytest

from copeck.messaging import topology
from tests.arch.rules import Source, repository

# Arguments that mean the same on RabbitMQ 3.10 and on 4.
ARGUMENTS = {
    "x-queue-type", "x-overflow", "x-max-length", "x-single-active-consumer", "x-delivery-limit",
    "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-dead-letter-strategy",
}  # fmt: skip
DOCUMENT = topology.definitions(dict.fromkeys(topology.USERS, "x"))
# Removed, renamed or changed between PostgreSQL 15 and 17, or missing in 15.
GONE = re.compile(
    r"(?i)\b(old_snapshot_threshold|db_user_namespace|adminpack|vacuum_defer_cleanup_age|promote_trigger_file|"
    r"force_parallel_mode|pg_stat_bgwriter|buffers_backend|blk_read_time|colliculocale|daticulocale|transaction_timeout|"
    r"NULLS NOT DISTINCT|any_value|JSON_TABLE|MERGE INTO|WITH INHERIT)\b"
)


@pytest.mark.parametrize("queue", DOCUMENT["queues"], ids=lambda queue: queue["name"])
def test_queues_are_durable_quorum_queues_with_portable_arguments(queue: dict[str, object]) -> None:
    arguments = queue["arguments"]
    assert isinstance(arguments, dict)
    assert (queue["durable"], queue["auto_delete"], arguments["x-queue-type"]) == (True, False, "quorum")
    assert set(arguments) <= ARGUMENTS
    # At-least-once dead-lettering falls back silently to at most once without it.
    assert arguments["x-overflow"] == "reject-publish"
    # Without a limit 3.10 requeues to the back, and 4 dead-letters, or drops, after 20. A task that is dropped in the
    # end loses nothing: its row and the janitor remain. What is only kept must not be dropped for being looked at.
    limit = arguments["x-delivery-limit"]
    assert isinstance(limit, int)
    if queue["vhost"] != topology.CELERY_HOST and "x-dead-letter-strategy" not in arguments:
        assert limit >= topology.DEAD_DELIVERY_LIMIT


def test_policies_are_not_used() -> None:
    assert not {"policies", "global_parameters", "parameters"} & set(DOCUMENT)


def global_qos(source: Source) -> list[str]:
    """Find `basic.qos` for a whole channel, which 4.3 denies."""
    calls = (node for node in ast.walk(source.tree) if isinstance(node, ast.Call))
    return [
        f"{source.path}:{call.lineno}"
        for call in calls
        if ast.unparse(call.func).endswith(("qos", "set_qos"))
        and any(word.arg in ("global_", "is_global", "global_qos") for word in call.keywords)
    ]


def test_qos_is_per_consumer() -> None:
    python = [source for source in repository() if source.name.endswith(".py")]
    assert [found for source in python for found in global_qos(source)] == []
    assert global_qos(Source("x.py", "await channel.basic_qos(prefetch_count=1, global_=True)"))


def test_sql_is_the_same_for_15_and_17() -> None:
    """All SQL is in Python or in .sql files; words of one version alone are not in it."""
    sources = [source for source in repository() if source.name.endswith((".py", ".sql")) and not source.is_test]
    assert [f"{source.path}: {GONE.findall(source.text)}" for source in sources if GONE.search(source.text)] == []
    assert GONE.search("SELECT any_value(x)")
