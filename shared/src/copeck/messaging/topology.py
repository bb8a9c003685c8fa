"""The bus as data: exchanges, queues, bindings, users and their rights, all derived from the registry of contracts.

`definitions()` renders the document that RabbitMQ imports; `python -m copeck.messaging.topology --help` applies or
prints it. No service may declare anything: configure rights on the billing host are empty for all of them.
"""

import base64
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copeck.contracts.events import InvoiceEvent
from copeck.contracts.registry import (
    COMMANDS_EXCHANGE,
    EVENTS_EXCHANGE,
    INVOICE_KINDS,
    KINDS_CONSUMED,
    OPERATOR,
    REGISTRY,
    SERVICES,
    SHARDS,
    UPDATER,
    Entry,
    shard_queue,
)

BILLING_HOST = "billing"
CELERY_HOST = "celery"
DEAD_EXCHANGE = "billing.dead"
COMMANDS_DEAD_QUEUE = "billing.commands.dead"
MONITOR = "monitor"
DEPLOYER = "deployer"
CELERY_QUEUES: Mapping[str, tuple[str, ...]] = {
    "gateway": ("gateway", "gateway.questions"),
    "reminders": ("reminders",),
    "devices": ("devices",),
}
"""Who enters Celery's host, and the queues there that are its own: made here, so that they exist before a worker does.

The first is where its tasks go by default. Questions have a queue apart, because there may be thousands of them (every
attempt that was begun and never paid is asked about), and money that is owed must not wait behind them.
"""
CELERY_USERS = tuple(CELERY_QUEUES)
USERS = (*SERVICES, OPERATOR, MONITOR, DEPLOYER)

# The prefix of a message that was requeued again and again; a quarantine row comes long before it.
DELIVERY_LIMIT = 20
# Each look at a dead-letter queue requeues what it saw. From RabbitMQ 4 a queue without a limit of its own has one of
# 20, and drops what has no dead-letter queue: the twenty-first look would delete the evidence.
DEAD_DELIVERY_LIMIT = 1_000_000_000
# Ten times a bad worker, then the task goes: its row and the janitor remain.
CELERY_DELIVERY_LIMIT = 10
QUEUE_MESSAGES_MAX = 2_000_000
DEAD_MESSAGES_MAX = 1_000_000
NOTHING = "^$"
# A routing key comes from outside: `$` would let one with a line break at its end pass.
NO_TOPIC = r"^\z"


@dataclass(frozen=True, slots=True)
class Queue:
    """One quorum queue: its bindings as (exchange, routing key), and the queue that takes its dead letters."""

    name: str
    bindings: tuple[tuple[str, str], ...]
    dead_letters: str | None
    single_active_consumer: bool = False
    messages_max: int = QUEUE_MESSAGES_MAX

    def arguments(self) -> dict[str, Any]:
        """Return the declaration arguments.

        Dead-lettering is at least once only together with `reject-publish`; without it the broker falls back to
        at most once and says so in nothing but its log (reliability facts, 1.2).
        """
        arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-overflow": "reject-publish",
            "x-max-length": self.messages_max,
        }
        if self.single_active_consumer:
            arguments["x-single-active-consumer"] = True
        if self.dead_letters:
            arguments |= {
                "x-delivery-limit": DELIVERY_LIMIT,
                "x-dead-letter-exchange": DEAD_EXCHANGE,
                "x-dead-letter-routing-key": self.name,
                "x-dead-letter-strategy": "at-least-once",
            }
        else:
            arguments["x-delivery-limit"] = DEAD_DELIVERY_LIMIT
        return arguments


@dataclass(frozen=True, slots=True)
class Rights:
    """What one user may do on the billing host; patterns are the broker's regular expressions."""

    write: str = NOTHING
    read: str = NOTHING
    configure: str = NOTHING
    topics: Mapping[str, str] = field(default_factory=dict)


def queues() -> tuple[Queue, ...]:
    """Return every queue of the billing host."""
    shards = [
        Queue(shard_queue(n), ((COMMANDS_EXCHANGE, f"*.*.{n:02d}"),), COMMANDS_DEAD_QUEUE, single_active_consumer=True)
        for n in range(SHARDS)
    ]
    work: list[Queue] = []
    for service in SERVICES:
        for kind, exchange in (("commands", COMMANDS_EXCHANGE), ("events", EVENTS_EXCHANGE)):
            keys = _keys_for(service, kind)
            if keys:
                name = f"{service}.{kind}"
                work.append(Queue(name, tuple((exchange, key) for key in keys), f"{name}.dead"))
    sources: dict[str, list[str]] = {}
    for queue in (*shards, *work):
        if queue.dead_letters:
            sources.setdefault(queue.dead_letters, []).append(queue.name)
    dead = [
        Queue(name, tuple((DEAD_EXCHANGE, source) for source in names), None, messages_max=DEAD_MESSAGES_MAX)
        for name, names in sources.items()
    ]
    return (*shards, *work, *dead)


def _keys_for(service: str, kind: str) -> list[str]:
    types = [
        name
        for name, entry in REGISTRY.items()
        if entry.kind == kind[:-1] and service in entry.consumers and not entry.sharded
    ]
    if kind == "commands":
        return sorted(types)
    keys = set()
    for name in types:
        family = name.split(".", 1)[0]
        if issubclass(REGISTRY[name].model, InvoiceEvent):
            keys |= {f"{family}.*.{kind}" for kind in KINDS_CONSUMED[service]}
        else:
            keys.add(name)
    return sorted(keys)


def rights_of(user: str) -> Rights:
    """Return a user's rights on the billing host."""
    if user == DEPLOYER:
        return Rights(".*", ".*", ".*")
    if user == OPERATOR:
        # Redriving puts one message into one queue, past the exchanges: the default exchange does just that.
        return Rights(write=r"^amq\.default$", read=r"\.dead$")
    if user not in SERVICES:
        return Rights()
    sends: dict[str, list[str]] = {}
    for name, entry in REGISTRY.items():
        if user in entry.senders:
            sends.setdefault(entry.exchange, []).append(_topics_of(name, entry))
    topics = dict.fromkeys((COMMANDS_EXCHANGE, EVENTS_EXCHANGE), NO_TOPIC)
    topics |= {exchange: rf"^({'|'.join(sorted(patterns))})\z" for exchange, patterns in sends.items()}
    write = f"^({'|'.join(re.escape(exchange) for exchange in sorted(sends))})$" if sends else NOTHING
    if user == UPDATER:
        read = rf"^{re.escape(COMMANDS_EXCHANGE)}\.[0-9]{{2}}$"
    else:
        read = rf"^{re.escape(user)}\.(commands|events)$"
    return Rights(write=write, read=read, topics=topics)


def _topics_of(name: str, entry: Entry) -> str:
    """Return the pattern of a type's routing keys."""
    if entry.sharded:
        return re.escape(name) + r"\.[0-9]{2}"
    if issubclass(entry.model, InvoiceEvent):
        return re.escape(name) + rf"\.({'|'.join(INVOICE_KINDS)})"
    return re.escape(name)


def password_hash(password: str, salt: bytes | None = None) -> str:
    """Hash a password as the broker stores it: base64(salt + SHA-256(salt + password))."""
    salt = os.urandom(4) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def definitions(
    passwords: Mapping[str, str], *, billing_host: str = BILLING_HOST, celery_host: str = CELERY_HOST
) -> dict[str, Any]:
    """Render the whole topology as RabbitMQ's definitions; `passwords` by user, only those users are made."""
    users = [user for user in USERS if user in passwords]
    # Redriving keeps the verified sender of the message: whoever may send it is checked again on arrival.
    tags = {MONITOR: "monitoring", DEPLOYER: "administrator", OPERATOR: "impersonator"}
    permissions = [_permission(user, billing_host, rights_of(user)) for user in users]
    everything = Rights(".*", ".*", ".*")
    permissions += [
        _permission(user, celery_host, everything if user in (*CELERY_USERS, DEPLOYER) else Rights())
        for user in users
        if user in (*CELERY_USERS, DEPLOYER, MONITOR)
    ]
    return {
        "vhosts": [{"name": billing_host}, {"name": celery_host}],
        "users": [
            {
                "name": user,
                "password_hash": password_hash(passwords[user]),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": tags.get(user, ""),
            }
            for user in users
        ],
        "permissions": permissions,
        "topic_permissions": [
            {"user": user, "vhost": billing_host, "exchange": exchange, "write": pattern, "read": NO_TOPIC}
            for user in users
            for exchange, pattern in rights_of(user).topics.items()
        ],
        "exchanges": [
            _exchange(name, kind, billing_host)
            for name, kind in ((COMMANDS_EXCHANGE, "topic"), (EVENTS_EXCHANGE, "topic"), (DEAD_EXCHANGE, "direct"))
        ]
        + [_exchange(name, "topic", celery_host) for name in celery_queues()],
        "queues": [
            {
                "name": name,
                "vhost": host,
                "durable": True,
                "auto_delete": False,
                "arguments": arguments,
            }
            for name, host, arguments in (
                *((queue.name, billing_host, queue.arguments()) for queue in queues()),
                *((name, celery_host, celery_queue_arguments()) for name in celery_queues()),
            )
        ],
        "bindings": [
            {
                "source": exchange,
                "vhost": host,
                "destination": name,
                "destination_type": "queue",
                "routing_key": key,
                "arguments": {},
            }
            for name, host, exchange, key in (
                *((queue.name, billing_host, *binding) for queue in queues() for binding in queue.bindings),
                *((name, celery_host, name, name) for name in celery_queues()),
            )
        ],
    }


def celery_queues() -> tuple[str, ...]:
    """Return the names of all Celery queues; each has an exchange of the same name."""
    return tuple(name for names in CELERY_QUEUES.values() for name in names)


def celery_queue_arguments() -> dict[str, Any]:
    """Return the arguments of a Celery queue; the worker declares the very same."""
    return {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-delivery-limit": CELERY_DELIVERY_LIMIT}


def _permission(user: str, host: str, rights: Rights) -> dict[str, str]:
    return {"user": user, "vhost": host, "configure": rights.configure, "write": rights.write, "read": rights.read}


def _exchange(name: str, kind: str, host: str) -> dict[str, Any]:
    return {
        "name": name,
        "vhost": host,
        "type": kind,
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def apply(management_url: str, document: Mapping[str, Any], timeout_s: float = 30) -> None:
    """Import definitions through the management API; `management_url` carries an administrator's login.

    Importing is additive and idempotent; a queue whose arguments changed is refused by the broker with a reason.
    """
    import httpx2

    with httpx2.Client(base_url=management_url, timeout=timeout_s, trust_env=False) as client:
        # Queues are declared in a virtual host, so it has to exist before the import mentions it.
        for host in document["vhosts"]:
            client.put(f"/api/vhosts/{host['name']}").raise_for_status()
        answer = client.post("/api/definitions", json=dict(document))
        if answer.is_error:
            raise RuntimeError(f"the broker refused the topology: {answer.status_code} {answer.text[:500]}")


def main() -> None:
    """Command line: print the definitions, or apply them."""
    import argparse
    import json

    parser = argparse.ArgumentParser(prog="python -m copeck.messaging.topology", description=main.__doc__)
    parser.add_argument("action", choices=("print", "apply"))
    parser.add_argument("--passwords", required=True, help="JSON file: user to password")
    parser.add_argument("--management-url", help="http://user:password@host:15672, for apply")
    options = parser.parse_args()
    with Path(options.passwords).open(encoding="utf-8") as file:
        document = definitions(json.load(file))
    if options.action == "print":
        print(json.dumps(document, indent=2))
        return
    if not options.management_url:
        parser.error("apply needs --management-url")
    apply(options.management_url, document)
    print(f"applied {len(document['queues'])} queues and {len(document['users'])} users")


if __name__ == "__main__":
    main()
