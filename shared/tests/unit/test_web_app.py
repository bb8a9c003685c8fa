"""The application factory: what every service's HTTP edge does, whatever its routes."""

import asyncio
from datetime import UTC, date, datetime
from typing import Any, Literal
from uuid import UUID

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI

from copeck.kernel.errors import DomainError
from copeck.kernel.settings import Settings
from copeck.observability.health import Health
from copeck.web.app import Api, create_app
from copeck.web.auth import CurrentPrincipal, require_roles
from copeck.web.etag import IfMatch, check_if_match, etag_for
from copeck.web.idempotency import IdempotencyKey, RequestHash
from copeck.web.keys import StaticKeys
from copeck.web.limits import rate_limit
from copeck.web.models import StrictModel
from copeck.web.money import MoneyModel
from copeck.web.pagination import Cursor, Page
from copeck.web.problems import problem_responses
from copeck.web.wait import PreferWait


class Order(StrictModel):
    id: UUID
    count: int
    kind: Literal["a", "b"] = "a"
    price: MoneyModel | None = None
    at: datetime | None = None
    days: list[date] = []  # noqa: RUF012 - pydantic copies it
    more_prices: list[MoneyModel] = []  # noqa: RUF012


class RefusedError(DomainError):
    type = "no-beans"
    title = "There are no beans"
    status = 409


router = APIRouter()


@router.post("/orders", responses=problem_responses(409))
async def make_order(order: Order) -> dict[str, Any]:
    return {"id": str(order.id), "minor": order.price.money().minor if order.price else None}


@router.get("/orders/{number}")
async def read_order(number: int) -> dict[str, int]:
    return {"number": number}


@router.get("/list")
async def read_list(cursor: Cursor) -> Page[int]:
    start = int(cursor.after[0]) if cursor.after else 0
    rows = list(range(start + 1, start + cursor.limit + 2))
    return cursor.page(rows, key=lambda row: (row,), show=lambda row: row)


@router.get("/boom")
async def boom() -> None:
    raise RuntimeError("secret text")


@router.get("/refused")
async def refused() -> None:
    raise RefusedError("the hopper is empty", "beans")


@router.get("/slow")
async def slow() -> None:
    await asyncio.sleep(30)


@router.get("/me")
async def me(principal: CurrentPrincipal) -> str:
    return str(principal.user_id)


@router.get("/managers", dependencies=[Depends(require_roles("manager"))])
async def managers() -> str:
    return "in"


@router.get("/limited/{number}", dependencies=[Depends(rate_limit("three", "3/minute"))])
async def limited(number: int) -> int:
    return number


@router.post("/pay")
async def pay(key: IdempotencyKey, digest: RequestHash, wait_s: PreferWait) -> dict[str, Any]:
    return {"key": key, "digest": digest, "wait_s": wait_s}


@router.put("/edited")
async def edit(if_match: IfMatch) -> dict[str, str]:
    check_if_match(if_match, 7)
    return {"etag": etag_for(7)}


def make_app(request_timeout_s: float) -> FastAPI:
    settings = Settings(request_timeout_s=request_timeout_s, request_body_bytes_max=1000)
    admin = APIRouter()

    @admin.get("/things")
    async def things() -> list[str]:
        return []

    return create_app(
        settings,
        title="Test",
        prefix="/test/api/v1",
        routers=[router],
        apis=[Api("/admin/api/v1", "Admin", [admin])],
        health=Health(),
        keys=StaticKeys({"keys": []}),
    )


@pytest.fixture
def app() -> FastAPI:
    return make_app(request_timeout_s=30)


@pytest.fixture
async def client(app: FastAPI) -> Any:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test/test/api/v1") as client:
        yield client


def check_problem(answer: httpx2.Response, status: int, kind: str, field: str | None = None) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:copeck:problem:{kind}"
    assert body["status"] == status
    assert body.get("field") == field
    assert len(body["trace_id"]) == 32
    return body


ID = "0190b6d4-7b1a-7c3e-8a1b-0123456789ab"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"id": ID, "count": "7"}, "count"),
        ({"id": ID, "count": 1.5}, "count"),
        ({"id": ID, "count": True}, "count"),
        ({"id": 7, "count": 1}, "id"),
        ({"id": ID, "count": 1, "more": 1}, "more"),
        ({"id": ID, "count": 1, "price": {"value": 199.0, "currency": "RUB"}}, "price.value"),
        ({"id": ID, "count": 1, "price": {"value": "199.001", "currency": "RUB"}}, "price.value"),
        ({"id": ID, "count": 1, "price": {"value": "1.5", "currency": "JPY"}}, "price"),
        ({"id": ID, "count": 1, "price": {"value": "1", "currency": "XXX"}}, "price.currency"),
        ({"id": ID, "count": 1, "at": 1767225600}, "at"),
        ({"id": ID, "count": 1, "days": [7]}, "days.0"),
        ({"id": ID, "count": 1, "more_prices": [{"value": 1, "currency": "RUB"}]}, "more_prices.0.value"),
        ([], "body"),
    ],
)
async def test_json_is_read_strictly(client: httpx2.AsyncClient, body: Any, field: str) -> None:
    check_problem(await client.post("/orders", json=body), 422, "invalid-value", field)


async def test_good_json_is_accepted(client: httpx2.AsyncClient) -> None:
    price = {"value": "199.00", "currency": "RUB"}
    body = {"id": ID, "count": 1, "price": price, "at": "2026-01-01T00:00:00Z", "days": ["2026-01-01"]}
    answer = await client.post("/orders", json={**body, "more_prices": [price]})
    assert answer.json() == {"id": ID, "minor": 19900}


def test_a_strict_model_is_built_in_python_too() -> None:
    built = Order(
        id=UUID(ID), count=1, price=MoneyModel(value="1", currency="RUB"), at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert built.count == 1
    assert built.price == MoneyModel(value="1", currency="RUB")


async def test_bad_bodies(client: httpx2.AsyncClient) -> None:
    json_type = {"content-type": "application/json"}
    check_problem(await client.post("/orders", content=b"{", headers=json_type), 400, "malformed", "body")
    check_problem(await client.post("/orders", content=b"\xff\xfe", headers=json_type), 400, "malformed", "body")
    check_problem(await client.post("/orders", content=b"[" * 900, headers=json_type), 400, "malformed", "body")
    check_problem(
        await client.post("/orders", content=b"a=b", headers={"content-type": "text/plain"}),
        415,
        "unsupported-media-type",
        "body",
    )
    check_problem(await client.post("/orders"), 422, "invalid-value", "body")
    check_problem(await client.post("/orders", content=b" " * 1001, headers=json_type), 413, "body-too-large", "body")


async def test_the_limit_holds_for_chunked_bodies(client: httpx2.AsyncClient) -> None:
    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 100

    answer = await client.post("/orders", content=chunks(), headers={"content-type": "application/json"})
    check_problem(answer, 413, "body-too-large", "body")


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800", "x\\uDFFFx"])
async def test_text_that_cannot_be_stored_is_refused(client: httpx2.AsyncClient, text: str) -> None:
    body = f'{{"id": "{ID}", "count": 1, "deep": [{{"a": "{text}"}}]}}'
    answer = await client.post("/orders", content=body, headers={"content-type": "application/json"})
    check_problem(answer, 422, "invalid-text", "deep.0.a")


async def test_a_whole_surrogate_pair_is_text(client: httpx2.AsyncClient) -> None:
    body = f'{{"id": "{ID}", "count": 1, "\\ud83d\\ude00": 1}}'
    answer = await client.post("/orders", content=body, headers={"content-type": "application/json"})
    assert check_problem(answer, 422, "invalid-value", "😀")


async def test_null_bytes_in_addresses_are_refused(client: httpx2.AsyncClient) -> None:
    check_problem(await client.get("/orders/%00"), 422, "invalid-text", "path")
    check_problem(await client.get("/list?cursor=%00"), 422, "invalid-text", "query")
    check_problem(await client.get("/list?cursor=%ff"), 422, "invalid-text", "query")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"count=1&drink=%00"),
        ("application/x-www-form-urlencoded; charset=utf-8", b"drink=a\x00b"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="drink"\r\n\r\n\x00\r\n--x--\r\n',
        ),
    ],
)
async def test_null_bytes_in_forms_are_refused(client: httpx2.AsyncClient, content_type: str, body: bytes) -> None:
    """Defect: a form with a null byte reached the database and was answered 500."""
    answer = await client.post("/orders", content=body, headers={"content-type": content_type})
    check_problem(answer, 422, "invalid-text", "body")


async def test_errors_tell_nothing_about_the_inside(client: httpx2.AsyncClient) -> None:
    body = check_problem(await client.get("/boom"), 500, "internal")
    assert "secret" not in str(body)
    check_problem(await client.get("/refused"), 409, "no-beans", "beans")
    check_problem(await client.get("/nothing"), 404, "not-found")
    check_problem(await client.get("/orders/x"), 422, "invalid-value", "number")
    check_problem(await client.delete("/orders"), 405, "method-not-allowed")


async def test_a_request_ends_with_its_time() -> None:
    transport = httpx2.ASGITransport(app=make_app(request_timeout_s=0.3))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test/test/api/v1") as client:
        answer = await client.get("/slow")
    check_problem(answer, 503, "timed-out")
    assert answer.headers["retry-after"] == "1"


async def test_who_is_not_known(client: httpx2.AsyncClient) -> None:
    check_problem(await client.get("/me"), 401, "unauthorized")
    check_problem(await client.get("/managers", headers={"authorization": "Bearer x.y.z"}), 401, "unauthorized")


async def test_a_limit_is_keyed_by_endpoint(client: httpx2.AsyncClient) -> None:
    for number in range(3):
        assert (await client.get(f"/limited/{number}")).status_code == 200
    answer = await client.get("/limited/4")
    check_problem(answer, 429, "rate-limited")
    assert 0 < int(answer.headers["retry-after"]) <= 61


async def test_lost_counters_let_everyone_through(app: FastAPI, client: httpx2.AsyncClient) -> None:
    from copeck.web.limits import Limiter

    app.state.limiter = Limiter.of("redis://127.0.0.1:1/0")
    for number in range(5):
        assert (await client.get(f"/limited/{number}")).status_code == 200


async def test_idempotency_key_is_required(client: httpx2.AsyncClient) -> None:
    check_problem(await client.post("/pay"), 400, "idempotency-key-required", "Idempotency-Key")
    check_problem(
        await client.post("/pay", headers={"idempotency-key": "a b"}),
        400,
        "idempotency-key-required",
        "Idempotency-Key",
    )
    answer = await client.post("/pay", headers={"idempotency-key": "k1", "prefer": "respond-async, wait=99"})
    assert answer.json()["wait_s"] == 30


async def test_edits_need_what_was_read(client: httpx2.AsyncClient) -> None:
    check_problem(await client.put("/edited"), 428, "precondition-required", "If-Match")
    check_problem(await client.put("/edited", headers={"if-match": '"6"'}), 412, "version-conflict", "If-Match")
    assert (await client.put("/edited", headers={"if-match": 'W/"7"'})).status_code == 200


async def test_pages_follow_each_other(client: httpx2.AsyncClient) -> None:
    first = (await client.get("/list?limit=2")).json()
    assert first["items"] == [1, 2]
    second = (await client.get("/list", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert second["items"] == [3, 4]
    check_problem(await client.get("/list?cursor=???"), 422, "invalid-cursor", "cursor")
    check_problem(await client.get("/list?limit=0"), 422, "invalid-value", "limit")


async def test_security_headers_and_trace(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/orders/1", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["traceparent"].startswith(f"00-{'a' * 32}-")


async def test_unknown_hosts_are_refused() -> None:
    app = create_app(
        Settings(trusted_hosts=("copeck.example", "*.copeck.example")),
        title="t",
        prefix="/t",
        routers=[],
        health=Health(),
        keys=StaticKeys({}),
    )
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app)) as client:
        check_problem(await client.get("http://evil.example/healthz"), 400, "unknown-host", "Host")
        assert (await client.get("http://a.copeck.example:80/healthz")).status_code == 200


async def test_documents_and_pages_of_them(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert "/test/api/v1/orders" in document["paths"]
    assert "/admin/api/v1/things" not in document["paths"]
    post = document["paths"]["/test/api/v1/orders"]["post"]["responses"]
    assert {"400", "409", "413", "415", "422", "429", "503"} <= set(post)
    assert "application/problem+json" in post["422"]["content"]
    assert {"401", "403"} <= set(document["paths"]["/test/api/v1/managers"]["get"]["responses"])
    assert {"412", "428"} <= set(document["paths"]["/test/api/v1/edited"]["put"]["responses"])
    admin = (await client.get("http://test/admin/api/v1/openapi.json")).json()
    assert list(admin["paths"]) == ["/admin/api/v1/things"]
    import re

    for page in ("docs", "redoc"):
        html = (await client.get(f"/{page}")).text
        links = re.findall(r"(?:src|href)='([^']+)'", html)
        assert links
        for link in links:
            assert link.startswith("/test/api/v1/assets/"), "nothing comes from another host"
            assert (await client.get(f"http://test{link}")).status_code == 200


async def test_metrics_name_routes_and_not_paths(client: httpx2.AsyncClient) -> None:
    await client.get("/orders/123456")
    text = (await client.get("http://test/metrics")).text
    assert 'route="/test/api/v1/orders/{number}"' in text
    assert "123456" not in text
    assert (await client.get("http://test/readyz")).json()["status"] == "ok"
