"""Auth over HTTP with a real Postgres: what callers see, and what cannot happen."""

import asyncio
import statistics
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2
import psycopg
import pytest

from auth.context import Context
from auth.handlers import accounts, housekeeping, rotation
from auth.main import build_app
from auth.settings import AuthSettings
from copeck.kernel.clock import ManualClock
from copeck.storage.engine import Database

pytestmark = pytest.mark.integration

PREFIX = "/auth/api/v1"
PASSWORD = "correct horse battery"
ORIGIN = "http://pages.test"


class Stack:
    """The service in this process, and what nginx does before it."""

    def __init__(self, client: httpx2.AsyncClient, context: Context, url: str) -> None:
        self.client = client
        self.context = context
        self.url = url

    async def call(
        self, method: str, path: str, *, auth: dict[str, str] | None = None, **arguments: Any
    ) -> httpx2.Response:
        """Call as through the edge: auth's answer decides, and its token goes on."""
        edge = await self.edge(auth or {}, method)
        if edge.status_code != 204:
            return edge
        headers = dict(arguments.pop("headers", {}))
        if "x-copeck-token" in edge.headers:
            headers["authorization"] = f"Bearer {edge.headers['x-copeck-token']}"
        return await self.client.request(method, PREFIX + path, headers=headers, **arguments)

    async def edge(self, auth: dict[str, str], method: str = "GET") -> httpx2.Response:
        return await self.client.get(PREFIX + "/edge", headers={"x-original-method": method, **auth})

    async def register(self, email: str = "anna@example.org") -> dict[str, Any]:
        answer = await self.client.post(PREFIX + "/register", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def log_in(self, email: str = "anna@example.org", password: str = PASSWORD) -> httpx2.Response:
        return await self.client.post(PREFIX + "/login", json={"email": email, "password": password})

    async def tokens(self, email: str = "anna@example.org") -> dict[str, Any]:
        answer = await self.log_in(email)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def refresh(self, token: str) -> httpx2.Response:
        return await self.client.post(PREFIX + "/token/refresh", json={"refresh_token": token})

    async def person(self, email: str, *roles: str) -> dict[str, str]:
        """Return the Authorization header of a user with roles."""
        await accounts.ensure_user(self.context, email=email, password=PASSWORD, roles=frozenset(roles))
        return bearer(await self.tokens(email))

    def rows(self, query: str) -> list[Any]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query).fetchall()


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens['access_token']}"}


def settings_for(url: str, **more: Any) -> AuthSettings:
    values: dict[str, Any] = {
        "database_url": url,
        "signing_secret": "0123456789abcdef0123456789abcdef",
        "public_url": ORIGIN,
        "password_memory_kib": 64,
        "password_passes": 1,
        "rate_limit_factor": 1000,
        "redis_url": "",
        "broker_url": "",
        **more,
    }
    return AuthSettings(**values)


@pytest.fixture
async def stack(database_urls: dict[str, str], clock: ManualClock) -> AsyncIterator[Stack]:
    settings = settings_for(database_urls["auth"])
    context = Context.build(settings, Database(settings.database_url, 8), clock=clock)
    app = build_app(settings, context)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://auth.test") as client:
            yield Stack(client, context, database_urls["admin"])


def kind(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


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
    """With hashing expensive enough to be seen, the medians of both differ by less than a third."""
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
    of_known, of_unknown = statistics.median(durations[True]), statistics.median(durations[False])
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


async def log_in_page(stack: Stack, **headers: str) -> httpx2.Response:
    return await stack.client.post(
        PREFIX + "/login", json={"email": "anna@example.org", "password": PASSWORD, "session": True}, headers=headers
    )


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


def basic(key_id: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + b64encode(f"{key_id}:{secret}".encode()).decode()}


async def test_api_keys_are_shown_once_and_work_until_revoked(stack: Stack) -> None:
    await stack.register()
    tokens = bearer(await stack.tokens())
    made = (await stack.call("POST", "/api-keys", auth=tokens, json={"name": "report"})).json()
    key = basic(made["id"], made["secret"])
    me = (await stack.call("GET", "/me", auth=key)).json()
    assert me["client"] == f"key:{made['id']}"
    listed = (await stack.call("GET", "/api-keys", auth=tokens)).json()["items"]
    assert [item["id"] for item in listed] == [made["id"]]
    assert listed[0]["used_at"] is not None
    assert "secret" not in listed[0]
    assert (await stack.edge(basic(made["id"], "wrong"))).status_code == 401
    assert (await stack.edge(basic("ck_nothing", made["secret"]))).status_code == 401
    assert (await stack.edge({"authorization": "Basic ???"})).status_code == 401
    assert kind(await stack.call("POST", "/api-keys", auth=key, json={"name": "child"})) == (403, "key-from-key")
    assert (await stack.call("DELETE", f"/api-keys/{made['id']}", auth=tokens)).status_code == 204
    assert (await stack.edge(key)).status_code == 401
    other = await stack.person("boris@example.org", "customer")
    assert kind(await stack.call("DELETE", f"/api-keys/{made['id']}", auth=other)) == (404, "not-found")


async def test_a_key_has_no_role_that_its_owner_lacks(stack: Stack) -> None:
    operator = await stack.person("op@example.org", "operator")
    user = await stack.register()
    tokens = bearer(await stack.tokens())
    refused = await stack.call("POST", "/api-keys", auth=tokens, json={"name": "big", "roles": ["operator"]})
    assert kind(refused) == (409, "roles-refused")
    await give(stack, operator, user["id"], ["customer", "merchant"])
    body = {"name": "shop", "roles": ["merchant"]}
    made = (await stack.call("POST", "/api-keys", auth=tokens, json=body)).json()
    key = basic(made["id"], made["secret"])
    assert (await stack.call("GET", "/me", auth=key)).json()["id"] == user["id"]
    await give(stack, operator, user["id"], ["customer"])
    internal = (await stack.edge(key)).headers["x-copeck-token"]
    from copeck.web.auth import TokenVerifier

    assert (await TokenVerifier(stack.context.ring).verify(internal)).roles == frozenset()


async def give(stack: Stack, operator: dict[str, str], user_id: str, roles: list[str]) -> dict[str, Any]:
    read = await stack.call("GET", f"/users/{user_id}", auth=operator)
    headers = {"if-match": read.headers["etag"]}
    path = f"/users/{user_id}/roles"
    answer = await stack.call("PUT", path, auth=operator, json={"roles": roles}, headers=headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_operators_give_roles_and_it_is_written_down(stack: Stack) -> None:
    operator = await stack.person("op@example.org", "operator")
    user = await stack.register()
    path = f"/users/{user['id']}/roles"
    assert kind(await stack.call("PUT", path, auth=operator, json={"roles": []})) == (428, "precondition-required")
    wrong = await stack.call("PUT", path, auth=operator, json={"roles": []}, headers={"if-match": '"7"'})
    assert kind(wrong) == (412, "version-conflict")
    changed = await give(stack, operator, user["id"], ["customer", "manager"])
    assert changed["version"] == 2
    manager = bearer(await stack.tokens())
    assert (await stack.call("GET", "/users", auth=manager, params={"search": "ANNA"})).json()["items"][0][
        "id"
    ] == user["id"]
    assert kind(await stack.call("PUT", path, auth=manager, json={"roles": []}, headers={"if-match": "*"})) == (
        403,
        "forbidden",
    )
    history = (await stack.call("GET", f"/users/{user['id']}/history", auth=operator)).json()["items"]
    assert [item["action"] for item in history] == ["user.roles_changed", "user.registered"]
    assert history[0]["details"] == {"from": ["customer"], "to": ["customer", "manager"]}
    keys = stack.rows("SELECT routing_key FROM auth.outbox ORDER BY id")
    assert keys[-1] == ("user.roles_changed",)
    me = await stack.call("GET", "/me", auth=operator)
    own = await stack.call(
        "PUT", f"/users/{me.json()['id']}/roles", auth=operator, json={"roles": []}, headers={"if-match": "*"}
    )
    assert kind(own) == (409, "roles-refused")


async def test_customers_see_nobody_else(stack: Stack) -> None:
    user = await stack.register()
    tokens = bearer(await stack.tokens())
    for path in ("/users", f"/users/{user['id']}", f"/users/{user['id']}/history", f"/users/{user['id']}/api-keys"):
        assert kind(await stack.call("GET", path, auth=tokens)) == (403, "forbidden")


async def test_lists_are_paged(stack: Stack) -> None:
    operator = await stack.person("op@example.org", "operator")
    for number in range(4):
        await stack.register(f"user{number}@example.org")
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await stack.call("GET", "/users", auth=operator, params=params)).json()
        seen += [item["email"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["op@example.org", *(f"user{number}@example.org" for number in range(4))]


async def test_a_new_password_ends_everything_else(stack: Stack) -> None:
    await stack.register()
    here, elsewhere = await stack.tokens(), await stack.tokens()
    body = {"current_password": "wrong wrong", "new_password": "another fine secret"}
    assert kind(await stack.call("PUT", "/me/password", auth=bearer(here), json=body)) == (401, "invalid-credentials")
    body["current_password"] = PASSWORD
    assert (await stack.call("PUT", "/me/password", auth=bearer(here), json=body)).status_code == 204
    assert (await stack.edge(bearer(here))).status_code == 204
    assert (await stack.edge(bearer(elsewhere))).status_code == 401
    assert (await stack.log_in()).status_code == 401
    assert (await stack.log_in(password="another fine secret")).status_code == 200
    places = (await stack.call("GET", "/me/logins", auth=bearer(here))).json()
    assert [place["current"] for place in places].count(True) == 1
    assert (await stack.call("DELETE", "/me/logins", auth=bearer(here))).status_code == 204
    assert len((await stack.call("GET", "/me/logins", auth=bearer(here))).json()) == 1


async def test_signing_keys_rotate_without_a_token_lost(stack: Stack, clock: ManualClock) -> None:
    await stack.register()
    old = (await stack.client.get(PREFIX + "/.well-known/jwks.json")).json()["keys"]
    assert len(old) == 1
    assert old[0].keys() & {"d"} == set()
    steps = [await rotation.rotate(stack.context)]
    published = await stack.client.get(PREFIX + "/.well-known/jwks.json")
    assert published.headers["cache-control"] == "public, max-age=300"
    assert len(published.json()["keys"]) == 2
    tokens = await stack.tokens()
    steps.append(await rotation.rotate(stack.context))
    clock.advance(timedelta(seconds=361))
    steps.append(await rotation.rotate(stack.context))
    assert (await stack.edge(bearer(tokens))).status_code == 204, "the old key still verifies"
    steps.append(await rotation.rotate(stack.context))
    clock.advance(timedelta(seconds=661))
    steps.append(await rotation.rotate(stack.context))
    assert [step.action for step in steps] == ["publish", None, "activate", None, "retire"]
    now = (await stack.client.get(PREFIX + "/.well-known/jwks.json")).json()["keys"]
    assert [key["kid"] for key in now] == [steps[0].kid]
    assert (await stack.edge(bearer(tokens))).status_code == 401
    assert stack.rows("SELECT private_sealed FROM auth.signing_keys WHERE state = 'retired'") == [(b"",)]


async def test_what_ended_long_ago_is_deleted(stack: Stack, clock: ManualClock) -> None:
    await stack.register()
    await stack.tokens()
    await log_in_page(stack)
    clock.advance(timedelta(days=59))
    assert await housekeeping.purge_all(stack.context) == 0
    clock.advance(timedelta(days=2))
    assert await housekeeping.purge_all(stack.context) == 2
    assert stack.rows("SELECT count(*) FROM auth.refresh_tokens") == [(0,)]


async def test_limits_are_counted_in_redis(database_urls: dict[str, str], redis_url: str) -> None:
    settings = settings_for(database_urls["auth"], redis_url=redis_url, rate_limit_factor=1)
    app = build_app(settings, Context.build(settings, Database(settings.database_url, 2)))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://auth.test") as client,
    ):
        body = {"email": "anna@example.org", "password": "wrong wrong"}
        answers = [(await client.post(PREFIX + "/login", json=body)).status_code for _ in range(11)]
        other = await client.post(PREFIX + "/login", json={**body, "email": "boris@example.org"})
    assert answers == [401] * 10 + [429]
    assert other.status_code == 401


async def test_nobody_edits_the_audit(database_urls: dict[str, str]) -> None:
    with psycopg.connect(database_urls["auth"]) as connection:
        for statement in ("UPDATE auth.audit SET actor = 'x'", "DELETE FROM auth.audit", "DELETE FROM auth.users"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
            connection.rollback()
