"""Every message has a sender and a consumer, goes where it should, and stays what it was once published."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from copeck.contracts import commands, events
from copeck.contracts.base import Command, ContractError, Message
from copeck.contracts.registry import (
    COMMANDS_EXCHANGE,
    EVENTS_EXCHANGE,
    REGISTRY,
    SERVICES,
    SHARDS,
    UPDATER,
    entry_of,
    routing_key,
    routing_keys,
    shard_of,
    shard_queue,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
"""One payload of every message as it was first published. `COPECK_WRITE_GOLDEN=1` adds those of new messages; a file
that exists is never rewritten: messages of its kind are in queues, outboxes and chains."""


def families(model: type[Message]) -> Iterator[type[Message]]:
    for child in model.__subclasses__():
        yield child
        yield from families(child)


def test_every_message_is_in_the_registry() -> None:
    """A class with a type that nobody registered could be sent by nobody."""
    declared = {model.TYPE for model in families(Message) if "TYPE" in model.__dict__ and "copeck" in model.__module__}
    assert declared == set(REGISTRY)
    assert len(REGISTRY) == len(commands.ALL) + len(events.ALL)


HEARD = {
    "refund.requested", "refund.pending", "refund.succeeded", "refund.failed", "payout.pending", "payout.processing",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_message_has_a_sender_and_a_consumer(name: str) -> None:
    entry = REGISTRY[name]
    assert entry.senders
    # What happens to wallets, and what became of refunds and payouts, is read from the views: nobody listens to it.
    unheard = (
        name.split(".", maxsplit=1)[0] in ("wallet", "refund", "payout") and entry.kind == "event" and name not in HEARD
    )
    assert bool(entry.consumers) != unheard
    assert set(entry.senders) <= set(SERVICES)
    assert set(entry.consumers) <= set(SERVICES)
    assert name == entry.model.TYPE
    assert entry.model.VERSION >= 1
    assert entry.exchange == (COMMANDS_EXCHANGE if entry.kind == "command" else EVENTS_EXCHANGE)
    assert entry.sharded == issubclass(entry.model, Command)
    assert (entry.model.__doc__ or "").strip(), "a message says what it means"
    assert len(name.split(".")) == 2, "a routing key begins with family.word: bindings and rights rely on it"


def test_only_the_updater_speaks_of_its_state() -> None:
    """I-01 on the bus: the events of what only it may write are its own to send."""
    for name, entry in REGISTRY.items():
        if name.split(".")[0] in ("invoice", "refund", "wallet", "payout") and entry.kind == "event":
            assert entry.senders == (UPDATER,), name


def test_unknown_types() -> None:
    with pytest.raises(ContractError, match="not in the registry"):
        entry_of("money.make")


# Shards.

ANNA: dict[str, Any] = {"account": "customer:anna"}


@pytest.mark.parametrize(
    ("account", "shard"),
    [
        ("customer:anna", 1),
        ("wallet:anna", 1),
        ("customer:boris", 8),
        ("merchant:m1", 0),
        ("house:payouts", 2),
        ("provider:cloudpayments:main", 15),
        ("wallet:0190b6a0-0000-7000-8000-000000000001", 5),
        ("customer:анна", 4),
    ],
)
def test_shards_never_move(account: str, shard: int) -> None:
    """The same on every machine and in every release: messages of an account are in that queue now."""
    assert shard_of(account) == shard


def test_shards_are_even() -> None:
    counts = [0] * SHARDS
    for n in range(16_000):
        counts[shard_of(f"customer:{n}")] += 1
    assert min(counts) > 850
    assert max(counts) < 1_150


def test_routing_keys() -> None:
    """A command names its shard, an event of an invoice its kind, any other event its type only."""
    for name, entry in REGISTRY.items():
        message = entry.model.model_construct(**ANNA, kind="coffee")
        expected = f"{name}.{shard_of('customer:anna'):02d}" if entry.sharded else name
        if name.startswith("invoice.") and entry.kind == "event":
            expected = f"{name}.coffee"
        assert routing_key(message) == expected
        assert expected in routing_keys(name)
    assert (shard_queue(0), shard_queue(15)) == ("billing.commands.00", "billing.commands.15")


# Golden payloads: contracts grow, and never change.


def example(model: type[BaseModel]) -> dict[str, Any]:
    """Make a payload with every field of a model, from its JSON schema."""
    schema = model.model_json_schema()
    return {name: _example(name, field, schema) for name, field in schema["properties"].items()}


def _example(name: str, field: dict[str, Any], schema: dict[str, Any]) -> Any:
    if "$ref" in field:
        return _example(name, schema["$defs"][field["$ref"].rsplit("/", 1)[1]], schema)
    if "anyOf" in field:
        return _example(name, field["anyOf"][0], schema)
    if "enum" in field:
        return field["enum"][-1]
    if "const" in field:
        return field["const"]
    if field.get("format") == "uuid":
        return "0190b6a0-1111-7222-8333-444455556666"
    if field.get("format") == "date-time":
        return "2026-03-01T12:30:00Z"
    kinds: dict[str, Any] = {"integer": 7, "boolean": True, "array": ["customer"], "object": {"plan": "cinema"}}
    if field["type"] != "string":
        return kinds[field["type"]]
    pattern = field.get("pattern", "")
    if pattern.startswith("^("):
        return "RUB"
    return "wallet:anna" if pattern.startswith("^[a-z_]") else f"some {name}"


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_golden_payloads_are_read(name: str) -> None:
    """What was published in the first release is read by this one, and written with nothing of it lost or changed."""
    model = REGISTRY[name].model
    path = GOLDEN / f"{name}.v{model.VERSION}.json"
    if not path.exists() and os.environ.get("COPECK_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(example(model), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    assert path.exists(), f"a new message needs a golden payload: run with COPECK_WRITE_GOLDEN=1 and commit {path.name}"
    raw = path.read_text(encoding="utf-8")
    golden = json.loads(raw)
    written = json.loads(model.__pydantic_serializer__.to_json(model.__pydantic_validator__.validate_json(raw)))
    assert {key: written.get(key) for key in golden} == golden


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_contracts_are_additive_only(name: str) -> None:
    """No published field is gone, and a field that came later is not required: older senders do not know it."""
    model = REGISTRY[name].model
    golden = json.loads((GOLDEN / f"{name}.v{model.VERSION}.json").read_text(encoding="utf-8"))
    assert set(golden) <= set(model.model_fields), "a field was removed or renamed"
    later = set(model.model_fields) - set(golden)
    required = {field for field in later if model.model_fields[field].is_required()}
    assert not required, f"a field that is added needs a default: {sorted(required)}"


def test_every_golden_payload_belongs_to_a_message() -> None:
    """A message that was published is not forgotten: its payloads are in outboxes and dead-letter queues."""
    known = {f"{name}.v{entry.model.VERSION}.json" for name, entry in REGISTRY.items()}
    assert {path.name for path in GOLDEN.glob("*.json")} == known
