"""Must show 6: every endpoint and example request of the services that were replaced, against a running stack.

Only host, prefix and credentials are changed (tests/support/compatibility_table.py). The credentials are a manager's
API key, as back-office clients have it.
"""

import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx2
import pytest
import yaml  # type: ignore[import-untyped]

from tests.e2e.scenario import Person, Site, call, client
from tests.e2e.test_make_targets import make
from tests.support.compatibility_table import PAYOUT, PREFIX, ROWS, Walk, table

JSON = {"Content-Type": "application/json"}
Copeck = Callable[..., Any]


@pytest.fixture(scope="module")
def walk(site: Site) -> Iterator[Walk]:
    """A back-office client with an API key, who can make drafts and payouts that fail."""
    with Walk.of(site) as made:
        yield made


@pytest.fixture(scope="module")
def clerk(walk: Walk) -> httpx2.Client:
    """The same client, for single calls."""
    return walk.http


def new_user(http: httpx2.Client, balance: Any = 1000) -> int:
    """Make a user; the number as JSON writes it is the balance."""
    answer = call(http, "POST", f"{PREFIX}/users/", json={"balance": balance}, expect=(201,))
    assert answer.json()["balance"] == balance
    return int(answer.json()["id"])


def pay(http: httpx2.Client, kind: str, user: int, amount: Any, key: str | None = None) -> dict[str, Any]:
    """Ask for a deposit or a withdrawal as the examples do."""
    headers = {"Idempotency-Key": key} if key else {}
    found: dict[str, Any] = call(
        http, "POST", f"{PREFIX}/payments/{kind}", json={"user_id": user, kind: amount}, headers=headers
    ).json()
    return found


@pytest.mark.covers(
    "POST /payments/api/v1/compatibility/users", "POST /payments/api/v1/compatibility/users/",
    "POST /payments/api/v1/compatibility/payments/deposit", "POST /payments/api/v1/compatibility/payments/deposit/",
    "POST /payments/api/v1/compatibility/payments/withdraw", "POST /payments/api/v1/compatibility/payments/withdraw/",
    "GET /payments/api/v1/compatibility/payments/{id}", "GET /payments/api/v1/compatibility/payments/{id}/",
    "GET /payments/api/v1/compatibility/health", "GET /payments/api/v1/compatibility/health/",
    "POST /payments/api/v1/compatibility/mock-gateway/pay", "POST /payments/api/v1/compatibility/mock-gateway/pay/",
    "GET /payments/api/v1/compatibility/schema", "GET /payments/api/v1/compatibility/schema/",
    "POST /payments/api/v1/compatibility/payouts", "POST /payments/api/v1/compatibility/payouts/",
    "GET /payments/api/v1/compatibility/payouts", "GET /payments/api/v1/compatibility/payouts/",
    "GET /payments/api/v1/compatibility/payouts/{id}", "GET /payments/api/v1/compatibility/payouts/{id}/",
    "PATCH /payments/api/v1/compatibility/payouts/{id}", "PATCH /payments/api/v1/compatibility/payouts/{id}/",
    "DELETE /payments/api/v1/compatibility/payouts/{id}", "DELETE /payments/api/v1/compatibility/payouts/{id}/",
    "POST /payments/api/v1/compatibility/payouts/{id}/retry",
    "POST /payments/api/v1/compatibility/payouts/{id}/retry/",
)  # fmt: skip
def test_every_request_of_the_documents_is_answered_as_written(walk: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    results = list(walk.results())
    with capsys.disabled():
        print(f"\n{table(results)}")
    assert len(results) == len(ROWS)
    assert [result for result in results if result.wrong] == []


@pytest.mark.parametrize("slash", ["", "/"])
def test_addresses_work_with_and_without_their_last_slash(clerk: httpx2.Client, walk: Walk, slash: str) -> None:
    user = call(clerk, "POST", f"{PREFIX}/users{slash}", json={"balance": 10}, expect=(201,)).json()["id"]
    body = {"user_id": user, "amount": "5.50"}
    paid = call(clerk, "POST", f"{PREFIX}/payments/deposit{slash}", json=body).json()["payment_id"]
    call(clerk, "GET", f"{PREFIX}/payments/{paid}{slash}")
    call(clerk, "POST", f"{PREFIX}/payments/withdraw{slash}", json=body)
    call(clerk, "POST", f"{PREFIX}/mock-gateway/pay{slash}", json={"amount": 1})
    number = call(clerk, "POST", f"{PREFIX}/payouts{slash}", json={**PAYOUT, "status": "draft"}, expect=(201,)).json()[
        "id"
    ]
    for path in ("/payouts", f"/payouts/{number}", "/health", "/schema", "/docs", "/redoc"):
        call(clerk, "GET", f"{PREFIX}{path}{slash}")
    call(clerk, "PATCH", f"{PREFIX}/payouts/{number}{slash}", json={"description": "Аванс"})
    call(clerk, "DELETE", f"{PREFIX}/payouts/{number}{slash}", expect=(204,))
    call(clerk, "POST", f"{PREFIX}/payouts/{number}/retry{slash}", expect=(404,))


def test_the_story_of_a_user_comes_out_to_the_kopeck(clerk: httpx2.Client, walk: Walk, copeck: Copeck) -> None:
    user = new_user(clerk)
    paid = pay(clerk, "deposit", user, 200)
    # The provider may have taken it up before the answer is written.
    assert paid["status"] in ("NEW", "PROCESSING")
    deposit = walk.wait(f"/payments/{paid['payment_id']}", "SUCCESS")
    assert (deposit["amount"], deposit["commission"], deposit["user_id"]) == (200, 4, user)
    assert deposit["last_error"] is None
    # 1000 + 200 - 4 are there: the commission of a withdrawal comes on top.
    drawn = pay(clerk, "withdraw", user, "1172.50")
    withdrawal = walk.wait(f"/payments/{drawn['payment_id']}", "SUCCESS")
    assert (withdrawal["amount"], withdrawal["commission"]) == (1172.5, 23.45)
    assert withdrawal["attempts"] == 1
    left = pay(clerk, "withdraw", user, 0.06)
    failed = walk.wait(f"/payments/{left['payment_id']}", "failed")
    assert failed["last_error"] == "insufficient_funds"
    exactly = pay(clerk, "withdraw", user, "0.05")
    walk.wait(f"/payments/{exactly['payment_id']}", "SUCCESS")
    assert copeck("ledger", "verify")["ok"] is True


def test_numbers_are_exact_in_both_directions(clerk: httpx2.Client) -> None:
    answer = clerk.post(f"{PREFIX}/users/", content='{"balance": 80071992.13}', headers=JSON)
    assert answer.text.endswith(', "balance": 80071992.13}')
    for written in ("200.555", '"200.555"', "0.001", "1e-3"):
        refused = clerk.post(f"{PREFIX}/users/", content=f'{{"balance": {written}}}', headers=JSON)
        assert (refused.status_code, refused.json()["field"]) == (422, "balance")
    for written in ("2e2", "200.00", '"200"'):
        answer = clerk.post(f"{PREFIX}/users/", content=f'{{"balance": {written}}}', headers=JSON)
        assert Decimal(str(answer.json()["balance"])) == 200


def test_a_key_is_a_user_s_and_returns_the_first_payment_whatever_else_is_said(clerk: httpx2.Client) -> None:
    user, other, key = new_user(clerk), new_user(clerk), str(uuid.uuid4())
    first = pay(clerk, "deposit", user, 200, key)["payment_id"]
    assert pay(clerk, "deposit", user, 200, key)["payment_id"] == first
    assert pay(clerk, "withdraw", user, 700, key)["payment_id"] == first
    assert pay(clerk, "deposit", other, 200, key)["payment_id"] != first
    assert pay(clerk, "deposit", user, 200)["payment_id"] != first


def test_a_declined_payout_is_retried_and_completed(clerk: httpx2.Client, walk: Walk) -> None:
    number = walk.failed_payout()
    failed = call(clerk, "GET", f"{PREFIX}/payouts/{number}/").json()
    assert (failed["status"], failed["attempts"]) == ("failed", 1)
    assert failed["last_error"]
    refused = call(clerk, "PATCH", f"{PREFIX}/payouts/{number}/", json={"status": "completed"}, expect=(409,)).json()
    assert "pending" in refused["detail"]
    retried = call(clerk, "POST", f"{PREFIX}/payouts/{number}/retry/").json()
    assert retried["status"] in ("pending", "processing", "completed")
    done = walk.wait(f"/payouts/{number}/", "completed")
    assert (done["attempts"], done["last_error"]) == (2, None)
    call(clerk, "POST", f"{PREFIX}/payouts/{number}/retry/", expect=(409,))
    call(clerk, "DELETE", f"{PREFIX}/payouts/{number}/", expect=(409,))


def test_patch_allows_what_the_machine_allows_and_says_so(clerk: httpx2.Client, walk: Walk) -> None:
    number = walk.draft()
    path = f"{PREFIX}/payouts/{number}/"
    for wanted in ("processing", "completed", "failed", "banana"):
        refused = call(clerk, "PATCH", path, json={"status": wanted, "description": "changed"}, expect=(409,)).json()
        assert "pending or canceled" in refused["detail"]
    assert call(clerk, "GET", path).json()["description"] == "Черновик"
    assert call(clerk, "PATCH", path, json={"status": "draft"}).json()["status"] == "draft"
    both = call(clerk, "PATCH", path, json={"status": "canceled", "description": "Не нужно"}).json()
    assert (both["status"], both["description"]) == ("canceled", "Не нужно")
    call(clerk, "PATCH", path, json={"status": "pending"}, expect=(409,))
    call(clerk, "DELETE", path, expect=(204,))
    call(clerk, "GET", path, expect=(404,))


def test_a_list_is_searched_ordered_and_cut_into_pages(clerk: httpx2.Client) -> None:
    word = f"маркер{uuid.uuid4().hex[:8]}"
    made = []
    for amount in (30, 10, 20):
        body = {**PAYOUT, "amount": amount, "description": f"{word} {amount}", "status": "draft"}
        made.append(call(clerk, "POST", f"{PREFIX}/payouts/", json=body, expect=(201,)).json())
    page = call(
        clerk, "GET", f"{PREFIX}/payouts/", params={"search": word, "ordering": "amount", "page_size": 2}
    ).json()
    assert [item["amount"] for item in page["results"]] == ["10.00", "20.00"]
    assert (page["count"], page["previous"]) == (3, None)
    last = call(clerk, "GET", page["next"]).json()
    assert ([item["id"] for item in last["results"]], last["next"]) == ([made[0]["id"]], None)
    assert call(clerk, "GET", last["previous"]).json() == page
    newest = call(clerk, "GET", f"{PREFIX}/payouts/", params={"search": f"{word},20", "ordering": "-created_at"}).json()
    assert [item["id"] for item in newest["results"]] == [made[2]["id"]]
    call(clerk, "GET", f"{PREFIX}/payouts/", params={"search": word, "page": 9}, expect=(404,))


def test_a_customer_has_one_number_and_sees_nobody_else_s_payments(
    visitor: Person, clerk: httpx2.Client, walk: Walk
) -> None:
    theirs = new_user(clerk)
    paid = pay(clerk, "deposit", theirs, 10)["payment_id"]
    mine = call(visitor.http, "POST", f"{PREFIX}/users/", json={"balance": 50}, expect=(201,)).json()
    assert call(visitor.http, "POST", f"{PREFIX}/users/", json={"balance": 50}, expect=(201,)).json() == mine
    own = pay(visitor.http, "withdraw", mine["id"], 10)["payment_id"]
    assert call(visitor.http, "GET", f"{PREFIX}/payments/{own}").json()["user_id"] == mine["id"]
    body = {"user_id": theirs, "withdraw": 10}
    call(visitor.http, "POST", f"{PREFIX}/payments/withdraw", json=body, expect=(404,))
    call(visitor.http, "GET", f"{PREFIX}/payments/{paid}", expect=(404,))
    for method, path in (("GET", "/payouts/"), ("POST", "/payouts/"), ("POST", "/mock-gateway/pay")):
        sent = PAYOUT if path == "/payouts/" else {"amount": 1}
        call(visitor.http, method, f"{PREFIX}{path}", json=sent if method == "POST" else None, expect=(403,))


def test_a_session_and_a_bearer_token_do_as_well_as_a_key(site: Site, manager: Person) -> None:
    call(manager.http, "GET", f"{PREFIX}/payouts/")
    with client(site.public_url) as browser:
        body = {"email": manager.email, "password": manager.password, "session": True}
        origin = {"Origin": site.public_url}
        call(browser, "POST", "/auth/api/v1/login", json=body, headers=origin)
        call(browser, "GET", f"{PREFIX}/payouts/")
        draft = {**PAYOUT, "status": "draft"}
        call(browser, "POST", f"{PREFIX}/payouts/", json=draft, headers=origin, expect=(201,))
        call(
            browser, "POST", f"{PREFIX}/payouts/", json=draft, headers={"Origin": "https://evil.example"}, expect=(403,)
        )


def test_a_stranger_is_served_documents_and_health_alone(anonymous: httpx2.Client) -> None:
    for path in ("/health", "/schema/", "/docs/", "/redoc/", "/docs", "/redoc"):
        call(anonymous, "GET", f"{PREFIX}{path}")
    for method, path in (("POST", "/users/"), ("POST", "/payments/deposit"), ("GET", "/payouts/")):
        call(anonymous, method, f"{PREFIX}{path}", json={} if method == "POST" else None, expect=(401,))


def test_the_schema_is_of_these_routes_alone_and_the_same_in_yaml(anonymous: httpx2.Client) -> None:
    document = call(anonymous, "GET", f"{PREFIX}/schema/").json()
    assert set(document["paths"]) == {
        f"{PREFIX}{path}"
        for path in (
            "/users/", "/payments/deposit", "/payments/withdraw", "/payments/{id}", "/health", "/mock-gateway/pay",
            "/payouts/", "/payouts/{id}/", "/payouts/{id}/retry/",
        )
    }  # fmt: skip
    answer = call(anonymous, "GET", f"{PREFIX}/schema/", headers={"Accept": "application/yaml"})
    assert answer.headers["content-type"].startswith("application/yaml")
    assert yaml.safe_load(answer.text) == document
    call(anonymous, "GET", f"{PREFIX}/schema/", params={"format": "xml"}, expect=(422,))


@pytest.mark.covers("make compatibility-table")
def test_the_table_is_printed_by_a_target(state: dict[str, Any]) -> None:
    assert state["ready"]
    done = make("compatibility-table")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ROWS)} requests of 3 documents, {len(ROWS)} answered as written" in done.stdout
