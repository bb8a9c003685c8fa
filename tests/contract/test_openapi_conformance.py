"""Must show 8: schemathesis over every OpenAPI document, once per role with real tokens and seeded ids.

No answer is a 5xx or falls outside its schema, and every operation is answered 2xx for somebody. COPECK_OPENAPI_SEED
repeats a run; COPECK_OPENAPI_EXAMPLES makes it longer.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import httpx2
import hypothesis
import pytest
import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.device_seeds import DEVICES
from tests.support.openapi_recipes import ADMIN, AUTH, CLIENT, PAYMENTS, RECIPES
from tests.support.openapi_recipes_compatibility import OLD
from tests.support.openapi_seeds import ANONYMOUS, ROLES, Seeds

pytestmark = [pytest.mark.openapi, pytest.mark.timeout(240)]

Case: TypeAlias = schemathesis.Case[Any]
Operation: TypeAlias = APIOperation[Any, Any, Any, Any]

APIS = {
    "auth": AUTH,
    "subscriptions": CLIENT,
    "admin": ADMIN,
    "payments": PAYMENTS,
    "compatibility": OLD,
    "devices": DEVICES,
}
EVERYBODY = (ANONYMOUS, *ROLES)
SEED = int(os.environ.get("COPECK_OPENAPI_SEED", random.randrange(1 << 32)))
EXAMPLES = int(os.environ.get("COPECK_OPENAPI_EXAMPLES", "4"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_TIMEOUT_S = 40
# Hashing passwords is slow on purpose, and these do not depend on who asks.
_SLOW = {f"{AUTH}/register", f"{AUTH}/login", f"{AUTH}/logout", f"{AUTH}/me/password"}


class Walk:
    """Calls operations, checks their answers, and counts."""

    def __init__(self, seeds: Seeds) -> None:
        self.seeds = seeds
        self.good: Counter[tuple[str, str, str]] = Counter()
        self.calls: Counter[tuple[str, str, str]] = Counter()
        self.failures: list[str] = []
        self.session = requests.Session()
        self.session.trust_env = False

    def headers_of(self, role: str, path: str) -> dict[str, str]:
        if role == ANONYMOUS:
            return {}
        person = self.seeds.people[role]
        if path != f"{AUTH}/logout":
            return {"Authorization": str(person.http.headers["Authorization"])}
        # Logging out with the role's own token would end everything that comes after.
        body = {"email": person.email, "password": person.password}
        return {"Authorization": f"Bearer {person.call('POST', f'{AUTH}/login', json=body).json()['access_token']}"}

    def call(self, case: Case, role: str, headers: dict[str, str], **more: Any) -> None:
        """Make one call; what is wrong with its answer is kept, and the walk goes on."""
        operation = (case.operation.method.upper(), case.operation.path)
        try:
            answer = case.call(
                base_url=self.seeds.site.public_url,
                session=self.session,
                headers=headers,
                timeout=_TIMEOUT_S,
                allow_redirects=False,
                **more,
            )
        except requests.exceptions.InvalidHeader:
            return
        self.calls[*operation, role] += 1
        if 200 <= answer.status_code < 300:
            self.good[*operation, role] += 1
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as group:
            for failure in group.exceptions:
                self.failures.append(
                    f"{role}: {' '.join(operation)}: {answer.status_code}: {failure}\n  {_short(case)}"
                )

    def recipe(self, operation: Operation) -> None:
        """Make the call that ought to succeed."""
        call = RECIPES[operation.method.upper(), operation.path](self.seeds)
        body = {"body": call.body, "media_type": "application/json"} if call.body is not None else {}
        case = operation.Case(path_parameters=call.path, query=call.query, headers=dict(call.headers), **body)
        headers = {**self.headers_of(call.role, operation.path), **call.headers}
        more = {"data": call.raw} if call.raw is not None else {}
        before = self.good[operation.method.upper(), operation.path, call.role]
        self.call(case, call.role, headers, **more)
        if self.good[operation.method.upper(), operation.path, call.role] == before:
            self.failures.append(f"the call that ought to succeed did not: {operation.label}: {_short(case)}")

    def generated(self, operation: Operation) -> None:
        """Let schemathesis make requests up, right ones and wrong ones, and send each as everybody."""
        slow = operation.path in _SLOW
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            for number, case in enumerate(_cases(operation, mode)):
                if number % 2 == 0:
                    self._on_seeded_things(case)
                for role in EVERYBODY[:2] if slow else EVERYBODY:
                    own = {} if number % 4 == 3 and role == ANONYMOUS else self.headers_of(role, operation.path)
                    self.call(case, role, own)

    def _on_seeded_things(self, case: Case) -> None:
        for name in case.path_parameters or {}:
            if name in self.seeds.ids:
                case.path_parameters[name] = self.seeds.ids[name]


def _cases(operation: Operation, mode: GenerationMode) -> list[Case]:
    found: list[Case] = []

    @hypothesis.seed(SEED)
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def collect(case: Case) -> None:
        found.append(case)

    try:
        collect()
    except hypothesis.errors.Unsatisfiable:
        # An operation without any parameter or body cannot be called wrongly.
        assert mode is GenerationMode.NEGATIVE, f"{operation.label}: no right request can be made up"
    return found[:EXAMPLES]


def _short(case: Case) -> str:
    body = case.body if isinstance(case.body, str | bytes | int | float | list | dict) else None
    parts = {"path": case.path_parameters, "query": case.query, "headers": dict(case.headers or {}), "body": body}
    return repr({name: value for name, value in parts.items() if value})[:600]


def _state() -> dict[str, Any] | None:
    from deploy.devstack.scratch import read_state

    named = os.environ.get("COPECK_STACK_FILE")
    if named:
        try:
            with open(named, encoding="utf-8") as file:  # noqa: PTH123 - read once, as it is
                state: dict[str, Any] = json.load(file)
        except OSError:
            return None
    else:
        state = read_state() or {}
    return state if state.get("ready") else None


@pytest.fixture(scope="module")
def walk() -> Iterator[Walk]:
    with ExitStack() as stack:
        state = _state()
        if state is None:
            from deploy.devstack.stack import Stack

            state = stack.enter_context(Stack("contract")).state()
        seeds = Seeds.make(state)
        stack.callback(seeds.close)
        found = Walk(seeds)
        stack.callback(found.session.close)
        yield found


def operations(walk: Walk, api: str) -> list[Operation]:
    with httpx2.Client(base_url=walk.seeds.site.public_url, trust_env=False) as http:
        document = http.get(f"{APIS[api]}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(found) == sum(len(path) for path in document["paths"].values()), "the document has broken operations"
    return found


@pytest.mark.parametrize("api", APIS)
def test_no_answer_falls_outside_its_schema(walk: Walk, api: str) -> None:
    walk.failures.clear()
    found = operations(walk, api)
    assert found
    for operation in found:
        walk.recipe(operation)
        walk.generated(operation)
    assert not walk.failures, f"seed {SEED}; {len(walk.failures)} failures:\n" + "\n".join(walk.failures[:20])


def test_every_operation_is_answered_2xx_for_somebody(walk: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sorted({(method, path) for method, path, _ in walk.calls})
    with capsys.disabled():
        print(f"\nOpenAPI, seed {SEED}: calls answered 2xx, of all, by role")
        print(f"{'operation':<76}" + "".join(f"{role:>12}" for role in EVERYBODY))
        for method, path in rows:
            cells = (f"{walk.good[method, path, role]}/{walk.calls[method, path, role]}" for role in EVERYBODY)
            print(f"{method:<7}{path:<69}" + "".join(f"{cell:>12}" for cell in cells))
        print(f"{sum(walk.calls.values())} calls to {len(rows)} operations, {sum(walk.good.values())} answered 2xx")
    assert rows
    never = [row for row in rows if not any(walk.good[*row, role] for role in EVERYBODY)]
    assert not never, f"nobody was answered 2xx: {never}"


def test_every_operation_has_a_call_that_ought_to_succeed(walk: Walk) -> None:
    documented = {(found.method.upper(), found.path) for api in APIS for found in operations(walk, api)}
    assert documented == set(RECIPES)
