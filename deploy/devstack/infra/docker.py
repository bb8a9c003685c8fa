"""The servers as containers, through testcontainers: the images that deploy/compose.yml names."""

import contextlib
import os
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

from deploy.devstack import health
from deploy.devstack.console import RunnerError, say
from deploy.devstack.infra.base import Context, Endpoints, stopping_on_failure
from deploy.devstack.infra.postgres import SETTINGS as POSTGRES_SETTINGS
from deploy.devstack.ports import HOST
from deploy.devstack.process import Process
from deploy.mosquitto.render import BRIDGE, IMAGE_PLUGIN, OPEN_FILES, accounts, configuration

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

IMAGES = {
    "postgres": os.environ.get("COPECK_POSTGRES_IMAGE", "postgres:17"),
    "rabbitmq": os.environ.get("COPECK_RABBITMQ_IMAGE", "rabbitmq:4-management"),
    "redis": os.environ.get("COPECK_REDIS_IMAGE", "redis:7"),
    "mosquitto": os.environ.get("COPECK_MOSQUITTO_IMAGE", "eclipse-mosquitto:2"),
}
_LABEL = "copeck.devstack"
_MOSQUITTO_START = """cd /mosquitto/data
plugin=$(ls /usr/lib/mosquitto_dynamic_security.so /usr/lib/*/mosquitto_dynamic_security.so 2>/dev/null | head -n 1)
printf '%s' "$COPECK_CONFIGURATION" | sed "s#^plugin .*#plugin $plugin#" >/tmp/mosquitto.conf
[ -s accounts.json ] || printf '%s' "$COPECK_ACCOUNTS" >accounts.json
chown -R mosquitto . && chmod 600 accounts.json
exec mosquitto -c /tmp/mosquitto.conf"""
_READY_TIMEOUT_S = 120
_PROBE_TIMEOUT_S = 60


def usable() -> str | None:
    """Return nothing when an engine answers and runs the images, else one line of why not.

    An engine that answers a ping may still be unable to fetch an image, so one is run.
    """
    try:
        import docker

        client = docker.from_env(timeout=_PROBE_TIMEOUT_S)
    except Exception as error:  # noqa: BLE001 - any failure means the same: there is no engine
        return f"no Docker engine answers ({error})"
    try:
        for image in IMAGES.values():
            try:
                client.images.get(image)
            except docker.errors.ImageNotFound:
                say("docker", f"pulling {image}")
                client.images.pull(image)
        client.containers.run(IMAGES["redis"], ["redis-server", "--version"], remove=True)
    except Exception as error:  # noqa: BLE001
        return f"the Docker engine cannot run the images ({error})"
    finally:
        client.close()
    return None


def check() -> None:
    """Raise with one line when containers cannot be had."""
    reason = usable()
    if reason:
        raise RunnerError(f"COPECK_INFRA=docker: {reason}")


class DockerInfra:
    """Servers in containers of their own, on ports of 127.0.0.1."""

    kind = "docker"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._containers: dict[str, DockerContainer] = {}
        self._checks: dict[str, health.Health] = {}
        self.processes: dict[str, Process] = {}
        self.endpoints = Endpoints("", "", "", "")

    def start(self) -> None:
        """Start all containers and wait until each server answers."""
        # The engine's own reaper image would be one more thing to fetch; containers carry our label instead, and the
        # next run removes what a crash left.
        os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
        began = time.monotonic()
        self._remove_left_over()
        ports = {name: self._context.ports.take(name) for name in (*IMAGES, "management")}
        password = secrets.token_urlsafe(18)
        self.endpoints = Endpoints(
            postgres_url=f"postgresql://postgres:{password}@{HOST}:{ports['postgres']}/postgres",
            rabbitmq_url=f"amqp://copeck-admin:{password}@{HOST}:{ports['rabbitmq']}/%2F",
            management_url=f"http://copeck-admin:{password}@{HOST}:{ports['management']}",
            redis_url=f"redis://{HOST}:{ports['redis']}/0",
            mqtt_url=f"mqtt://{BRIDGE}:{password}@{HOST}:{ports['mosquitto']}",
        )
        self._checks = {
            "postgres": health.postgres(self.endpoints.postgres_url),
            "rabbitmq": health.rabbitmq(self.endpoints.management_url),
            "redis": health.redis(HOST, ports["redis"]),
            "mosquitto": health.mqtt(HOST, ports["mosquitto"], BRIDGE, password),
        }
        with stopping_on_failure(self):
            self._create(ports, password)
            for container in self._containers.values():
                container.start()
            for name in self._containers:
                self._wait(name)
        say("servers", f"{', '.join(IMAGES.values())}: ready in {time.monotonic() - began:.1f} s")

    def stop(self) -> None:
        """Remove the containers and their data."""
        workers = [threading.Thread(target=_stop, args=(container,)) for container in self._containers.values()]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self._containers.clear()

    def restart(self, name: str) -> None:
        """Restart one container and wait until its server answers."""
        self._containers[name].get_wrapped_container().restart(timeout=30)
        self._wait(name)

    def _create(self, ports: dict[str, int], password: str) -> None:
        from testcontainers.core.container import DockerContainer

        settings = {**POSTGRES_SETTINGS, "listen_addresses": "*"}
        settings.pop("unix_socket_directories")
        options = [item for key, value in settings.items() for item in ("-c", f"{key}={value}")]
        plan: dict[str, tuple[dict[str, str], list[str], dict[int, int]]] = {
            "rabbitmq": (
                {"RABBITMQ_DEFAULT_USER": "copeck-admin", "RABBITMQ_DEFAULT_PASS": password},
                [],
                {5672: ports["rabbitmq"], 15672: ports["management"]},
            ),
            "postgres": ({"POSTGRES_PASSWORD": password}, ["postgres", *options], {5432: ports["postgres"]}),
            "redis": (
                {},
                ["redis-server", "--save", "", "--bind", "*", "--protected-mode", "no"],
                {6379: ports["redis"]},
            ),
            "mosquitto": (
                {"COPECK_CONFIGURATION": _mosquitto(), "COPECK_ACCOUNTS": accounts(password)},
                ["sh", "-c", _MOSQUITTO_START],
                {1883: ports["mosquitto"]},
            ),
        }
        for name, (env, command, bound) in plan.items():
            files = OPEN_FILES if name == "mosquitto" else 8192
            arguments: dict[str, Any] = {
                "labels": {_LABEL: str(self._context.scratch.dir)},
                "shm_size": "1g",
                "ulimits": [{"Name": "nofile", "Soft": files, "Hard": files}],
            }
            container = DockerContainer(IMAGES[name], **arguments)
            # The type says "a port"; the client takes an address and a port, and then listens on that address only.
            container.ports = {f"{inside}/tcp": (HOST, outside) for inside, outside in bound.items()}  # type: ignore[misc]
            for key, value in env.items():
                container.with_env(key, value)
            if command:
                container.with_command(command)
            self._containers[name] = container

    def _wait(self, name: str) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while (reason := self._checks[name]()) is not None:
            wrapped = self._containers[name].get_wrapped_container()
            wrapped.reload()
            if wrapped.status == "exited" or time.monotonic() > deadline:
                tail = wrapped.logs(tail=15).decode(errors="replace")
                raise RunnerError(f"the container of {name} is not ready ({reason}):\n{tail}")
            time.sleep(0.1)

    def _remove_left_over(self) -> None:
        import docker

        client = docker.from_env()
        for container in client.containers.list(all=True, filters={"label": f"{_LABEL}={self._context.scratch.dir}"}):
            container.remove(force=True, v=True)
        client.close()


def _mosquitto() -> str:
    return configuration(
        plugin=IMAGE_PLUGIN, accounts="/mosquitto/data/accounts.json", listeners="listener 1883",
        data_dir="/mosquitto/data",
    )  # fmt: skip


def _stop(container: "DockerContainer") -> None:
    with contextlib.suppress(Exception):
        container.stop()
