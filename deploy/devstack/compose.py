"""The containers of deploy/compose.yml: their secrets, and `make compose-demo`, which tries the whole file."""

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from copeck.messaging.topology import USERS
from copeck.storage.roles import LOGINS
from deploy.devstack.console import RunnerError, say
from deploy.devstack.scratch import ROOT
from deploy.devstack.services import OWN_SHOP, PROVIDER, SHOP, shops
from deploy.mosquitto import certificates
from deploy.mosquitto.render import BRIDGE, accounts

FILE = ROOT / "deploy" / "compose.yml"
SECRETS = ROOT / "deploy" / "secrets"
PROJECT = "copeck"
_READY_TIMEOUT_S = 300
_BUILD_TIMEOUT_S = 1800
# Ports that the demo publishes: others than those of `make up`, so that both can run.
_PORTS = {
    "COPECK_PUBLIC_PORT": "18080",
    "COPECK_ADMIN_PORT": "18443",
    "COPECK_EMULATOR_PORT": "18090",
    "COPECK_MOCK_GATEWAY_PORT": "18091",
    "COPECK_MACHINES_PORT": "18092",
    "COPECK_MQTT_PORT": "18883",
    "COPECK_MANAGEMENT_PORT": "15673",
}


def make_secrets() -> Path:
    """Write the secrets that are not there yet; what exists is kept, as the servers' volumes know it."""
    SECRETS.mkdir(mode=0o700, exist_ok=True)
    database = {name: secrets.token_urlsafe(18) for name in LOGINS}
    broker = {name: secrets.token_urlsafe(18) for name in USERS}
    postgres, admin = secrets.token_urlsafe(18), secrets.token_urlsafe(18)
    shop = {"public_id": f"test_api_{secrets.token_hex(12)}", "api_secret": secrets.token_hex(16)}
    mock = {"public_id": f"mock_{secrets.token_hex(12)}", "api_secret": secrets.token_hex(16)}
    own = {"public_id": f"test_api_{secrets.token_hex(12)}", "api_secret": secrets.token_hex(16)}
    notify = f"http://nginx:8080/payments/api/v1/paid/{PROVIDER}/{{shop}}/{{type}}"
    rabbitmq = (
        f"default_user = copeck-admin\ndefault_pass = {admin}\nloopback_users = none\n"
        "disk_free_limit.absolute = 1GB\nlog.console = true\nlog.file = false\nmanagement.tcp.port = 15672\n"
    )
    texts = {
        "postgres_password": postgres,
        "rabbitmq_conf": rabbitmq,
        "admin_database_url": f"postgresql://postgres:{postgres}@postgres:5432/copeck",
        "migrator_database_url": f"postgresql://copeck_migrator:{database['copeck_migrator']}@postgres:5432/copeck",
        "database_passwords": json.dumps(database),
        "broker_passwords": json.dumps(broker),
        "management_url": f"http://copeck-admin:{admin}@rabbitmq:15672",
        "auth_signing_secret": secrets.token_urlsafe(48),
        "shops": json.dumps(shops(shop, mock)),
        "emulator_shops": json.dumps([{"name": SHOP, "notify_url": notify, **shop}, {"name": OWN_SHOP, **own}]),
        "merchant_shops_secret": secrets.token_urlsafe(48),
        "device_secret": secrets.token_urlsafe(48),
        "tmetr_token": secrets.token_urlsafe(24),
        **_mosquitto(),
        "mock_shops": json.dumps([mock]),
    }
    for name in ("auth", "subscriptions", "state_updater", "gateway", "devices", "reminders", "operator"):
        texts[f"{name}_database_url"] = f"postgresql://{name}:{database[name]}@postgres:5432/copeck"
        user = name.replace("_", "-")
        texts[f"{name}_broker_url"] = f"amqp://{user}:{broker[user]}@rabbitmq:5672/billing"
    for name in ("gateway", "devices", "reminders"):
        texts[f"{name}_celery_broker_url"] = f"amqp://{name}:{broker[name]}@rabbitmq:5672/celery"
    present = {path.name for path in SECRETS.iterdir()}
    if present and not set(texts) <= present:
        raise RunnerError(f"{SECRETS} is incomplete: remove it (and the volumes, which know the old passwords)")
    for name, text in texts.items():
        path = SECRETS / name
        if not path.exists():
            # Containers read them as user 10001; the directory keeps everybody else of this machine out.
            path.write_text(text, encoding="utf-8")
            path.chmod(0o444)
    return SECRETS


def _mosquitto() -> dict[str, str]:
    """Return what the machines' broker and its first account need."""
    password = secrets.token_urlsafe(18)
    authority, certificate, key = certificates.make(["mosquitto", "localhost", "127.0.0.1"])
    return {
        "mosquitto_accounts": accounts(password),
        "mosquitto_certificate": certificate,
        "mosquitto_key": key,
        "mqtt_ca": authority,
        "mqtt_password": password,
        "mqtt_url": f"mqtts://{BRIDGE}:{password}@mosquitto:8883",
    }


def command() -> list[str]:
    """Return Compose: the plugin, or the older program."""
    base = ["--project-name", PROJECT, "--file", str(FILE)]
    if shutil.which("docker"):
        done = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False, timeout=30)
        if done.returncode == 0:
            return ["docker", "compose", *base]
    if shutil.which("docker-compose"):
        return ["docker-compose", *base]
    raise RunnerError("Docker Compose was not found: apt-get install docker.io docker-compose")


class Compose:
    """One project of Compose."""

    def __init__(self) -> None:
        self.command = command()
        self._env = {**os.environ, **_PORTS}
        public = f"http://127.0.0.1:{_PORTS['COPECK_PUBLIC_PORT']}"
        emulator = f"http://127.0.0.1:{_PORTS['COPECK_EMULATOR_PORT']}"
        machines = f"http://127.0.0.1:{_PORTS['COPECK_MACHINES_PORT']}"
        self._env |= {
            "COPECK_PUBLIC_URL": public,
            "COPECK_ADMIN_URL": f"http://127.0.0.1:{_PORTS['COPECK_ADMIN_PORT']}",
            "COPECK_EMULATOR_URL": emulator,
            "COPECK_MACHINES_URL": machines,
            "COPECK_WIDGET_URL": f"{emulator}/bundles/cloudpayments.js",
            "COMPOSE_HTTP_TIMEOUT": "300",
            # A build fetches packages, and the host's network is the one that is known to have a way out.
            "COPECK_BUILD_NETWORK": os.environ.get("COPECK_BUILD_NETWORK", "host"),
        }
        self.urls = {
            "public": public,
            "admin": self._env["COPECK_ADMIN_URL"],
            "cloudpayments": emulator,
            "machines": machines,
            "mock-gateway": f"http://127.0.0.1:{_PORTS['COPECK_MOCK_GATEWAY_PORT']}",
        }

    def run(self, *arguments: str, timeout_s: float = _READY_TIMEOUT_S, quiet: bool = False, text: str = "") -> str:
        """Run one Compose command; its output is shown, or returned when quiet."""
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=ROOT,
            env=self._env,
            input=text or None,
            stdin=None if text else subprocess.DEVNULL,
            stdout=subprocess.PIPE if quiet else sys.stderr,
            stderr=subprocess.PIPE if quiet else sys.stderr,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        if done.returncode != 0:
            raise RunnerError(f"compose {arguments[0]} failed: {(done.stderr or '').strip()[-800:]}")
        return done.stdout or ""

    def create_user(self, role: str) -> dict[str, str]:
        """Make an account with a role, by auth's own command in its container; one of an earlier run is taken over."""
        person = {"email": f"{role}@copeck.test", "password": secrets.token_urlsafe(12)}
        create = ["create-user", "--email", person["email"], "--role", role, "--password-stdin", "--existing"]
        self.run("exec", "-T", "auth", "python", "-m", "auth", *create, quiet=True, text=f"{person['password']}\n")
        return person

    def wait_healthy(self) -> None:
        """Wait until every container that stays is healthy, and the one-shot job has ended well."""
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while True:
            waiting = self._not_ready()
            if not waiting:
                return
            if time.monotonic() > deadline:
                for name in waiting:
                    print(self.run("logs", "--tail=30", name, quiet=True), file=sys.stderr)
                raise RunnerError(f"not healthy after {_READY_TIMEOUT_S} s: {waiting}")
            time.sleep(1)

    def _not_ready(self) -> dict[str, str]:
        waiting: dict[str, str] = {}
        for identifier in self.run("ps", "--all", "--quiet", quiet=True).split():
            text = subprocess.run(
                ["docker", "inspect", identifier], capture_output=True, text=True, check=True, timeout=30
            ).stdout
            container: dict[str, Any] = json.loads(text)[0]
            name = container["Config"]["Labels"]["com.docker.compose.service"]
            state = container["State"]
            if name == "prepare":
                if state["Status"] != "exited" or state["ExitCode"] != 0:
                    waiting[name] = f"{state['Status']}, exit status {state['ExitCode']}"
            elif state.get("Health", {}).get("Status") != "healthy":
                waiting[name] = state.get("Health", {}).get("Status", state["Status"])
        return waiting


def operator_output(compose: Compose, *arguments: str) -> str:
    """Run the operator CLI in a container of its own and return what it prints."""
    return compose.run("run", "--rm", "--no-deps", "-T", "operator", *arguments, quiet=True)


def run(*, keep: bool) -> int:
    """Build, start, check, run the demo's scenario against the containers, and remove them with their data."""
    from deploy.devstack import demo

    make_secrets()
    compose = Compose()
    compose.run("down", "--volumes", "--remove-orphans", quiet=True)
    say("compose", "building")
    compose.run("build", timeout_s=_BUILD_TIMEOUT_S)
    try:
        say("compose", "starting")
        compose.run("up", "--detach", "--no-build", timeout_s=_READY_TIMEOUT_S)
        compose.wait_healthy()
        say("compose", "all containers are healthy")
        demo.run_against_compose(compose)
    finally:
        if keep:
            say("compose", f"left running at {compose.urls['public']}; {' '.join(compose.command)} down -v ends it")
        else:
            compose.run("down", "--volumes", "--remove-orphans", quiet=True)
    return 0


def main() -> int:
    """`python -m deploy.devstack.compose secrets`: what `docker compose up` needs before its first start."""
    parser = argparse.ArgumentParser(prog="python -m deploy.devstack.compose", description=__doc__)
    parser.add_argument("action", choices=("secrets",))
    parser.parse_args()
    print(f"secrets are in {make_secrets()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
