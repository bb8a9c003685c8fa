"""The first people: an operator and a manager, made by auth's own commands, with passwords of this run."""

import os
import secrets
import subprocess
import sys

from deploy.devstack import services
from deploy.devstack.console import RunnerError
from deploy.devstack.scratch import ROOT

_TIMEOUT_S = 120


def create(wiring: services.Wiring) -> dict[str, dict[str, str]]:
    """Create the logins that `make up` prints."""
    env = {**os.environ, **services.environment(services.BY_NAME["auth"], wiring, wiring.ports["auth"])}
    people = {}
    for role in ("operator", "manager"):
        person = {"email": f"{role}@copeck.test", "password": secrets.token_urlsafe(12)}
        _create(role, person, env)
        people[role] = person
    return people


def _create(role: str, person: dict[str, str], env: dict[str, str]) -> None:
    """Make one account. A server that was given to us remembers an earlier run's: it gets this run's password."""
    command = ["create-user", "--email", person["email"], "--role", role, "--password-stdin", "--existing"]
    done = subprocess.run(
        [sys.executable, "-m", "auth", *command],
        input=person["password"],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RunnerError(f"creating the {role} failed: {(done.stderr or done.stdout).strip()[-600:]}")
