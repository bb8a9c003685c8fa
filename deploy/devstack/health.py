"""Health checks of servers, each a function that returns nothing or one line of what is wrong."""

import json
import socket
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Mapping
from urllib.parse import unquote, urlsplit, urlunsplit

_TIMEOUT_S = 2.0
# Longer packets need a length of two bytes.
_MQTT_SHORT_BYTES_MAX = 127

Health = Callable[[], str | None]


def without_login(url: str) -> tuple[str, str | None]:
    """Split the login off a URL: the bare URL and the value of an Authorization header."""
    parts = urlsplit(url)
    if not parts.username:
        return url, None
    host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    token = b64encode(f"{parts.username}:{parts.password or ''}".encode()).decode()
    return urlunsplit((parts.scheme, host, parts.path, parts.query, "")), f"Basic {token}"


def get_json(url: str, timeout_s: float = _TIMEOUT_S) -> object:
    """Fetch a JSON document; the URL may carry a login. Proxies of the environment are not for local addresses."""
    bare, authorization = without_login(url)
    request = urllib.request.Request(bare, headers={"Authorization": authorization} if authorization else {})  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout_s) as answer:
        return json.load(answer)


def http(url: str) -> Health:
    """Answers 2xx."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def check() -> str | None:
        try:
            with opener.open(url, timeout=_TIMEOUT_S):
                return None
        except urllib.error.HTTPError as error:
            with error:
                return f"{url} answered {error.code}: {error.read(200).decode(errors='replace')}"
        except OSError as error:
            return f"{url}: {error}"

    return check


def postgres(url: str) -> Health:
    """Takes a query."""

    def check() -> str | None:
        import psycopg

        try:
            with psycopg.connect(url, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error as error:
            return str(error).strip().replace("\n", "; ")
        return None

    return check


def rabbitmq(management_url: str) -> Health:
    """Its management API answers with a node that has no alarm and listens for AMQP."""

    def check() -> str | None:
        try:
            overview = get_json(f"{management_url}/api/overview")
            get_json(f"{management_url}/api/health/checks/alarms")
        except (OSError, ValueError) as error:
            return f"management API: {error}"
        listeners = overview.get("listeners", []) if isinstance(overview, dict) else []
        if not any(listener.get("protocol") == "amqp" for listener in listeners):
            return "it does not listen for AMQP yet"
        return None

    return check


def redis(host: str, port: int) -> Health:
    """Answers PING."""
    return _dialogue(host, port, b"PING\r\n", b"+PONG")


def mqtt(host: str, port: int, user: str, password: str) -> Health:
    """Lets a login in."""
    fields = (b"copeck-health", user.encode(), password.encode())
    # MQTT 3.1.1, clean session, user name and password, keep-alive of five seconds.
    body = b"\x00\x04MQTT\x04\xc2\x00\x05" + b"".join(len(field).to_bytes(2, "big") + field for field in fields)
    if len(body) > _MQTT_SHORT_BYTES_MAX:
        raise ValueError("the login is too long for this check")
    return _dialogue(host, port, bytes((0x10, len(body))) + body, b"\x20\x02\x00\x00")


def servers(urls: Mapping[str, str | None]) -> dict[str, Health]:
    """Return the checks of servers by their names; `urls` are those of `Endpoints`, as the state file has them."""
    checks = {
        "postgres": postgres(urls["postgres_url"] or ""),
        "rabbitmq": rabbitmq(urls["management_url"] or ""),
    }
    cache = urlsplit(urls["redis_url"] or "")
    # One that wants a login or TLS says nothing to a plain PING.
    if cache.scheme == "redis" and not cache.password:
        checks["redis"] = redis(cache.hostname or "", cache.port or 6379)
    if urls["mqtt_url"]:
        broker = urlsplit(urls["mqtt_url"])
        login = (unquote(broker.username or ""), unquote(broker.password or ""))
        checks["mosquitto"] = mqtt(broker.hostname or "", broker.port or 1883, *login)
    return checks


def _dialogue(host: str, port: int, question: bytes, answer: bytes) -> Health:
    def check() -> str | None:
        try:
            with socket.create_connection((host, port), timeout=_TIMEOUT_S) as sock:
                sock.sendall(question)
                got = sock.recv(64)
        except OSError as error:
            return f"{host}:{port}: {error}"
        return None if got.startswith(answer) else f"{host}:{port} answered {got[:20]!r}"

    return check
