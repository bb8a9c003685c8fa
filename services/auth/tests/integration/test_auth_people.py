"""API keys, roles, passwords, signing keys and what is kept: over HTTP with a real Postgres."""

from datetime import timedelta

import httpx2
import psycopg
import pytest

from auth.context import Context
from auth.domain.errors import EmailTakenError
from auth.handlers import accounts, housekeeping, rotation
from auth.main import build_app
from copeck.kernel.clock import ManualClock
from copeck.storage.engine import Database
from tests.support.auth_stack import PASSWORD, PREFIX, Stack, basic, bearer, give, kind, log_in_page, settings_for

pytestmark = pytest.mark.integration


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


async def test_who_registered_the_operators_address_first_gets_nothing(stack: Stack) -> None:
    """A command refuses the account, or takes it over: the password, the sessions and the keys of before are over."""
    await stack.register("op@example.org")
    tokens = await stack.tokens("op@example.org")
    made = (await stack.call("POST", "/api-keys", auth=bearer(tokens), json={"name": "mine"})).json()
    key = basic(made["id"], made["secret"])
    meant = {"email": "OP@example.org", "password": "another horse battery", "roles": frozenset({"operator"})}
    with pytest.raises(EmailTakenError):
        await accounts.ensure_user(stack.context, **meant)
    assert (await stack.call("GET", "/me", auth=bearer(tokens))).json()["roles"] == ["customer"]
    user, created = await accounts.ensure_user(stack.context, **meant, existing=True)
    assert (created, user.roles) == (False, {"customer", "operator"})
    assert (await stack.edge(bearer(tokens))).status_code == 401
    assert (await stack.edge(key)).status_code == 401
    assert (await stack.refresh(tokens["refresh_token"])).status_code == 401
    assert (await stack.log_in("op@example.org")).status_code == 401
    assert (await stack.log_in("op@example.org", "another horse battery")).status_code == 200
    actions = [action for (action,) in stack.rows("SELECT action FROM auth.audit ORDER BY id")]
    assert actions[-2:] == ["user.taken_over", "user.roles_changed"]
