"""Private instances of the servers that are installed on this machine; the system's own are not touched."""

import shutil
import time
from collections.abc import Callable

from deploy.devstack.console import say
from deploy.devstack.infra import postgres, rabbitmq, small
from deploy.devstack.infra.base import Context, Endpoints, stopping_on_failure
from deploy.devstack.nginx import find_nginx
from deploy.devstack.process import Process
from deploy.mosquitto.render import find_plugin

# Debian's packages of what may be missing.
PACKAGES: dict[str, tuple[Callable[[], object], str]] = {
    "PostgreSQL": (postgres.find_bin, "postgresql"),
    "RabbitMQ": (rabbitmq.find_server, "rabbitmq-server"),
    "Redis": (lambda: shutil.which("redis-server") or shutil.which("valkey-server"), "redis-server"),
    "Mosquitto": (lambda: small.find_mosquitto() and find_plugin(), "mosquitto"),
    "nginx": (find_nginx, "nginx-light"),
}


def missing() -> dict[str, str]:
    """Return what is not installed: the server's name and its package."""
    return {name: package for name, (find, package) in PACKAGES.items() if not find()}


class NativeInfra:
    """Servers as processes of the runner."""

    kind = "native"

    def __init__(self, context: Context) -> None:
        self._context = context
        self.processes: dict[str, Process] = {}
        self.endpoints = Endpoints("", "", "", "")

    def start(self) -> None:
        """Start all servers at once and wait until each answers."""
        began = time.monotonic()
        context = self._context
        with stopping_on_failure(self):
            epmd, node, rabbitmq_url, management_url = rabbitmq.create(context)
            # The slowest goes first; initdb runs while the broker boots.
            self.processes = {"epmd": epmd, "rabbitmq": node}
            epmd.start()
            epmd.wait_ready()
            node.start()
            redis, redis_url = small.create_redis(context)
            mosquitto, mqtt_url = small.create_mosquitto(context)
            self.processes |= {"redis": redis, "mosquitto": mosquitto}
            redis.start()
            mosquitto.start()
            server, postgres_url = postgres.create(context)
            self.processes["postgres"] = server
            server.start()
            self.endpoints = Endpoints(postgres_url, rabbitmq_url, management_url, redis_url, mqtt_url)
            for process in self.processes.values():
                process.wait_ready()
        say("servers", f"{', '.join(self.processes)}: ready in {time.monotonic() - began:.1f} s")

    def stop(self) -> None:
        """End all servers at once: what they hold is thrown away, so there is nothing to bring to disk first."""
        for process in reversed(list(self.processes.values())):
            process.kill()

    def restart(self, name: str) -> None:
        """Restart one server and wait until it answers."""
        self.processes[name].restart()
