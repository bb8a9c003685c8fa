"""Private Redis and Mosquitto."""

import getpass
import secrets
import shutil

from deploy.devstack import health
from deploy.devstack.console import RunnerError
from deploy.devstack.infra.base import Context
from deploy.devstack.ports import HOST
from deploy.devstack.process import Process, Spec
from deploy.mosquitto.render import BRIDGE, OPEN_FILES, accounts, configuration, find_plugin


def create_redis(context: Context) -> tuple[Process, str]:
    """Return Redis, not started, and its URL; it keeps nothing on disk, as it holds only what may be lost."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        raise RunnerError("Redis was not found")
    port = context.ports.take("redis")
    home = context.scratch.data_dir("redis")
    options = ["--bind", HOST, "--port", str(port), "--dir", str(home), "--save", "", "--appendonly", "no"]
    options += ["--maxmemory", "128mb", "--maxmemory-policy", "allkeys-lru"]
    spec = Spec("redis", [binary, *options], cwd=home, health=health.redis(HOST, port), ready_timeout_s=20)
    return Process(spec, context.scratch.logs, context.guard), f"redis://{HOST}:{port}/0"


def find_mosquitto() -> str | None:
    """Return the broker's program; distributions put it where only root's PATH looks."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def create_mosquitto(context: Context) -> tuple[Process, str]:
    """Return Mosquitto, not started, and its URL with the login of the device service."""
    binary, plugin = find_mosquitto(), find_plugin()
    if binary is None or plugin is None:
        raise RunnerError("Mosquitto, or its dynamic security plugin, was not found")
    port = context.ports.take("mosquitto")
    home = context.scratch.data_dir("mosquitto")
    password = secrets.token_urlsafe(18)
    known = home / "accounts.json"
    known.write_text(accounts(password), encoding="utf-8")
    known.chmod(0o600)
    file = home / "mosquitto.conf"
    text = configuration(
        plugin=str(plugin), accounts=str(known), listeners=f"listener {port} {HOST}", data_dir=str(home),
        user=getpass.getuser(),
    )  # fmt: skip
    file.write_text(text, encoding="utf-8")
    limit = f'ulimit -n {OPEN_FILES} 2>/dev/null || ulimit -n "$(ulimit -H -n)"; exec "$0" "$@"'
    spec = Spec(
        "mosquitto",
        ["/bin/sh", "-c", limit, binary, "-c", str(file)],
        cwd=home,
        health=health.mqtt(HOST, port, BRIDGE, password),
        ready_timeout_s=20,
    )
    return Process(spec, context.scratch.logs, context.guard), f"mqtt://{BRIDGE}:{password}@{HOST}:{port}"
