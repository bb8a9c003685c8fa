"""What arch/ says is there is there: tests of invariants, handlers of messages, generated documents, decisions."""

import ast
import importlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from copeck.contracts.registry import REGISTRY
from copeck.messaging import topology
from deploy.devstack import documents
from deploy.documents import notes
from tests.arch.rules import ROOT

ARCH = ROOT / "arch"
INVARIANTS = (ARCH / "invariants.md").read_text(encoding="utf-8")
SECTIONS = ("## Context", "## Decision", "## Consequences", "## Revisit when")
DECISIONS = sorted((ARCH / "decisions").glob("[0-9]*.md"))


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return the names of a file's tests, those of classes too, and of what Hypothesis makes of its machines."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
    assigned = (node.targets[0] for node in tree.body if isinstance(node, ast.Assign))
    return frozenset(names | {target.id for target in assigned if isinstance(target, ast.Name)})


def test_every_invariant_names_tests_that_exist() -> None:
    """An invariant without a test is a wish."""
    problems = []
    parts = re.split(r"(?m)^\*\*((?:I|R)-\d\d) ", INVARIANTS)[1:]
    found = dict(zip(parts[::2], parts[1::2], strict=True))
    assert list(found) == [f"I-{n:02d}" for n in range(1, 15)] + [f"R-{n:02d}" for n in range(1, 25)]
    for name, text in found.items():
        named = re.findall(r"`([\w/.-]+\.py)::(\w+)`", text)
        if not named:
            problems.append(f"{name} names no test")
        for file, test in named:
            if not (ROOT / file).is_file():
                problems.append(f"{name}: no file {file}")
            elif test not in names_in(ROOT / file):
                problems.append(f"{name}: no test {test} in {file}")
    assert problems == []


def test_generated_documents_are_fresh() -> None:
    """`make docs` would write nothing."""
    assert documents.stale() == []


def test_every_message_has_its_path_told() -> None:
    """A message cannot be added, nor a handler moved, without arch/message-paths.md knowing it."""
    problems = []
    for name, entry in REGISTRY.items():
        for consumer in entry.consumers:
            try:
                path = notes.path_of(name, consumer)
            except KeyError:
                problems.append(f"no note on {name} at {consumer}")
                continue
            if path.handler and not exists(path.handler):
                problems.append(f"{name} at {consumer}: no {path.handler}")
    consumers = (notes.UPDATER, notes.SUBSCRIPTIONS, notes.GATEWAY, notes.DEVICES)
    told = set[str]().union(*consumers, notes.SENT_FROM, notes.UNUSED)
    problems += [f"a note on {name}, which is no message" for name in sorted(told - set(REGISTRY))]
    assert problems == []


def exists(reference: str) -> bool:
    """Tell whether `module:name` can be imported."""
    module, _, name = reference.partition(":")
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def test_asyncapi_refers_to_what_is_there() -> None:
    """Every $ref of the AsyncAPI document leads somewhere; every message, queue and sender is in it."""
    document = yaml.safe_load((ARCH / "asyncapi.yaml").read_text(encoding="utf-8"))
    assert document["asyncapi"] == "3.0.0"
    for reference in references(document):
        if reference.startswith("./"):
            assert (ARCH / reference).is_file(), reference
        else:
            place: Any = document
            for step in reference.removeprefix("#/").split("/"):
                place = place[step]
    assert set(document["components"]["messages"]) == {name.replace(".", "_") for name in REGISTRY}
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses >= {queue.name for queue in topology.queues()}
    sends = [operation for operation in document["operations"].values() if operation["action"] == "send"]
    assert len(sends) == sum(len(entry.senders) for entry in REGISTRY.values())
    work = [queue for queue in topology.queues() if queue.dead_letters]
    taken = [
        message
        for queue in work
        for message in document["channels"][f"queue_{queue.name.replace('.', '_')}"]["messages"]
    ]
    consumed = {name.replace(".", "_") for name, entry in REGISTRY.items() if entry.consumers}
    assert set(taken) == consumed


def references(node: Any) -> list[str]:
    """Return every $ref."""
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in references(value)]
    return [found for value in node for found in references(value)] if isinstance(node, list) else []


def test_schemas_are_there_and_nothing_else_is() -> None:
    """A message that is gone leaves no schema behind."""
    names = {f"{entry.model.TYPE}.v{entry.model.VERSION}.json" for entry in REGISTRY.values()} | {"envelope.json"}
    assert {path.name for path in (ARCH / "schemas").iterdir()} == names
    for path in (ARCH / "schemas").iterdir():
        assert json.loads(path.read_text(encoding="utf-8"))["type"] == "object"


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_is_one_page_with_its_sections(path: Path) -> None:
    """Context, decision, consequences, and when to think again; a page."""
    text = path.read_text(encoding="utf-8")
    places = [text.find(section) for section in SECTIONS]
    assert -1 not in places
    assert places == sorted(places)
    assert len(text.splitlines()) <= 120


def test_decisions_are_numbered_without_gaps_and_listed() -> None:
    """The list of decisions is whole."""
    assert [path.name[:4] for path in DECISIONS] == [f"{n:04d}" for n in range(1, len(DECISIONS) + 1)]
    listed = (ARCH / "decisions" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in DECISIONS if f"({path.name})" not in listed] == []
