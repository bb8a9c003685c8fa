"""The whole of Copeck on this machine: servers, preparation, processes, the edge; its state file tells where."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from deploy.devstack import nginx, people, prepare, services
from deploy.devstack.console import RunnerError, say
from deploy.devstack.infra.base import Context, Infra
from deploy.devstack.infra.choose import choose
from deploy.devstack.loader import Loader
from deploy.devstack.ports import PUBLIC_HOST, Ports
from deploy.devstack.process import Guard, Process, handling_stops, start_ticks
from deploy.devstack.scratch import MAIN, ROOT, Scratch
from deploy.devstack.services import Wiring

# Ports that are nice to remember, for the instance that a person looks at; another is taken when one is in use.
_PREFERRED = {
    "public": (8080, 8088),
    "admin": (8443,),
    "cloudpayments": (8090,),
    "mock-gateway": (8091,),
    "machines": (8092,),
}
_RESTARTS_MAX = 5


class Stack:
    """Starts in the order of what needs what, stops in the reverse order; a context manager.

    `instance` names the scratch directory and the state file, so that tests have a stack of their own beside the one
    that a developer looks at. `only` limits the services; the servers are always all there. Without `yields` every
    process has the same right to the processor: for tests that wait for all that is done, on a machine that is full.
    """

    def __init__(
        self,
        instance: str = MAIN,
        *,
        only: Iterable[str] | None = None,
        edge: bool = True,
        extra_env: Mapping[str, str] | None = None,
        yields: bool = True,
    ) -> None:
        self.scratch = Scratch(instance)
        self.instance = instance
        self.processes: dict[str, Process] = {}
        self.people: dict[str, dict[str, str]] = {}
        self.logins = prepare.Logins()
        self._names = [service.name for service in services.SERVICES if only is None or service.name in set(only)]
        self._edge = edge
        self._extra_env = dict(extra_env or {})
        self._yields = yields
        self._guard: Guard | None = None
        self._loader: Loader | None = None
        self._context: Context | None = None
        self._infra: Infra | None = None
        self._wiring: Wiring | None = None
        self._restarts: dict[str, int] = {}
        self._lock = threading.RLock()

    @property
    def infra(self) -> Infra:
        """The servers."""
        if self._infra is None:
            raise RunnerError("the stack has not been started")
        return self._infra

    @property
    def wiring(self) -> Wiring:
        """Addresses and logins of this run."""
        if self._wiring is None:
            raise RunnerError("the stack has not been started")
        return self._wiring

    @property
    def context(self) -> Context:
        """Scratch directory, ports and guard of this run."""
        if self._context is None:
            raise RunnerError("the stack has not been started")
        return self._context

    def __enter__(self) -> Self:
        """Start everything."""
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop everything."""
        self.stop()

    def start(self, *, announce: bool = True) -> None:
        """Start servers and services; on a failure, stop what has been started and raise."""
        began = time.monotonic()
        self.scratch.acquire()
        try:
            self.start_servers()
            self.start_services(announce=announce)
        except BaseException:
            self.stop()
            raise
        say("stack", f"up in {time.monotonic() - began:.1f} s")

    def start_servers(self) -> None:
        """Start the servers and fill them: after this, tests of single services can run."""
        if self._context is None:
            self._guard = Guard()
            self._loader = Loader()
            self._guard.tell(f"+ {self._loader.pid}")
            self._context = Context(self.scratch, Ports(str(self.scratch.dir)), self._guard, self._loader)
        self._infra = choose(self._context)
        self._infra.start()

    def start_services(self, *, announce: bool = True) -> None:
        """Prepare the servers, start every process, and wait until each answers."""
        endpoints = self.infra.endpoints
        databases = prepare.database_urls(endpoints, self.logins)
        brokers, celery = prepare.broker_urls(endpoints, self.logins)
        take = self.context.ports.take
        preferred = _PREFERRED if self.instance == MAIN else {}
        ports = {
            name: take(name, preferred.get(name, ()))
            for name in ("public", "admin", "mail", *(service.name for service in services.SERVICES))
        }
        public = f"http://{PUBLIC_HOST}:{ports['public']}"
        emulators = str(self.scratch.dir)
        self._wiring = Wiring(
            endpoints, databases, brokers, celery, ports, public, emulators, extra=self._extra_env, yields=self._yields
        )
        self._write_state()
        _side_by_side(
            lambda: prepare.prepare_database(endpoints, self.logins),
            lambda: prepare.prepare_broker(endpoints, self.logins),
        )
        began = time.monotonic()
        for name in self._names:
            self.processes[name] = services.create(self.context, services.BY_NAME[name], self.wiring)
        if self._edge:
            self.processes["nginx"] = nginx.create(self.context, ports)
        for process in self.processes.values():
            process.start()
        self._write_state()
        _side_by_side(self._create_people, *(process.wait_ready for process in self.processes.values()))
        say("services", f"{', '.join(self.processes)}: ready in {time.monotonic() - began:.1f} s")
        if announce:
            self.announce()

    def announce(self) -> None:
        """Say in the state file that everything answers: whoever waits for a stack waits for this."""
        self._write_state(ready=True)

    def _create_people(self) -> None:
        if "auth" in self._names:
            self.people = people.create(self.wiring)

    def add(self, service: str, name: str) -> Process:
        """Start one more process of a service beside the first, and wait until it answers."""
        port = self.context.ports.take(name)
        process = services.create(self.context, services.BY_NAME[service], self.wiring, name, port)
        self.processes[name] = process
        process.start()
        process.wait_ready()
        self._write_state(ready=True)
        return process

    def restart_ended(self) -> list[str]:
        """Start again what has ended by itself, a few times each; return their names."""
        ended = [process for process in self.processes.values() if process.wanted and not process.alive]
        for process in ended:
            count = self._restarts[process.name] = self._restarts.get(process.name, 0) + 1
            if count > _RESTARTS_MAX:
                process.wanted = False
                say(process.name, f"ended with status {process.exit_code} again: left down; {process.log}")
                continue
            say(process.name, f"ended with status {process.exit_code}: restarted ({count} of {_RESTARTS_MAX})")
            process.start()
        if ended:
            self._write_state(ready=True)
        return [process.name for process in ended]

    def stop_services(self) -> None:
        """Stop the processes and leave the servers up: first the edge, so that nothing new comes in."""
        edge = self.processes.pop("nginx", None)
        if edge:
            edge.stop()
        _side_by_side(*(process.stop for process in self.processes.values()))
        self.processes.clear()

    def stop(self) -> None:
        """Stop processes, then servers, and give the scratch directory up; may be called twice."""
        # An impatient second Ctrl-C does not interrupt the stopping: each step of it has a limit of its own.
        with self._lock, handling_stops(lambda *_: None):
            self.stop_services()
            if self._infra:
                self._infra.stop()
                self._infra = None
            if self._loader:
                self._loader.close()
                self._loader = None
            if self._guard:
                self._guard.close()
                self._guard = None
            self._context = None
            self.scratch.release()

    def state(self) -> dict[str, Any]:
        """Return what the state file says: URLs, logins, ports and processes."""
        infra = self.infra
        wiring = self._wiring
        processes = {**infra.processes, **self.processes}
        state: dict[str, Any] = {
            "instance": self.instance,
            "infra": infra.kind,
            "root": str(ROOT),
            "logs": str(self.scratch.logs),
            "servers": {
                "postgres_url": infra.endpoints.postgres_url,
                "rabbitmq_url": infra.endpoints.rabbitmq_url,
                "management_url": infra.endpoints.management_url,
                "redis_url": infra.endpoints.redis_url,
                "mqtt_url": infra.endpoints.mqtt_url,
            },
            "processes": {
                name: {
                    "pid": process.pid,
                    "start_ticks": start_ticks(process.pid) if process.pid else None,
                    "log": str(process.log),
                }
                for name, process in processes.items()
            },
        }
        if wiring:
            state |= self._wiring_state(wiring)
        return state

    def _wiring_state(self, wiring: Wiring) -> dict[str, Any]:
        admin = prepare.admin_url(wiring.endpoints)
        return {
            "urls": {
                "public": wiring.public_url,
                "admin": wiring.url("admin"),
                **{name: wiring.url(name) for name in self._names},
            },
            "ports": dict(wiring.ports),
            "databases": {"postgres": admin, **wiring.databases},
            "brokers": dict(wiring.brokers),
            "celery": dict(wiring.celery),
            "monitor": {"user": "monitor", "password": self.logins.broker["monitor"]},
            "people": self.people,
            "shop": {"public_id": wiring.shop_public_id, "api_secret": wiring.shop_secret},
            "own_shop": {"public_id": wiring.own_shop_public_id, "api_secret": wiring.own_shop_secret},
            "mock_shop": {"public_id": wiring.mock_public_id, "api_secret": wiring.mock_secret},
            "environment": {
                name: services.environment(services.BY_NAME[name], wiring, wiring.ports[name]) for name in self._names
            },
        }

    def _write_state(self, *, ready: bool = False) -> None:
        self.scratch.write_state({**self.state(), "ready": ready})


def _side_by_side(*tasks: Callable[[], None]) -> None:
    """Run tasks at once; raise the first failure when all have ended."""
    failures: list[BaseException] = []

    def run(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller's thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
