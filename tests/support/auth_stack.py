"""auth in the test's own process, with what nginx does before it; used by the tests of the service."""

from base64 import b64encode
from typing import Any

import httpx2
import psycopg

from auth.context import Context
from auth.handlers import accounts
from auth.settings import AuthSettings

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


def kind(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def basic(key_id: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + b64encode(f"{key_id}:{secret}".encode()).decode()}


async def log_in_page(stack: Stack, **headers: str) -> httpx2.Response:
    return await stack.client.post(
        PREFIX + "/login", json={"email": "anna@example.org", "password": PASSWORD, "session": True}, headers=headers
    )


async def give(stack: Stack, operator: dict[str, str], user_id: str, roles: list[str]) -> dict[str, Any]:
    read = await stack.call("GET", f"/users/{user_id}", auth=operator)
    headers = {"if-match": read.headers["etag"]}
    path = f"/users/{user_id}/roles"
    answer = await stack.call("PUT", path, auth=operator, json={"roles": roles}, headers=headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body
