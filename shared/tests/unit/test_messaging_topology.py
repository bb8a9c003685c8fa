"""The bus as data: every queue has somewhere for its dead letters, every right is the least that its user needs."""

import base64
import hashlib
import json
import re
from typing import Any

import pytest

from copeck.contracts.registry import (
    COMMANDS_EXCHANGE,
    EVENTS_EXCHANGE,
    OPERATOR,
    REGISTRY,
    SERVICES,
    SHARDS,
    UPDATER,
    routing_keys,
    shard_queue,
)
from copeck.messaging.topology import (
    CELERY_USERS,
    DEAD_DELIVERY_LIMIT,
    DEAD_EXCHANGE,
    DELIVERY_LIMIT,
    DEPLOYER,
    MONITOR,
    NOTHING,
    USERS,
    definitions,
    password_hash,
    queues,
    rights_of,
)

QUEUES = {queue.name: queue for queue in queues()}
WORKING = [queue for queue in QUEUES.values() if queue.dead_letters]
DEAD = [queue for queue in QUEUES.values() if not queue.dead_letters]


def allows(pattern: str, name: str) -> bool:
    """Match as the broker does; Erlang's `\\z`, the very end, is Python's `\\Z`."""
    return re.search(pattern.replace(r"\z", r"\Z"), name) is not None


def test_names_are_unique() -> None:
    assert len(QUEUES) == len(queues())


@pytest.mark.parametrize("queue", WORKING, ids=lambda queue: queue.name)
def test_every_queue_has_a_dead_letter_queue(queue: Any) -> None:
    """Bound by the queue's own name, so that `copeck dlq` knows where a message came from."""
    dead = QUEUES[queue.dead_letters]
    assert dead.name.endswith(".dead")
    assert (DEAD_EXCHANGE, queue.name) in dead.bindings
    assert queue.arguments() == {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-max-length": queue.messages_max,
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD_EXCHANGE,
        "x-dead-letter-routing-key": queue.name,
        "x-dead-letter-strategy": "at-least-once",
        **({"x-single-active-consumer": True} if queue.single_active_consumer else {}),
    }


@pytest.mark.parametrize("queue", DEAD, ids=lambda queue: queue.name)
def test_dead_letters_rest(queue: Any) -> None:
    """A dead-letter queue is durable, bounded, sends nothing on by itself, and loses nothing by being looked at."""
    assert queue.arguments() == {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-max-length": queue.messages_max,
        "x-delivery-limit": DEAD_DELIVERY_LIMIT,
    }


def test_the_shards() -> None:
    """One queue a shard, with one active consumer, bound to its number only."""
    for n in range(SHARDS):
        queue = QUEUES[shard_queue(n)]
        assert queue.single_active_consumer
        assert queue.bindings == ((COMMANDS_EXCHANGE, f"*.*.{n:02d}"),)
    assert [queue.name for queue in WORKING if queue.single_active_consumer] == [shard_queue(n) for n in range(SHARDS)]


def matches(pattern: str, key: str) -> bool:
    """Tell whether a topic binding takes a routing key."""
    parts = [r"[^.]+" if word == "*" else ".*" if word == "#" else re.escape(word) for word in pattern.split(".")]
    return re.fullmatch(r"\.".join(parts), key) is not None


# Whose invoices each service hears of.
HEARD = {
    "subscriptions": {"subscription"},
    "gateway": {"subscription", "coffee", "topup", "manual"},
    "devices": {"coffee"},
}


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_message_reaches_its_consumers_and_nobody_else(name: str) -> None:
    """Publishing is mandatory: a message without a queue would come back."""
    entry = REGISTRY[name]
    for n, key in enumerate(routing_keys(name)):
        reached = {
            queue.name
            for queue in WORKING
            for exchange, pattern in queue.bindings
            if exchange == entry.exchange and matches(pattern, key)
        }
        kind = "commands" if entry.kind == "command" else "events"
        whose = [
            service
            for service in entry.consumers
            if not name.startswith("invoice.") or kind == "commands" or key.rpartition(".")[2] in HEARD[service]
        ]
        expected = {shard_queue(n)} if entry.sharded else {f"{service}.{kind}" for service in whose}
        assert reached == expected


@pytest.mark.parametrize("user", [*SERVICES, OPERATOR, MONITOR])
def test_nobody_declares_anything(user: str) -> None:
    assert rights_of(user).configure == NOTHING


@pytest.mark.parametrize("user", SERVICES)
def test_topics_follow_the_registry(user: str) -> None:
    """A service publishes just what the registry lets it send; only the updater, `invoice.*` events."""
    rights = rights_of(user)
    for name, entry in REGISTRY.items():
        may = user in entry.senders
        assert not may or allows(rights.write, entry.exchange)
        pattern = rights.topics.get(entry.exchange, NOTHING)
        for key in routing_keys(name):
            assert (allows(pattern, key)) == may, key
            without_kind_or_shard = [name, f"{name}.7"] if key != name else []
            for wrong in (f"{key}.more", f"x{key}", f"{key}x", *without_kind_or_shard):
                assert not allows(pattern, wrong)


@pytest.mark.parametrize("user", SERVICES)
def test_a_service_reads_its_own_queues(user: str) -> None:
    for queue in QUEUES.values():
        own = queue.single_active_consumer if user == UPDATER else queue.name in (f"{user}.commands", f"{user}.events")
        assert (allows(rights_of(user).read, queue.name)) == own, queue.name


def test_people_and_machines_of_the_house() -> None:
    """The operator reads dead letters and puts single messages back; the monitor looks; the deployer declares."""
    operator = rights_of(OPERATOR)
    assert [(allows(operator.read, queue.name)) for queue in WORKING] == [False] * len(WORKING)
    assert [(allows(operator.read, queue.name)) for queue in DEAD] == [True] * len(DEAD)
    for exchange in (COMMANDS_EXCHANGE, EVENTS_EXCHANGE, DEAD_EXCHANGE):
        assert not allows(operator.write, exchange)
    monitor = rights_of(MONITOR)
    assert (monitor.write, monitor.read, monitor.configure) == (NOTHING, NOTHING, NOTHING)
    assert rights_of(DEPLOYER).configure == ".*"


# The document.

PASSWORDS = {user: f"secret-{user}" for user in USERS}


def test_the_document_is_whole() -> None:
    document = definitions(PASSWORDS, billing_host="b", celery_host="c")
    assert json.loads(json.dumps(document)) == document
    assert [host["name"] for host in document["vhosts"]] == ["b", "c"]
    assert {user["name"] for user in document["users"]} == set(USERS)
    tags = {user["name"]: user["tags"] for user in document["users"]}
    assert (tags[MONITOR], tags[DEPLOYER], tags[OPERATOR]) == ("monitoring", "administrator", "impersonator")
    assert {tags[service] for service in SERVICES} == {""}
    assert {queue["name"] for queue in document["queues"] if queue["vhost"] == "b"} == set(QUEUES)
    assert all(queue["durable"] and not queue["auto_delete"] for queue in document["queues"])
    assert all(exchange["durable"] for exchange in document["exchanges"])
    bound = {binding["destination"] for binding in document["bindings"] if binding["vhost"] == "b"}
    assert bound == set(QUEUES), "a queue without a binding gets nothing"
    celery = {entry["user"]: entry["configure"] for entry in document["permissions"] if entry["vhost"] == "c"}
    assert set(celery) == {*CELERY_USERS, DEPLOYER, MONITOR}
    assert celery[MONITOR] == NOTHING


def test_only_users_with_a_password_are_made() -> None:
    document = definitions({"gateway": "x"})
    assert {user["name"] for user in document["users"]} == {"gateway"}
    assert {entry["user"] for entry in document["permissions"] + document["topic_permissions"]} == {"gateway"}


def test_no_password_is_in_the_document() -> None:
    """I-14: salted hashes only, another salt each time."""
    first, second = definitions(PASSWORDS), definitions(PASSWORDS)
    assert "secret-" not in json.dumps(first)
    assert first["users"] != second["users"]


def test_the_hash_is_the_brokers() -> None:
    """RabbitMQ's documented algorithm: base64 of the salt and SHA-256 of salt and password."""
    salt = bytes.fromhex("908dc60a")
    expected = base64.b64encode(salt + hashlib.sha256(salt + b"test12").digest()).decode()
    assert password_hash("test12", salt) == expected == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
