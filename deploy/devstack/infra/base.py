"""What every kind of infrastructure offers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from deploy.devstack.loader import Loader
from deploy.devstack.ports import Ports
from deploy.devstack.process import Guard, Process
from deploy.devstack.scratch import Scratch


@dataclass(frozen=True)
class Endpoints:
    """Where the servers are, with their administrators' logins."""

    postgres_url: str
    """A superuser's URL of the maintenance database."""
    rabbitmq_url: str
    """An administrator's amqp URL of the default virtual host."""
    management_url: str
    """The same administrator's URL of the management API."""
    redis_url: str
    mqtt_url: str | None = None


class Infra(Protocol):
    """A set of servers."""

    kind: str
    endpoints: Endpoints
    processes: dict[str, Process]
    """The servers that are processes of ours, by name; empty when they are not."""

    def start(self) -> None:
        """Bring the servers up, or check that they are."""

    def stop(self) -> None:
        """Stop what `start` started."""

    def restart(self, name: str) -> None:
        """Restart one server, as an upgrade or a crash would; chaos tests ask for it."""


@dataclass
class Context:
    """What the parts of one run share."""

    scratch: Scratch
    ports: Ports
    guard: Guard
    loader: Loader
    passwords: dict[str, str] = field(default_factory=dict)


@contextmanager
def stopping_on_failure(infra: Infra) -> Iterator[None]:
    """Leave nothing behind of a start that failed half-way."""
    try:
        yield
    except BaseException:
        infra.stop()
        raise
