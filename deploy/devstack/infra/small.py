"""Private Redis and Mosquitto."""

import getpass
import shutil

from deploy.devstack import health
from deploy.devstack.console import RunnerError
from deploy.devstack.infra.base import Context
from deploy.devstack.ports import HOST
from deploy.devstack.process import Process, Spec


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
    """Return Mosquitto, not started, and its URL."""
    binary = find_mosquitto()
    if binary is None:
        raise RunnerError("Mosquitto was not found")
    port = context.ports.take("mosquitto")
    home = context.scratch.data_dir("mosquitto")
    configuration = home / "mosquitto.conf"
    # Machines log in by their own name from the release that serves them; until then the port is this machine's only.
    configuration.write_text(
        f"listener {port} {HOST}\nallow_anonymous true\npersistence false\nuser {getpass.getuser()}\n"
        "log_dest stderr\nmax_packet_size 65536\nmax_inflight_messages 20\n",
        encoding="utf-8",
    )
    command = [binary, "-c", str(configuration)]
    spec = Spec("mosquitto", command, cwd=home, health=health.mqtt(HOST, port), ready_timeout_s=20)
    return Process(spec, context.scratch.logs, context.guard), f"mqtt://{HOST}:{port}"
