"""Servers that somebody else runs, given by URLs in the environment."""

import os
from urllib.parse import unquote, urlsplit

from deploy.devstack import health
from deploy.devstack.console import RunnerError, say
from deploy.devstack.infra.base import Endpoints
from deploy.devstack.process import Process

VARIABLES = {
    "postgres_url": "COPECK_TEST_POSTGRES_URL",
    "rabbitmq_url": "COPECK_TEST_RABBITMQ_URL",
    "management_url": "COPECK_TEST_MANAGEMENT_URL",
    "redis_url": "COPECK_TEST_REDIS_URL",
}
MQTT = "COPECK_TEST_MQTT_URL"


def is_given() -> bool:
    """Tell whether all servers are named."""
    return all(os.environ.get(variable) for variable in VARIABLES.values())


class GivenInfra:
    """Nothing to start: only looked at."""

    kind = "env"

    def __init__(self) -> None:
        self.processes: dict[str, Process] = {}
        absent = [variable for variable in VARIABLES.values() if not os.environ.get(variable)]
        if absent:
            raise RunnerError(f"COPECK_INFRA=env needs {', '.join(absent)}")
        values = {name: os.environ[variable] for name, variable in VARIABLES.items()}
        self.endpoints = Endpoints(**values, mqtt_url=os.environ.get(MQTT))

    def start(self) -> None:
        """Check that the servers answer."""
        checks = {
            "COPECK_TEST_POSTGRES_URL": health.postgres(self.endpoints.postgres_url),
            "COPECK_TEST_MANAGEMENT_URL": health.rabbitmq(self.endpoints.management_url),
        }
        if self.endpoints.mqtt_url:
            parts = urlsplit(self.endpoints.mqtt_url)
            login = (unquote(parts.username or ""), unquote(parts.password or ""))
            checks[MQTT] = health.mqtt(parts.hostname or "", parts.port or 1883, *login)
        for variable, check in checks.items():
            reason = check()
            if reason:
                raise RunnerError(f"{variable}: {reason}")
        say("servers", "given by the environment, and they answer")

    def stop(self) -> None:
        """Leave them as they are."""

    def restart(self, name: str) -> None:
        """Refuse: they are not ours."""
        raise RunnerError(f"{name} is not ours to restart (COPECK_INFRA=env)")
