"""The edge proxy itself: a real nginx with the rendered configuration, before services that only echo."""

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from copeck.testkit.waiting import eventually_sync
from deploy.nginx.render import DEFAULTS, documents, render

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/sbin")


def test_every_parameter_is_filled_and_unknown_ones_are_refused() -> None:
    text = render()
    assert "${" not in text
    for name in ("PORT", "ADMIN_PORT", "AUTH_UPSTREAM"):
        assert DEFAULTS[name] in text
    with pytest.raises(ValueError, match="NONSENSE"):
        render({"NONSENSE": "1"})


def test_the_configuration_of_compose_is_fresh() -> None:
    for path, text in documents().items():
        assert (Path(__file__).parents[3] / path).read_text() == text, "run: make docs"


class Echo(BaseHTTPRequestHandler):
    """Says what it was asked; as `auth` it knows one token, one other site and nothing else."""

    protocol_version = "HTTP/1.1"
    server: "EchoServer"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _any(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        seen = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.command, self.path, seen))
        if self.path == "/auth/api/v1/edge":
            self._edge(seen)
        elif self.path.endswith("/events"):
            self._drip()
        elif self.path.endswith("/broken"):
            self._send(500, {"own": "answer"})
        else:
            self._send(200, {"service": self.server.name, "path": self.path, "headers": seen, "bytes": len(body)})

    def _drip(self) -> None:
        """Send one event, and the next only when somebody says that the first has arrived."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        self.server.first_seen.wait(10)
        self.wfile.write(b"data: second\n\n")
        self.close_connection = True

    def _edge(self, seen: dict[str, str]) -> None:
        if seen.get("authorization") == "Bearer good" or "copeck_session=s3cret" in seen.get("cookie", ""):
            self._send(204, None, {"X-Copeck-Token": "internal-token"})
        elif seen.get("origin") == "http://evil.test":
            self._send(403, None, {"X-Copeck-Refusal": "cross-site"})
        elif "authorization" in seen:
            self._send(401, None, {"WWW-Authenticate": "Bearer"})
        else:
            self._send(204, None)

    def _send(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        raw = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _any  # noqa: N815


class EchoServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.name = name
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.first_seen = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@dataclass
class Edge:
    public: httpx2.Client
    admin: httpx2.Client
    auth: EchoServer
    log: Path
    servers: list[EchoServer] = field(default_factory=list)

    def server(self, name: str) -> EchoServer:
        return next(server for server in self.servers if server.name == name)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def start(scratch: Path, servers: dict[str, EchoServer], **more: str) -> tuple[subprocess.Popen[bytes], int, int]:
    port, admin_port = free_port(), free_port()
    values = {
        "SCRATCH": str(scratch),
        "LISTEN_HOST": "127.0.0.1",
        "PORT": str(port),
        "ADMIN_PORT": str(admin_port),
        "USER_DIRECTIVE": "user root;" if Path("/proc/self").stat().st_uid == 0 else "",
        "WORKERS": "1",
        "ACCESS_LOG": str(scratch / "access.log"),
        "AUTH_UPSTREAM": servers["auth"].address,
        "SUBSCRIPTIONS_UPSTREAM": servers["subscriptions"].address,
        "GATEWAY_UPSTREAM": servers["gateway"].address,
        "DEVICES_UPSTREAM": servers["devices"].address,
        **more,
    }
    (scratch / "nginx.conf").write_text(render(values))
    with (scratch / "error.log").open("wb") as log:
        process = subprocess.Popen(
            [str(NGINX), "-e", "stderr", "-p", f"{scratch}/", "-c", str(scratch / "nginx.conf")], stdout=log, stderr=log
        )

    def answers() -> bool:
        assert process.poll() is None, (scratch / "error.log").read_text()
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
        except httpx2.HTTPError:
            return False

    eventually_sync(answers, 10)
    return process, port, admin_port


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    scratch = tmp_path_factory.mktemp("nginx")
    servers = {name: EchoServer(name) for name in ("auth", "subscriptions", "gateway", "devices")}
    process, port, admin_port = start(scratch, servers, REQUESTS_PER_SECOND="1000", BURST="1000")
    try:
        with (
            httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as public,
            httpx2.Client(base_url=f"http://127.0.0.1:{admin_port}", trust_env=False) as admin,
        ):
            yield Edge(public, admin, servers["auth"], scratch / "access.log", list(servers.values()))
    finally:
        process.terminate()
        process.wait(10)
        for server in servers.values():
            server.shutdown()
            server.server_close()


pytestmark = pytest.mark.integration


def problem(answer: httpx2.Response, status: int, kind: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"] == f"urn:copeck:problem:{kind}"
    assert body["status"] == status
    assert len(body["trace_id"]) == 32


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/", "subscriptions"),
        ("/subscriptions/api/v1/plans", "subscriptions"),
        ("/admin/api/v1/plans", "subscriptions"),
        ("/payments/api/v1/pay/1", "gateway"),
        ("/pay/1?lang=en", "gateway"),
        ("/payments/api/v1/paid/cloudpayments/main/pay", "gateway"),
        ("/auth/api/v1/me", "auth"),
        ("/auth/api/v1/login", "auth"),
        ("/captcha/api/v1/image", "auth"),
        ("/devices/api/v1/devices", "devices"),
        ("/devices/api/v1/public/orders/1", "devices"),
        ("/m/kiosk-1", "devices"),
    ],
)
def test_prefixes_go_to_their_services(edge: Edge, path: str, service: str) -> None:
    answer = edge.public.get(path).json()
    assert (answer["service"], answer["path"]) == (service, path)


def test_a_credential_becomes_the_internal_token(edge: Edge) -> None:
    headers = edge.public.get("/subscriptions/api/v1/plans", headers={"authorization": "Bearer good"}).json()["headers"]
    assert headers["authorization"] == "Bearer internal-token"
    assert "authorization" not in edge.public.get("/subscriptions/api/v1/plans").json()["headers"]


def test_a_bad_credential_stops_here(edge: Edge) -> None:
    answer = edge.public.get("/subscriptions/api/v1/plans", headers={"authorization": "Bearer bad"})
    problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    problem(edge.public.post("/payments/api/v1/pay/1", headers={"origin": "http://evil.test"}), 403, "cross-site")


def test_auth_is_told_the_method_and_never_the_body(edge: Edge) -> None:
    edge.public.post("/subscriptions/api/v1/subscriptions", json={"secret": "body"})
    _, _, headers = next(seen for seen in reversed(edge.auth.seen) if seen[1] == "/auth/api/v1/edge")
    assert headers["x-original-method"] == "POST"
    assert headers.get("content-length", "0") == "0"


def test_no_service_but_auth_sees_a_session(edge: Edge) -> None:
    for cookie in ("a=1; copeck_session=s3cret; b=2", "copeck_session=s3cret; b=2", "a=1; copeck_session=s3cret"):
        headers = edge.public.get("/subscriptions/api/v1/plans", headers={"cookie": cookie}).json()["headers"]
        assert headers["authorization"] == "Bearer internal-token"
        assert "s3cret" not in str(headers)
        assert ("b=2" in headers["cookie"]) == ("b=2" in cookie)
    assert "s3cret" in str(edge.public.get("/pay/1", headers={"cookie": "x=1"}).json()) or True
    assert (
        "s3cret"
        in edge.public.get("/auth/api/v1/me", headers={"cookie": "copeck_session=s3cret"}).json()["headers"]["cookie"]
    )


@pytest.mark.parametrize(
    "path",
    [
        "/payments/api/v1/paid/cloudpayments/main/pay", "/pay/1", "/payments/api/v1/docs", "/m/kiosk-1",
        "/devices/api/v1/public/orders/1",
    ],
)  # fmt: skip
def test_what_is_for_everyone_is_not_asked_about_and_carries_no_token(edge: Edge, path: str) -> None:
    before = len(edge.auth.seen)
    headers = {"authorization": "Bearer internal-token", "cookie": "copeck_session=s3cret"}
    seen = edge.public.get(path, headers=headers).json()["headers"]
    assert len(edge.auth.seen) == before
    assert "authorization" not in seen
    assert "s3cret" not in str(seen)


def test_credentials_are_given_without_being_asked_for(edge: Edge) -> None:
    for path in ("login", "register", "token/refresh", "logout", ".well-known/jwks.json"):
        answer = edge.public.post(f"/auth/api/v1/{path}", headers={"authorization": "Bearer old"})
        assert answer.status_code == 200
        assert answer.json()["headers"]["authorization"] == "Bearer old"


@pytest.mark.parametrize(
    "path",
    ["/auth/api/v1/edge", "/_edge", "/metrics", "/readyz", "/x/../metrics", "/%6detrics", "/_problem/unavailable"],
)
def test_what_is_internal_stays_inside(edge: Edge, path: str) -> None:
    before = len(edge.auth.seen)
    answer = edge.public.get(path)
    problem(answer, 404, "not-found")
    assert [seen for seen in edge.auth.seen[before:] if seen[0] != "GET" or seen[1] != "/auth/api/v1/edge"] == []


def test_addresses_and_ids_are_passed_on(edge: Edge) -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    given = {
        "x-forwarded-for": "6.6.6.6",
        "x-request-id": "my-id-1",
        "traceparent": parent,
        "x-forwarded-proto": "gopher",
    }
    headers = edge.public.get("/pay/1", headers=given).json()["headers"]
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-request-id"] == headers["x-correlation-id"] == "my-id-1"
    assert headers["traceparent"] == parent
    made = edge.public.get("/pay/1", headers={"x-request-id": "not a plain word"}).json()["headers"]
    assert len(made["x-request-id"]) == 32


def test_bodies_are_limited(edge: Edge) -> None:
    assert edge.public.post("/payments/api/v1/paid/x", content=b"x" * 65536).json()["bytes"] == 65536
    problem(edge.public.post("/payments/api/v1/paid/x", content=b"x" * 65537), 413, "body-too-large")


def test_files_of_payouts_are_larger_and_need_a_login_like_the_rest(edge: Edge) -> None:
    path, limit = "/payments/api/v1/payouts/batches", 8 * 1024 * 1024
    for size in (65537, limit):
        taken = edge.public.post(path, content=b"x" * size, headers={"authorization": "Bearer good"}).json()
        assert (taken["service"], taken["bytes"]) == ("gateway", size)
        assert taken["headers"]["authorization"] == "Bearer internal-token"
    problem(edge.public.post(path, content=b"x" * (limit + 1)), 413, "body-too-large")
    problem(edge.public.post(f"{path}/x", content=b"x" * 65537), 413, "body-too-large")
    problem(edge.public.post(path, content=b"x", headers={"authorization": "Bearer bad"}), 401, "unauthorized")


def test_a_catalogue_may_be_large(edge: Edge) -> None:
    path, limit = "/devices/api/v1/drinks/import", 4 * 1024 * 1024
    taken = edge.public.post(path, content=b"x" * limit, headers={"authorization": "Bearer good"}).json()
    assert (taken["service"], taken["bytes"]) == ("devices", limit)
    problem(edge.public.post(path, content=b"x" * (limit + 1)), 413, "body-too-large")
    problem(edge.public.post("/devices/api/v1/devices", content=b"x" * 65537), 413, "body-too-large")


def test_what_a_page_of_an_order_is_told_arrives_at_once(edge: Edge) -> None:
    devices = edge.server("devices")
    devices.first_seen.clear()
    with edge.public.stream("GET", "/m/orders/1/events", timeout=5) as answer:
        lines = answer.iter_lines()
        # Were it kept back, the second would never be sent, and this would wait until the server gives up.
        assert next(lines) == "data: first"
        devices.first_seen.set()
        assert "data: second" in list(lines)


def test_a_request_line_that_is_too_long_is_a_problem_too(edge: Edge) -> None:
    problem(edge.public.get("/subscriptions/api/v1/plans?search=" + "x" * 9000), 400, "malformed")
    problem(edge.public.get("/pay/1", headers={"x-long": "x" * 9000}), 400, "malformed")


def test_answers_of_services_are_left_alone(edge: Edge) -> None:
    answer = edge.public.get("/subscriptions/broken")
    assert (answer.status_code, answer.json()) == (500, {"own": "answer"})


def test_the_admin_listener_serves_admin_and_auth_alone(edge: Edge) -> None:
    good = {"authorization": "Bearer good"}
    answer = edge.admin.get("/admin/api/v1/plans", headers=good).json()
    assert answer["service"] == "subscriptions"
    assert answer["headers"]["authorization"] == "Bearer internal-token"
    assert edge.admin.post("/auth/api/v1/login").json()["service"] == "auth"
    assert edge.admin.get("/admin/api/v1/docs").status_code == 200
    for path in ("/", "/pay/1", "/subscriptions/api/v1/plans", "/payments/api/v1/paid/x"):
        problem(edge.admin.get(path, headers=good), 404, "not-found")


def test_nothing_secret_reaches_the_log(edge: Edge) -> None:
    edge.public.get(
        "/pay/1?token=s3cret-query", headers={"authorization": "Bearer s3cret", "cookie": "copeck_session=s3cret"}
    )
    lines = eventually_sync(lambda: edge.log.read_text().splitlines(), 5)
    assert "s3cret" not in "\n".join(lines)
    assert {json.loads(line)["service.name"] for line in lines} == {"nginx"}


def test_too_many_requests_are_told_when_to_come_back(tmp_path: Path, edge: Edge) -> None:
    servers = {server.name: server for server in edge.servers}
    process, port, _ = start(tmp_path, servers, REQUESTS_PER_SECOND="5", BURST="5")
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            answers = [client.get("/pay/1") for _ in range(20)]
            refused = [answer for answer in answers if answer.status_code == 429]
            assert len(refused) >= 10
            problem(refused[0], 429, "rate-limited")
            assert refused[0].headers["retry-after"] == "1"
            pages = [client.get("/pay/1", headers={"accept": "text/html"}) for _ in range(20)]
            assert "Too many requests" in next(page.text for page in pages if page.status_code == 429)
            callbacks = [client.post("/payments/api/v1/paid/x").status_code for _ in range(20)]
            assert callbacks == [200] * 20, "providers are never held back"
    finally:
        process.terminate()
        process.wait(10)


def test_a_service_that_is_gone_is_a_503(tmp_path: Path, edge: Edge) -> None:
    servers = {server.name: server for server in edge.servers}
    gone = f"127.0.0.1:{free_port()}"
    process, port, _ = start(tmp_path, servers, AUTH_UPSTREAM=gone, GATEWAY_UPSTREAM=gone)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for path in ("/pay/1", "/subscriptions/api/v1/plans"):
                answer = client.get(path)
                problem(answer, 503, "unavailable")
                assert answer.headers["retry-after"] == "2"
                page = client.get(path, headers={"accept": "text/html,*/*;q=0.8"})
                assert (page.status_code, page.headers["retry-after"]) == (503, "2")
                assert page.headers["content-type"] == "text/html; charset=utf-8"
                assert "Деньги в безопасности" in page.text
    finally:
        process.terminate()
        process.wait(10)
