"""The command line of auth, as an operator types it, and the whole process with a real broker."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import psycopg
import pytest
from typer.testing import CliRunner

from auth.main import cli
from copeck.testkit.rabbit import Broker
from copeck.testkit.waiting import eventually_sync

pytestmark = pytest.mark.integration

Environment = Callable[..., dict[str, str]]
SECRET = {"signing_secret": "0123456789abcdef0123456789abcdef", "password_memory_kib": "64", "password_passes": "1"}


@pytest.fixture
def env(service_environment: Environment) -> dict[str, str]:
    return service_environment("auth", "auth", **SECRET)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    # The commands run in this process, whose logging belongs to pytest.
    monkeypatch.setattr("auth.main.configure_logging", lambda *_: None)


def auth(env: dict[str, str], *arguments: str, stdin: str = "", code: int = 0) -> str:
    done = CliRunner().invoke(cli, arguments, input=stdin, env=env)
    assert done.exit_code == code, f"{done.output}\n{done.exception!r}"
    return f"{done.output}{done.exception or ''}"


def test_help_names_the_commands() -> None:
    command = [sys.executable, "-m", "auth", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    for name in ("serve", "migrate", "create-operator", "create-user", "keys", "purge"):
        assert name in text


def test_the_first_operator_is_made_once(env: dict[str, str], database_urls: dict[str, str]) -> None:
    first = auth(env, "create-operator", "--email", "op@example.org")
    password = first.rpartition("password: ")[2].strip()
    assert len(password) >= 20
    again = auth(env, "create-operator", "--email", "OP@example.org", code=1)
    assert "OP@example.org has an account; --existing takes it over" in again
    assert "password" not in again
    with psycopg.connect(database_urls["admin"]) as connection:
        assert connection.execute("SELECT role FROM auth.user_roles").fetchall() == [("operator",)]
        actions = connection.execute("SELECT actor, action FROM auth.audit").fetchall()
    assert actions == [("system", "user.registered")]


def test_users_with_roles(env: dict[str, str]) -> None:
    arguments = ("create-user", "--email", "m@example.org", "--role", "manager", "--password-stdin")
    made = auth(env, *arguments, stdin="correct horse battery\n")
    assert "roles: manager" in made
    assert "correct horse" not in made
    more = auth(env, "create-user", "--email", "m@example.org", "--role", "recipient", "--existing")
    assert "roles: manager, recipient" in more
    assert "no such role" in auth(env, "create-user", "--email", "m@example.org", "--role", "king", code=2)
    assert "is no e-mail address" in auth(env, "create-operator", "--email", "nobody", code=2)
    assert "password has 10" in auth(env, *arguments, stdin="short\n", code=2)


def test_signing_keys_by_command(env: dict[str, str]) -> None:
    steps = [auth(env, "keys", "rotate", "--force").split()[0].rstrip(":") for _ in range(5)]
    assert steps == ["publish", "activate", "publish", "activate", "retire"]
    states = [line.split()[1] for line in auth(env, "keys", "list").splitlines()]
    assert states == ["active", "retired"]
    assert "nothing is due" in auth(env, "keys", "rotate", "--age-days-min", "90")


def test_purge(env: dict[str, str]) -> None:
    assert "deleted 0 rows" in auth(env, "purge")


def test_migrate_may_be_run_again(env: dict[str, str], database_urls: dict[str, str]) -> None:
    assert "up to date" in auth(env, "migrate", "--database-url", database_urls["copeck_migrator"])


def test_a_bad_secret_is_said_in_words(env: dict[str, str]) -> None:
    text = auth({**env, "COPECK_SIGNING_SECRET": "short"}, "keys", "list", code=2)
    assert "COPECK_SIGNING_SECRET" in text


@contextmanager
def serving(env: dict[str, str]) -> Iterator[tuple[httpx2.Client, "subprocess.Popen[str]"]]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "auth", "serve"],
        env={**env, "COPECK_LISTEN_PORT": str(port), "COPECK_PUBLIC_URL": "http://pages.test"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:

            def ready() -> bool:
                assert process.poll() is None, process.stderr.read() if process.stderr else ""
                try:
                    return client.get("/readyz").status_code == 200
                except httpx2.HTTPError:
                    return False

            eventually_sync(ready, 30)
            yield client, process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        if process.stderr:
            process.stderr.close()


async def test_the_process_publishes_logs_and_ends(env: dict[str, str], broker: Broker) -> None:
    with serving(env) as (client, process):
        body = {"email": "anna@example.org", "password": "correct horse battery"}
        trace = f"00-{'a' * 32}-{'b' * 16}-01"
        answer = client.post("/auth/api/v1/register", json=body, headers={"traceparent": trace})
        assert answer.status_code == 201
        message = await broker.get("subscriptions.events", timeout_s=10)
        assert message is not None
        assert message.header.properties.headers["cloudEvents:type"] == "user.registered.v1"
        assert "a" * 32 in message.header.properties.headers["cloudEvents:traceparent"]
        assert json.loads(message.body)["user_id"] == answer.json()["id"]
        assert client.get("/readyz").json()["checks"].keys() == {"database", "broker"}
        assert "copeck_http_requests_total" in client.get("/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
        assert process.stderr is not None
        log = process.stderr.read()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    request = next(line for line in lines if line.get("http.route") == "/auth/api/v1/register")
    assert request["http.response.status_code"] == 201
    assert request["trace.id"] == "a" * 32
    assert "correct horse" not in log
    assert os.environ.get("COPECK_SIGNING_SECRET", SECRET["signing_secret"]) not in log
