"""The edge: nginx, configured for this run's ports from the templates of deploy/nginx."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.devstack import health
from deploy.devstack.console import RunnerError
from deploy.devstack.infra.base import Context
from deploy.devstack.ports import HOST, PUBLIC_HOST
from deploy.devstack.process import Process, Spec
from deploy.nginx.render import render

IMAGE = os.environ.get("COPECK_NGINX_IMAGE", "nginx:1.27")


def find_nginx() -> str | None:
    """Return nginx's program; distributions put it where only root's PATH looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def create(context: Context, ports: Mapping[str, int]) -> Process:
    """Return nginx, not started; the ports are those of the listeners and of the services behind them."""
    home = context.scratch.data_dir("nginx")
    text = render(
        {
            "LISTEN_HOST": PUBLIC_HOST,
            "PORT": str(ports["public"]),
            "ADMIN_PORT": str(ports["admin"]),
            "SCRATCH": str(home),
            # As root the workers would become another user, who may not reach the scratch directory.
            "USER_DIRECTIVE": "user root;" if os.geteuid() == 0 else "",
            # Everything comes from this one address here; the limits are tried by tests of their own.
            "REQUESTS_PER_SECOND": "5000",
            "BURST": "10000",
            "CONNECTIONS_MAX": "5000",
            "AUTH_UPSTREAM": f"{HOST}:{ports['auth']}",
            "SUBSCRIPTIONS_UPSTREAM": f"{HOST}:{ports['subscriptions']}",
            "GATEWAY_UPSTREAM": f"{HOST}:{ports['payments-gateway']}",
            "DEVICES_UPSTREAM": f"{HOST}:{ports['device-bridge']}",
        }
    )
    configuration = home / "nginx.conf"
    configuration.write_text(text, encoding="utf-8")
    spec = Spec(
        name="nginx",
        command=[*_program(context, home), "-e", "stderr", "-p", f"{home}/", "-c", str(configuration)],
        cwd=home,
        stop_signal=signal.SIGQUIT,
        health=health.http(f"http://{PUBLIC_HOST}:{ports['public']}/healthz"),
        ready_timeout_s=20,
        stop_timeout_s=5,
    )
    return Process(spec, context.scratch.logs, context.guard)


def _program(context: Context, home: Path) -> list[str]:
    """Return what runs nginx: the program, or its image in the host's network, where the services listen."""
    binary = find_nginx()
    if binary:
        return [binary]
    docker = shutil.which("docker")
    if docker is None:
        raise RunnerError("nginx was not found: apt-get install nginx-light")
    name = f"copeck-nginx-{context.scratch.instance}"
    # What a crash left of an earlier run has the name.
    subprocess.run([docker, "rm", "--force", name], capture_output=True, check=False, timeout=60)
    place = ["--network", "host", "--volume", f"{home}:{home}", "--user", f"{os.getuid()}:{os.getgid()}"]
    return [docker, "run", "--rm", "--name", name, *place, "--entrypoint", "nginx", IMAGE]
