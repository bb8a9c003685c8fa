"""What surrounds a sale: ways to log in at the edge, documents, health, the operator's tools, RabbitMQ's pages."""

import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from deploy.devstack import health, running
from tests.e2e.scenario import Person, Site, call, client, log_in, register

Copeck = Callable[..., Any]
ME = "/auth/api/v1/me"
PREFIXES = (
    "/auth/api/v1", "/subscriptions/api/v1", "/admin/api/v1", "/payments/api/v1", "/payments/api/v1/compatibility",
)  # fmt: skip


def test_a_bearer_token_is_renewed_and_ends_with_the_logout(site: Site) -> None:
    person = register(site)
    body = {"email": person.email, "password": person.password}
    tokens = person.call("POST", "/auth/api/v1/login", json=body).json()
    renewed = person.call("POST", "/auth/api/v1/token/refresh", json={"refresh_token": tokens["refresh_token"]}).json()
    person.http.headers["Authorization"] = f"Bearer {renewed['access_token']}"
    assert person.call("GET", ME).json()["email"] == person.email
    person.call("POST", "/auth/api/v1/logout", json={"refresh_token": renewed["refresh_token"]}, expect=(204,))
    person.call("POST", "/auth/api/v1/token/refresh", json={"refresh_token": renewed["refresh_token"]}, expect=(401,))
    person.http.close()


def test_a_session_cookie_works_on_our_pages_and_from_nowhere_else(site: Site) -> None:
    person = register(site)
    body = {"email": person.email, "password": person.password, "session": True}
    person.call("POST", "/auth/api/v1/login", json=body, headers={"Origin": site.public_url})
    assert "copeck_session" in person.http.cookies
    assert person.call("GET", ME).json()["id"] == person.user_id
    path = "/subscriptions/api/v1/subscriptions/00000000-0000-7000-8000-000000000000/cancel"
    person.call("POST", path, headers={"Origin": site.public_url}, expect=(404,))
    person.call("POST", path, headers={"Origin": "https://evil.example"}, expect=(403,))
    person.http.close()


def test_an_api_key_is_a_basic_login(visitor: Person, site: Site) -> None:
    key = visitor.call("POST", "/auth/api/v1/api-keys", json={"name": "report"}, expect=(201,)).json()
    token = b64encode(f"{key['id']}:{key['secret']}".encode()).decode()
    with client(site.public_url) as http:
        http.headers["Authorization"] = f"Basic {token}"
        assert call(http, "GET", ME).json()["id"] == visitor.user_id
        visitor.call("DELETE", f"/auth/api/v1/api-keys/{key['id']}", expect=(204,))
        call(http, "GET", ME, expect=(401,))


def test_without_a_login_only_what_is_public_is_served(anonymous: httpx2.Client) -> None:
    call(anonymous, "GET", "/subscriptions/api/v1/plans")
    for path in (ME, "/subscriptions/api/v1/subscriptions", "/subscriptions/api/v1/invoices", "/admin/api/v1/plans"):
        answer = call(anonymous, "GET", path, expect=(401,))
        assert answer.headers["content-type"] == "application/problem+json"
    for path in ("/metrics", "/readyz", "/auth/api/v1/edge"):
        call(anonymous, "GET", path, expect=(404,))


def test_the_admin_api_has_a_listener_of_its_own(site: Site) -> None:
    with client(site.admin_url) as http:
        call(http, "GET", "/admin/api/v1/plans", expect=(401,))
        call(http, "GET", "/subscriptions/api/v1/plans", expect=(404,))
        person = log_in(Person(http, site.manager["email"], site.manager["password"]))
        assert person.call("GET", "/admin/api/v1/plans").json()["items"]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_api_documentation_needs_nobody_else(anonymous: httpx2.Client, prefix: str, page: str) -> None:
    html = call(anonymous, "GET", f"{prefix}/{page}").text
    addresses = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", html)
    assert addresses
    assert [address for address in addresses if address.startswith(("http", "//"))] == []
    document = call(anonymous, "GET", f"{prefix}/openapi.json").json()
    assert all(path.startswith(prefix) for path in document["paths"])


def test_pages_are_served(anonymous: httpx2.Client) -> None:
    assert "text/html" in call(anonymous, "GET", "/").headers["content-type"]
    call(anonymous, "GET", "/pay/00000000-0000-7000-8000-000000000000", expect=(200, 404))


def test_every_process_is_alive_ready_and_measured(state: dict[str, Any]) -> None:
    rows = running.status("main")
    assert {name: row["health"] for name, row in rows.items() if row["health"] not in ("ok", "")} == {}
    assert all(row["alive"] for row in rows.values())
    for name, url in state["urls"].items():
        if name in ("public", "admin", "cloudpayments", "mock-gateway", "machines"):
            continue
        answer = httpx2.get(f"{url}/metrics", trust_env=False)
        assert answer.status_code == 200
        assert "# TYPE" in answer.text, name


def test_the_operator_s_lists_answer(copeck: Copeck) -> None:
    for arguments in (("dlq", "list"), ("quarantine", "list"), ("outbox", "status"), ("invoice", "list")):
        assert copeck(*arguments) is not None


def test_the_monitoring_login_may_look_and_nothing_else(state: dict[str, Any]) -> None:
    host = state["servers"]["management_url"].rpartition("@")[2]
    monitor = state["monitor"]
    with client(f"http://{host}") as http:
        http.auth = httpx2.BasicAuth(monitor["user"], monitor["password"])
        queues = call(http, "GET", "/api/queues/billing").json()
        assert "billing.commands.00" in {queue["name"] for queue in queues}
        call(http, "PUT", "/api/queues/billing/mine", json={"durable": True}, expect=(400, 401, 403))
        call(http, "DELETE", "/api/queues/billing/billing.commands.00", expect=(401, 403))


def test_the_summary_of_up_has_every_address_and_login(state: dict[str, Any]) -> None:
    from deploy.devstack.summary import lines

    text = "\n".join(f"{name} {value}" for name, value in lines(state))
    for wanted in ("docs", "RabbitMQ", "monitor", "operator@", "manager@", state["urls"]["public"]):
        assert wanted in text
    assert health.http(f"{state['urls']['public']}/healthz")() is None
