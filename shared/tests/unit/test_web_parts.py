"""Parts of the web edge on their own: tokens, keys, pages, languages, money, cursors, waiting."""

import asyncio
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from pydantic import ValidationError
from starlette.requests import Request

from copeck.kernel.money import Money
from copeck.testkit.tokens import TokenMint
from copeck.web.auth import TokenVerifier, require_roles
from copeck.web.csp import ContentPolicy
from copeck.web.keys import JwksKeys, StaticKeys, read_jwks
from copeck.web.money import MoneyModel
from copeck.web.pages import Pages
from copeck.web.pagination import decode_cursor, encode_cursor
from copeck.web.problems import Problem
from copeck.web.translations import Texts, check_texts, language_of
from copeck.web.wait import prefer_wait, wait_until


async def test_a_token_of_ours_names_its_principal(token_mint: TokenMint) -> None:
    user = uuid4()
    token = token_mint.token(user, ["manager", "astronaut"], client="key:ck_1")
    principal = await TokenVerifier(StaticKeys(token_mint.jwks())).verify(token)
    assert principal.user_id == user
    assert principal.roles == {"manager"}, "a role that does not exist is no role"
    assert principal.has("operator", "manager")


@pytest.mark.parametrize(
    "wrong",
    [
        {"audience": "copeck.edge"},
        {"issuer": "somebody"},
        {"ttl_s": -60},
        {"sub": "not a uuid"},
        {"sub": None},
        {"nbf": time.time() + 1000},
    ],
)
async def test_other_tokens_are_refused(token_mint: TokenMint, wrong: dict[str, Any]) -> None:
    verifier = TokenVerifier(StaticKeys(token_mint.jwks()))
    with pytest.raises(Problem) as refused:
        await verifier.verify(token_mint.token(uuid4(), **wrong))
    assert refused.value.status == 401


async def test_algorithms_of_the_token_itself_are_not_believed(token_mint: TokenMint) -> None:
    import jwt

    verifier = TokenVerifier(StaticKeys(token_mint.jwks()))
    claims = {"iss": "copeck-auth", "aud": "copeck.internal", "sub": str(uuid4()), "iat": 1, "exp": time.time() + 60}
    secret = str(token_mint.jwks()["keys"][0]["x"])
    for token in (
        jwt.encode(claims, secret, algorithm="HS256", headers={"kid": token_mint.kid}),
        jwt.encode(claims, "", algorithm="none", headers={"kid": token_mint.kid}),
        TokenMint(kid=token_mint.kid).token(uuid4()),
        TokenMint(kid="unknown").token(uuid4()),
        "a.b.c",
        "x" * 5000,
        "",
    ):
        with pytest.raises(Problem) as refused:
            await verifier.verify(token)
        assert refused.value.status == 401


def test_only_signing_keys_that_we_know_are_read(token_mint: TokenMint) -> None:
    (good,) = token_mint.jwks()["keys"]
    others = [{**good, "kid": "e", "use": "enc"}, {"kty": "oct", "kid": "o", "k": "AAAA"}, {**good, "kid": 7}]
    assert list(read_jwks({"keys": [good, *others]})) == [good["kid"]]


async def test_jwks_is_fetched_once_and_again_for_a_new_key(monkeypatch: pytest.MonkeyPatch) -> None:
    mints = [TokenMint("one")]
    calls = 0

    def answer(_: httpx2.Request) -> httpx2.Response:
        nonlocal calls
        calls += 1
        if not mints:
            return httpx2.Response(503)
        return httpx2.Response(200, json={"keys": [key for mint in mints for key in mint.jwks()["keys"]]})

    monkeypatch.setattr("copeck.web.keys.REFETCH_S_MIN", 0.0)
    keys = JwksKeys("http://auth.test/jwks", client=httpx2.AsyncClient(transport=httpx2.MockTransport(answer)))
    await asyncio.gather(*(keys.key("one") for _ in range(10)))
    assert calls == 1
    mints.append(TokenMint("two"))
    assert await keys.key("two") is not None
    mints.clear()
    assert await keys.key("three") is None
    assert await keys.key("one") is not None, "with auth out of reach the known keys stay good"
    await keys.close()


async def test_without_any_key_the_answer_is_503() -> None:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(500))
    keys = JwksKeys("http://auth.test/jwks", client=httpx2.AsyncClient(transport=transport))
    with pytest.raises(Problem) as refused:
        await keys.key("one")
    assert refused.value.status == 503
    await keys.close()


def test_roles_are_spelled_right() -> None:
    with pytest.raises(ValueError, match="astronaut"):
        require_roles("astronaut")


def request(query: str = "", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/pay/1", "query_string": query.encode(), "headers": raw}
    return Request({**scope, "server": ("test", 80), "scheme": "http", "root_path": ""})


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        (request(), "ru"),
        (request("lang=en"), "en"),
        (request("lang=xx"), "ru"),
        (request(cookie="copeck_lang=en"), "en"),
        (request("lang=ru", cookie="copeck_lang=en"), "ru"),
        (request(accept_language="en-GB,en;q=0.9,ru;q=0.8"), "en"),
        (request(accept_language="de,ru;q=0.3,en;q=0.7"), "en"),
        (request(accept_language="de;q=x,*"), "ru"),
    ],
)
def test_the_language_of_a_page(asked: Request, language: str) -> None:
    assert language_of(asked) == language


def test_texts_are_whole_in_both_languages() -> None:
    check_texts({})
    with pytest.raises(ValueError, match="hello"):
        check_texts({"ru": {"hello": "привет"}, "en": {}})
    assert Texts("en", {"en": {"hello": "Hello, {name}"}})("hello", name="Anna") == "Hello, Anna"
    assert Texts("ru", {}).money(Money(1_990_050, "RUB")).replace("\xa0", " ") == "19 900,50 ₽"


def test_pages_escape_and_name_their_policy(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "app.js").write_text("1;")
    (tmp_path / "templates" / "page.html").write_text(
        '{% extends "base.html" %}{% block content %}<h1>{{ name }}</h1>{{ asset("app.js") }}{% endblock %}'
    )
    policy = ContentPolicy(script=["https://widget.test"], frame=["https://widget.test"])
    pages = Pages(tmp_path, prefix="/payments/api/v1", texts={"ru": {}, "en": {}}, policy=policy)
    answer = pages.render(request("lang=en&x=1"), "page.html", {"name": "<script>"})
    html = bytes(answer.body).decode()
    assert "&lt;script&gt;" in html
    assert "/payments/api/v1/assets/app/app.js?v=" in html
    assert 'lang="en"' in html
    assert html.count("lang=ru") == 1
    header = answer.headers["content-security-policy"]
    assert "script-src 'self' https://widget.test;" in header
    assert "'unsafe-inline'" not in header
    assert "<style" not in html
    assert "copeck_lang=en" in answer.headers["set-cookie"]


def test_money_on_the_wire() -> None:
    model = MoneyModel.of(Money(19900, "RUB"))
    assert model.model_dump() == {"value": "199.00", "currency": "RUB"}
    assert model.money() == Money(19900, "RUB")
    for value in ("-1", "1e3", "01", "1.", ".5", "1,5", " 1", "٣", "99999999999"):
        with pytest.raises(ValidationError):
            MoneyModel(value=value, currency="RUB")


def test_cursors_come_back_as_they_went() -> None:
    key = ("2026-03-01T00:00:00+00:00", 7, None)
    assert decode_cursor(encode_cursor(*key)) == key
    assert decode_cursor(encode_cursor(UUID(int=1))) == (str(UUID(int=1)),)
    for bad in ("x", "e30", "WzEuNV0", "W1tdXQ", "WyJcdTAwMDAiXQ", "a" * 600, "ж"):
        with pytest.raises(Problem) as refused:
            decode_cursor(bad)
        assert refused.value.status == 422


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0), ("wait=5", 5), ("respond-async, wait=10", 10), ("WAIT=7; x", 7), ("wait=999999", 30),
        ('wait="3"', 3), ("wait=-1", 0), ("wait=abc", 0), ("await=5", 0), ("", 0),
    ],
)  # fmt: skip
async def test_prefer_wait(header: str | None, seconds: float) -> None:
    assert await prefer_wait(header) == seconds


async def test_waiting_ends_with_the_answer_or_the_time() -> None:
    answers = iter([None, None, "done"])

    async def probe() -> str | None:
        return next(answers)

    async def nothing() -> str | None:
        return None

    assert await wait_until(probe, 5) == "done"
    begun = time.monotonic()
    assert await wait_until(nothing, 0.1) is None
    assert time.monotonic() - begun < 1
    assert await wait_until(nothing, 0) is None
