"""The running stack, as the end-to-end tests see it: its addresses, its manager, and its operator's command line."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.devstack import running
from deploy.devstack.scratch import read_state
from tests.e2e.scenario import Person, Site, client, log_in, manager_of, register, seed_plans

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the whole stack."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def state() -> dict[str, Any]:
    """The state of the stack of `make test`, or of the one that a developer left running."""
    found = read_state()
    if found is None or not found.get("ready"):
        pytest.fail(
            f"no stack is up (COPECK_STACK_FILE={os.environ.get('COPECK_STACK_FILE', '')}): make test, or make up"
        )
    return found


@pytest.fixture(scope="session")
def site(state: dict[str, Any]) -> Site:
    """The site, with plans on sale."""
    found = Site.of_state(state)
    seed_plans(found)
    return found


@pytest.fixture
def visitor(site: Site) -> Iterator[Person]:
    """A customer who has just registered and logged in."""
    person = log_in(register(site))
    yield person
    person.http.close()


@pytest.fixture
def manager(site: Site) -> Iterator[Person]:
    """The manager, logged in."""
    person = manager_of(site)
    yield person
    person.http.close()


@pytest.fixture
def anonymous(site: Site) -> Iterator[httpx2.Client]:
    """Somebody whom nobody knows."""
    with client(site.public_url) as http:
        yield http


@pytest.fixture
def emulator(site: Site) -> Iterator[httpx2.Client]:
    """The provider's emulator, with its log and its switches."""
    with client(site.emulator_url) as http:
        yield http


@pytest.fixture
def copeck(state: dict[str, Any]) -> Callable[..., Any]:
    """The operator's command line: `copeck("ledger", "verify")` returns what it says in JSON."""
    return lambda *arguments: running.operator_json(state, *arguments)
