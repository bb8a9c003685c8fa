"""Servers that somebody else runs, given by URLs in the environment."""

import os
from dataclasses import asdict

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
_ASKED_BY = {
    "postgres": VARIABLES["postgres_url"],
    "rabbitmq": VARIABLES["management_url"],
    "redis": VARIABLES["redis_url"],
    "mosquitto": MQTT,
}
"""The variable that a server's check goes by."""


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
        for name, check in health.servers(asdict(self.endpoints)).items():
            reason = check()
            if reason:
                raise RunnerError(f"{_ASKED_BY[name]}: {reason}")
        say("servers", "given by the environment, and they answer")

    def stop(self) -> None:
        """Leave them as they are."""

    def restart(self, name: str) -> None:
        """Refuse: they are not ours."""
        raise RunnerError(f"{name} is not ours to restart (COPECK_INFRA=env)")
