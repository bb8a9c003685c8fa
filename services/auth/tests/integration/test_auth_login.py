"""Logging in, refreshing, sessions, lock-out: over HTTP with a real Postgres."""

import asyncio
import time
from datetime import timedelta

import pytest

from auth.context import Context
from copeck.kernel.clock import ManualClock
from copeck.storage.engine import Database
from tests.support.auth_stack import (
    ORIGIN,
    PASSWORD,
    PREFIX,
    Stack,
    bearer,
    kind,
    log_in_page,
    settings_for,
)

pytestmark = pytest.mark.integration


async def test_register_log_in_and_be_known(stack: Stack) -> None:
    user = await stack.register()
    assert user["roles"] == ["customer"]
    tokens = await stack.tokens("ANNA@example.org ".strip())
    me = await stack.call("GET", "/me", auth=bearer(tokens))
    assert me.json()["id"] == user["id"]
    assert me.json()["client"].startswith("token:")
    assert kind(await stack.call("GET", "/me")) == (401, "unauthorized")
    assert "password" not in me.text


async def test_an_address_has_one_account(stack: Stack) -> None:
    await stack.register()
    again = await stack.client.post(PREFIX + "/register", json={"email": "Anna@Example.org", "password": PASSWORD})
    assert kind(again) == (409, "email-taken")
    body = {"email": "b@example.org", "password": PASSWORD}
    together = await asyncio.gather(*(stack.client.post(PREFIX + "/register", json=body) for _ in range(5)))
    assert sorted(answer.status_code for answer in together) == [201, 409, 409, 409, 409]


async def test_registering_announces_the_user_in_the_same_commit(stack: Stack) -> None:
    user = await stack.register()
    ((body, key),) = stack.rows("SELECT convert_from(body, 'UTF8')::jsonb, routing_key FROM auth.outbox")
    assert key == "user.registered"
    assert body["user_id"] == user["id"]
    assert body["roles"] == ["customer"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "anna", "password": PASSWORD}, "email"),
        ({"email": "anna@example.org", "password": "short"}, "password"),
        ({"email": "anna@example.org", "password": "qwertyuiop"}, "password"),
        ({"email": "anna@example.org", "password": PASSWORD, "role": "operator"}, "role"),
        ({"email": "anna@example.org", "password": "\x00\x00\x00\x00\x00\x00\x00\x00"}, "password"),
    ],
)
async def test_bad_registrations(stack: Stack, body: dict[str, str], field: str) -> None:
    answer = await stack.client.post(PREFIX + "/register", json=body)
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert body["password"] not in answer.text


async def test_tokens_of_the_edge_and_of_services_are_not_interchangeable(stack: Stack) -> None:
    await stack.register()
    tokens = await stack.tokens()
    edge = await stack.edge(bearer(tokens))
    internal = edge.headers["x-copeck-token"]
    assert (await stack.edge({"authorization": f"Bearer {internal}"})).status_code == 401
    assert (await stack.client.get(PREFIX + "/me", headers=bearer(tokens))).status_code == 401
    assert (await stack.client.get(PREFIX + "/me", headers={"authorization": f"Bearer {internal}"})).status_code == 200


async def test_wrong_passwords_and_unknown_addresses_look_the_same(stack: Stack) -> None:
    await stack.register()
    wrong = await stack.log_in(password="wrong wrong wrong")
    unknown = await stack.log_in("nobody@example.org")
    assert kind(wrong) == kind(unknown) == (401, "invalid-credentials")
    assert wrong.json()["detail"] == unknown.json()["detail"]


async def test_an_unknown_address_takes_as_long_as_a_known_one(database_urls: dict[str, str]) -> None:
    """With hashing expensive enough to be seen, the fastest of each differ by less than a third."""
    settings = settings_for(database_urls["auth"], password_memory_kib=16 * 1024, password_passes=2)
    context = Context.build(settings, Database(settings.database_url, 2))
    try:
        stored = await context.passwords.hash(PASSWORD)
        durations: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(9):
            for known in (True, False):
                begun = time.perf_counter()
                assert await context.passwords.verify("wrong", stored if known else None) == (False, None)
                durations[known].append(time.perf_counter() - begun)
    finally:
        await context.database.close()
    of_known, of_unknown = min(durations[True]), min(durations[False])
    assert abs(of_known - of_unknown) < max(of_known, of_unknown) / 3


async def test_passwords_are_hashed_off_the_loop_and_a_crowd_is_turned_away(database_urls: dict[str, str]) -> None:
    settings = settings_for(
        database_urls["auth"],
        password_memory_kib=32 * 1024,
        password_passes=3,
        password_concurrency=1,
        password_waiting_max=3,
    )
    context = Context.build(settings, Database(settings.database_url, 2))
    work = asyncio.gather(*(context.passwords.hash(PASSWORD) for _ in range(6)), return_exceptions=True)
    ticks = 0
    while not work.done():
        await asyncio.sleep(0.001)
        ticks += 1
    await context.database.close()
    refused = [outcome for outcome in work.result() if isinstance(outcome, BaseException)]
    assert [type(error).__name__ for error in refused] == ["BusyError"] * 3
    assert ticks > 10, "the loop went on turning meanwhile"


async def test_too_many_wrong_passwords_lock_for_a_while(stack: Stack, clock: ManualClock) -> None:
    await stack.register()
    for _ in range(10):
        assert (await stack.log_in(password="wrong wrong wrong")).status_code == 401
    locked = await stack.log_in()
    assert kind(locked) == (429, "rate-limited")
    assert int(locked.headers["retry-after"]) == 900
    clock.advance(timedelta(seconds=901))
    assert (await stack.log_in()).status_code == 200
    assert (await stack.log_in(password="wrong wrong wrong")).status_code == 401, "counting began anew"


async def test_an_unknown_account_is_locked_like_a_known_one(stack: Stack) -> None:
    answers = [await stack.log_in("nobody@example.org") for _ in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]


async def test_refresh_rotates_and_reuse_ends_the_family(stack: Stack, clock: ManualClock) -> None:
    await stack.register()
    first = await stack.tokens()
    second = (await stack.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert (await stack.edge(bearer(second))).status_code == 204
    clock.advance(timedelta(seconds=6))
    assert kind(await stack.refresh(first["refresh_token"])) == (401, "refresh-token-reused")
    assert kind(await stack.refresh(second["refresh_token"])) == (401, "invalid-refresh-token")
    assert (await stack.edge(bearer(second))).status_code == 401, "its access tokens are over too"
    assert stack.rows("SELECT revoked_reason FROM auth.refresh_families") == [("reused",)]
    assert stack.rows("SELECT count(*) FROM auth.audit WHERE action = 'refresh.reused'") == [(1,)]


async def test_of_concurrent_refreshes_exactly_one_wins(stack: Stack) -> None:
    await stack.register()
    for size in (2, 8):
        tokens = await stack.tokens()
        answers = await asyncio.gather(*(stack.refresh(tokens["refresh_token"]) for _ in range(size)))
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * (size - 1)
        winner = next(answer for answer in answers if answer.status_code == 200).json()
        assert (await stack.refresh(winner["refresh_token"])).status_code == 200, "the family lives on"


async def test_refresh_tokens_end(stack: Stack, clock: ManualClock) -> None:
    await stack.register()
    tokens = await stack.tokens()
    assert kind(await stack.refresh("no such token")) == (401, "invalid-refresh-token")
    clock.advance(timedelta(days=31))
    assert kind(await stack.refresh(tokens["refresh_token"])) == (401, "invalid-refresh-token")


async def test_secrets_are_not_in_the_database(stack: Stack) -> None:
    await stack.register()
    tokens = await stack.tokens()
    made = await stack.call("POST", "/api-keys", auth=bearer(tokens), json={"name": "report"})
    secrets = [tokens["refresh_token"], tokens["access_token"], made.json()["secret"], PASSWORD]
    tables = stack.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'auth'")
    for (table,) in tables:
        dump = str(stack.rows(f"SELECT row_to_json(t)::text FROM auth.{table} t"))
        assert not [secret for secret in secrets if secret in dump], table


async def test_a_session_is_an_opaque_cookie_for_our_pages(stack: Stack) -> None:
    await stack.register()
    answer = await log_in_page(stack, origin=ORIGIN)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "access_token" not in answer.json()
    secret = cookie.split("=", 1)[1].split(";", 1)[0]
    jar = {"cookie": f"copeck_session={secret}"}
    assert "x-copeck-token" in (await stack.edge(jar)).headers
    assert "x-copeck-token" in (await stack.edge({**jar, "origin": ORIGIN}, "POST")).headers
    for other in ({"origin": "http://evil.test"}, {"origin": "null"}, {}, {"sec-fetch-site": "cross-site"}):
        refused = await stack.edge({**jar, **other}, "POST")
        assert refused.status_code == 403, other
        assert refused.headers["x-copeck-refusal"] == "cross-site"
    stack.client.cookies.clear()
    over = await stack.edge({"cookie": "copeck_session=nothing"}, "POST")
    assert (over.status_code, "x-copeck-token" in over.headers) == (204, False), "an old cookie is nobody"
    assert kind(await log_in_page(stack, origin="http://evil.test")) == (403, "cross-site")


async def test_logging_out_ends_sessions_and_tokens(stack: Stack) -> None:
    await stack.register()
    secret = (await log_in_page(stack)).headers["set-cookie"].split("=", 1)[1].split(";", 1)[0]
    stack.client.cookies.clear()
    jar = {"cookie": f"copeck_session={secret}"}
    foreign = await stack.client.post(PREFIX + "/logout", headers={**jar, "origin": "http://evil.test"})
    assert foreign.status_code == 403
    assert "x-copeck-token" in (await stack.edge(jar)).headers
    out = await stack.client.post(PREFIX + "/logout", headers={**jar, "origin": ORIGIN})
    assert out.status_code == 204
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert "x-copeck-token" not in (await stack.edge(jar)).headers
    for how in ("header", "body"):
        tokens = await stack.tokens()
        headers = bearer(tokens) if how == "header" else {}
        body = {"refresh_token": tokens["refresh_token"]} if how == "body" else {}
        assert (await stack.client.post(PREFIX + "/logout", headers=headers, json=body)).status_code == 204
        assert (await stack.edge(bearer(tokens))).status_code == 401
        assert (await stack.refresh(tokens["refresh_token"])).status_code == 401


async def test_sessions_end_when_they_are_idle(stack: Stack, clock: ManualClock) -> None:
    await stack.register()
    secret = (await log_in_page(stack)).headers["set-cookie"].split("=", 1)[1].split(";", 1)[0]
    stack.client.cookies.clear()
    jar = {"cookie": f"copeck_session={secret}"}
    clock.advance(timedelta(days=13))
    assert "x-copeck-token" in (await stack.edge(jar)).headers
    clock.advance(timedelta(days=13))
    assert "x-copeck-token" in (await stack.edge(jar)).headers, "it was used meanwhile"
    clock.advance(timedelta(days=15))
    assert "x-copeck-token" not in (await stack.edge(jar)).headers
