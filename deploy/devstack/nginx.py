"""The edge: nginx with the templates of deploy/nginx, rendered for this run's ports."""

import os
import re
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from deploy.devstack import health
from deploy.devstack.console import RunnerError
from deploy.devstack.infra.base import Context
from deploy.devstack.process import Process, Spec
from deploy.devstack.scratch import ROOT

TEMPLATES = ROOT / "deploy" / "nginx"
_PLACEHOLDER = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")


def find_nginx() -> str | None:
    """Return nginx's program; distributions put it where only root's PATH looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def render(text: str, values: Mapping[str, str]) -> str:
    """Fill in `${NAME}`; nginx's own variables are in lower case and stay. A name without a value is an error."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise RunnerError(f"deploy/nginx: no value for ${{{match[1]}}}")
        return values[match[1]]

    return _PLACEHOLDER.sub(value, text)


def render_all(target: Path, values: Mapping[str, str]) -> Path:
    """Write every template without its suffix into a directory; return the main file."""
    templates = sorted(TEMPLATES.glob("*.template"))
    if not templates:
        raise RunnerError(f"no templates in {TEMPLATES}")
    for template in templates:
        text = render(template.read_text(encoding="utf-8"), values)
        (target / template.name.removesuffix(".template")).write_text(text, encoding="utf-8")
    return target / "nginx.conf"


def create(context: Context, values: Mapping[str, str], port: int) -> Process:
    """Return nginx, not started."""
    binary = find_nginx()
    if binary is None:
        raise RunnerError("nginx was not found: apt-get install nginx-light")
    home = context.scratch.data_dir("nginx")
    (home / "tmp").mkdir(exist_ok=True)
    configuration = render_all(home, {"NGINX_PREFIX": str(home), **values})
    # As root the workers would become another user, who may not reach the scratch directory.
    directives = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    command = [binary, "-e", "stderr", "-p", f"{home}/", "-c", str(configuration), "-g", directives]
    spec = Spec(
        name="nginx",
        command=command,
        cwd=home,
        stop_signal=signal.SIGQUIT,
        health=health.http(f"http://127.0.0.1:{port}/healthz"),
        ready_timeout_s=20,
        stop_timeout_s=5,
    )
    return Process(spec, context.scratch.logs, context.guard)
