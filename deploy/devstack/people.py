"""The first people: an operator and a manager, made by auth's own commands, with passwords of this run."""

import os
import secrets
import subprocess
import sys

from deploy.devstack import services
from deploy.devstack.console import RunnerError
from deploy.devstack.scratch import ROOT

_TIMEOUT_S = 60


def create(wiring: services.Wiring) -> dict[str, dict[str, str]]:
    """Create the logins that `make up` prints."""
    people = {
        role: {"email": f"{role}@copeck.test", "password": secrets.token_urlsafe(12)}
        for role in ("operator", "manager")
    }
    env = {**os.environ, **services.environment(services.BY_NAME["auth"], wiring, wiring.ports["auth"])}
    for role, person in people.items():
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "auth",
                "create-user",
                "--email",
                person["email"],
                "--role",
                role,
                "--password-stdin",
            ],
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
    return people
