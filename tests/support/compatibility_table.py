"""Every endpoint and example request of the services that were replaced, as their own documents write them.

`make compatibility-table` sends each to the running stack with only host, prefix and credentials changed, and prints
what was answered; without a stack it prints the table alone. The end-to-end test walks the same rows.
"""

import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2

from deploy.devstack.scratch import read_state
from tests.e2e.scenario import Site, call, client, eventually, manager_of

PREFIX = "/payments/api/v1/compatibility"
_OLD_PREFIXES = ("/api/v1", "/api")
SMARTCOLLECT, SERVICE, PROCESSING = "payouts-smartcollect.md", "payouts-payment-service.md", "payment-processing.md"

JSON = {"Content-Type": "application/json"}
KEY = {"Idempotency-Key": "123e4567-e89b-12d3-a456-426614174000"}
# The documents give no body of a payout: its members are those that they list in words.
PAYOUT = {"amount": 1500.5, "currency": "RUB", "recipient": "tk_4f9a1c7e22", "description": "Выплата подрядчику"}


@dataclass(frozen=True)
class Row:
    """One request: the document's file, line and text of the address, and what stands beside it.

    `thing` names what `{id}` stands for: `made` by a row before, `failed`, or else a draft that goes by this name.
    """

    file: str
    line: int
    method: str
    address: str
    expected: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    thing: str = ""
    holds: tuple[str, ...] = ()
    """Members, or words of a text, that the answer must have."""


_PAYOUT = ("id", "amount", "currency", "status", "description", "created_at", "updated_at")
_LIST = ("count", "next", "previous", "results")
_PAYMENT = ("amount", "commission", "status", "attempts", "last_error", "next_retry_at", "created_at", "updated_at")
_SWAGGER, _REDOC, _OPENAPI = ("swagger-ui",), ("<redoc",), ("openapi", "paths")

ROWS: tuple[Row, ...] = (
    Row(SMARTCOLLECT, 44, "POST", "/api/payouts/", 201, PAYOUT, JSON, holds=_PAYOUT),
    Row(SMARTCOLLECT, 45, "GET", "/api/payouts/", holds=_LIST),
    Row(SMARTCOLLECT, 45, "GET", "/api/payouts/?search=подрядчику", holds=_LIST),
    Row(SMARTCOLLECT, 45, "GET", "/api/payouts/?ordering=-created_at", holds=_LIST),
    Row(SMARTCOLLECT, 46, "GET", "/api/payouts/{id}/", thing="made", holds=_PAYOUT),
    Row(SMARTCOLLECT, 47, "PATCH", "/api/payouts/{id}/", 200, {"description": "Аванс"}, JSON, "draft", _PAYOUT),
    Row(SMARTCOLLECT, 47, "PATCH", "/api/payouts/{id}/", 200, {"status": "canceled"}, JSON, "draft", _PAYOUT),
    Row(SMARTCOLLECT, 48, "DELETE", "/api/payouts/{id}/", 204, thing="draft"),
    Row(SMARTCOLLECT, 50, "GET", "/api/docs/", holds=_SWAGGER),
    Row(SMARTCOLLECT, 50, "GET", "/api/schema/", headers={"Accept": "application/json"}, holds=_OPENAPI),
    Row(SERVICE, 54, "GET", "/api/payouts/", holds=_LIST),
    Row(SERVICE, 55, "POST", "/api/payouts/", 201, PAYOUT, JSON, holds=_PAYOUT),
    Row(SERVICE, 56, "GET", "/api/payouts/{id}/", thing="made", holds=_PAYOUT),
    Row(SERVICE, 57, "PATCH", "/api/payouts/{id}/", 200, {"status": "pending"}, JSON, "one to submit", _PAYOUT),
    Row(SERVICE, 58, "DELETE", "/api/payouts/{id}/", 204, thing="another draft"),
    Row(SERVICE, 59, "POST", "/api/payouts/{id}/retry/", 200, thing="failed", holds=_PAYOUT),
    Row(SERVICE, 63, "GET", "/api/schema/", headers={"Accept": "application/vnd.oai.openapi+json"}, holds=_OPENAPI),
    Row(SERVICE, 63, "GET", "/api/schema/", headers={"Accept": "application/yaml"}, holds=("openapi:", "paths:")),
    Row(SERVICE, 63, "GET", "/api/schema/?format=yaml", holds=("openapi:", "paths:")),
    Row(SERVICE, 64, "GET", "/api/docs/", holds=_SWAGGER),
    Row(SERVICE, 65, "GET", "/api/redoc/", holds=_REDOC),
    Row(PROCESSING, 33, "GET", "http://localhost:8000/docs", holds=_SWAGGER),
    Row(PROCESSING, 36, "GET", "/api/v1/health", holds=("status",)),
    Row(PROCESSING, 70, "GET", "http://localhost:8000/docs", holds=_SWAGGER),
    Row(PROCESSING, 73, "POST", "/api/v1/users/", 201, {"balance": 1000}, JSON, holds=("id", "balance")),
    Row(PROCESSING, 74, "POST", "/api/v1/payments/deposit", 200, {"user_id": 1, "deposit": 50}, JSON,
        holds=("payment_id", "status")),
    Row(PROCESSING, 75, "POST", "/api/v1/payments/withdraw", 200, {"user_id": 1, "withdraw": 10}, JSON,
        holds=("payment_id", "status")),
    Row(PROCESSING, 76, "GET", "/api/v1/payments/{payment_id}", thing="payment", holds=_PAYMENT),
    Row(PROCESSING, 77, "GET", "/api/v1/health", holds=("status",)),
    Row(PROCESSING, 78, "POST", "/api/v1/mock-gateway/pay", 200, {"amount": 200}, JSON, holds=("status",)),
    Row(PROCESSING, 83, "POST", "/api/v1/payments/deposit", 200, {"user_id": 1, "deposit": 200}, {**JSON, **KEY},
        holds=("payment_id", "status")),
    Row(PROCESSING, 90, "POST", "http://localhost:8000/api/v1/users/", 201, {"balance": 1000}, JSON,
        holds=("id", "balance")),
    Row(PROCESSING, 97, "POST", "http://localhost:8000/api/v1/payments/deposit", 200, {"user_id": 1, "deposit": 200},
        {**JSON, **KEY}, holds=("payment_id", "status")),
    Row(PROCESSING, 105, "GET", "http://localhost:8000/api/v1/payments/1", holds=_PAYMENT),
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A row, what was sent for it, and what is wrong with the answer, if anything is."""

    row: Row
    sent: str
    status: int
    wrong: str


def ours(address: str) -> str:
    """Change host and prefix of an address as the document writes it, and nothing else."""
    parts = urlsplit(address)
    path = parts.path
    for prefix in _OLD_PREFIXES:
        if path.startswith(f"{prefix}/"):
            path = path.removeprefix(prefix)
            break
    return f"{PREFIX}{path}?{parts.query}" if parts.query else f"{PREFIX}{path}"


def with_api_key(site: Site) -> httpx2.Client:
    """Return a client with a manager's API key as its Basic login, as back-office clients have it."""
    manager = manager_of(site)
    body = {"name": "compatibility", "roles": ["manager"]}
    key = manager.call("POST", "/auth/api/v1/api-keys", json=body, expect=(201,)).json()
    manager.http.close()
    http = client(site.public_url)
    login = b64encode(f"{key['id']}:{key['secret']}".encode()).decode()
    http.headers["Authorization"] = f"Basic {login}"
    return http


class Walk:
    """Sends the rows one after the other; what `{id}` stands for is made as it is needed."""

    def __init__(self, http: httpx2.Client, mock_gateway_url: str) -> None:
        self.http = http
        self._mock_gateway_url = mock_gateway_url
        self._things: dict[str, int] = {}

    @classmethod
    @contextmanager
    def of(cls, site: Site) -> Iterator[Self]:
        """Walk a running site with an API key made for it."""
        with with_api_key(site) as http:
            yield cls(http, site.mock_url)

    def results(self) -> Iterator[Result]:
        """Send every row; the first one of a payment makes what the later ones name."""
        self._things.clear()
        for row in ROWS:
            yield self.send(row)

    def send(self, row: Row) -> Result:
        """Send one row and look at its answer."""
        path = ours(row.address)
        if row.thing:
            number = str(self._thing(row.thing))
            path = path.replace("{id}", number).replace("{payment_id}", number)
        answer = self.http.request(row.method, path, json=row.body, headers=row.headers)
        if answer.status_code == 201 and path.startswith(f"{PREFIX}/payouts/"):
            self._things["made"] = answer.json()["id"]
        if answer.status_code == 200 and row.method == "POST" and path.startswith(f"{PREFIX}/payments/"):
            self._things["payment"] = answer.json()["payment_id"]
        return Result(row, path, answer.status_code, _wrong(row, answer))

    def _thing(self, name: str) -> int:
        if name not in self._things:
            self._things[name] = self.failed_payout() if name == "failed" else self.draft()
        return self._things[name]

    def draft(self, description: str = "Черновик") -> int:
        """Make a draft."""
        body = {**PAYOUT, "status": "draft", "description": description}
        return int(call(self.http, "POST", f"{PREFIX}/payouts/", json=body, expect=(201,)).json()["id"])

    def failed_payout(self) -> int:
        """Make a payout that the mock gateway declines once, and wait until it has failed."""
        marker = f"to be declined {self.draft()}"
        number = self.draft(marker)
        found = call(self.http, "GET", "/payments/api/v1/payouts", params={"search": marker}).json()["items"]
        armed = {"switch": "decline", "operation": "withdraw", "payment_id": f"{found[0]['id']}-1", "count": 1}
        with client(self._mock_gateway_url) as mock:
            call(mock, "POST", "/sandbox/chaos/once", json=armed)
        call(self.http, "PATCH", f"{PREFIX}/payouts/{number}/", json={"status": "pending"})
        self.wait(f"/payouts/{number}/", "failed")
        return number

    def wait(self, path: str, status: str) -> dict[str, Any]:
        """Wait until a payout or a payment has a status; return it."""

        def reached() -> dict[str, Any] | None:
            found: dict[str, Any] = call(self.http, "GET", f"{PREFIX}{path}").json()
            return found if found["status"] == status else None

        return eventually(reached, f"{path} is {status}")


def _wrong(row: Row, answer: httpx2.Response) -> str:
    if answer.status_code != row.expected:
        return f"{answer.status_code}, not {row.expected}: {answer.text[:200]}"
    is_json = "json" in answer.headers.get("content-type", "")
    content: Any = answer.json() if is_json else answer.text
    missing = [name for name in row.holds if name not in content]
    return f"the answer lacks {', '.join(missing)}" if missing else ""


def table(results: list[Result]) -> str:
    """Draw the rows with what was answered."""
    lines = [f"{'document and line':<34}{'request':<63}{'sent as':<67}{'answer':<8}"]
    for result in results:
        row = result.row
        place, verdict = f"{row.file}:{row.line}", result.wrong or "as written"
        status = str(result.status or "-")
        lines.append(f"{place:<34}{row.method:<7}{row.address:<56}{result.sent:<67}{status:<8}{verdict}")
    good = sum(not result.wrong for result in results)
    return "\n".join([*lines, f"{len(results)} requests of 3 documents, {good} answered as written"])


def main() -> int:
    """Send every row to the running stack, or only print the rows when none is up; exit status 1 if one is not good."""
    state = read_state()
    if state is None or not state.get("ready"):
        print(table([Result(row, ours(row.address), 0, "not sent: no stack is up") for row in ROWS]))
        return 0
    with Walk.of(Site.of_state(state)) as walk:
        results = list(walk.results())
    print(table(results))
    return 1 if any(result.wrong for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
