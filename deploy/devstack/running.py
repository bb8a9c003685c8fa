"""The commands that deal with a stack that a person works with: up, down, status, run, shell, operator."""

import code
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from deploy.devstack import health, services
from deploy.devstack.console import RunnerError, say
from deploy.devstack.ports import PUBLIC_HOST, Ports
from deploy.devstack.process import handling_stops, start_ticks
from deploy.devstack.scratch import MAIN, ROOT, base_dir, read_state
from deploy.devstack.summary import print_summary

if TYPE_CHECKING:
    from deploy.devstack.stack import Stack

_MONITOR_S = 0.5
_START_TIMEOUT_S = 900
_STOP_TIMEOUT_S = 90
OPERATOR_MODULE = "copeck.operator"
KIOSK = "kiosk-1"
"""The virtual machine that `make up` switches on."""


def foreground(instance: str, without: Sequence[str] = ()) -> None:
    """Start, print, watch until a signal, stop."""
    from deploy.devstack.stack import Stack

    unknown = sorted(set(without) - set(services.BY_NAME))
    if unknown:
        raise RunnerError(f"no service {', '.join(unknown)}; there are {', '.join(services.BY_NAME)}")
    stack = Stack(instance, only=[name for name in services.BY_NAME if name not in without])
    stopped: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopped.append(number)
        raise KeyboardInterrupt

    try:
        # An interrupt that falls into a finalizer or into a library is swallowed: then the list is what stops the run.
        with handling_stops(stop):
            _run(stack, without, stopped)
    except KeyboardInterrupt:
        say("stack", "stopping")
    finally:
        stack.stop()
        say("stack", "stopped")


def _run(stack: "Stack", without: Sequence[str], stopped: Sequence[int]) -> None:
    """Start, print and watch until `stopped`."""
    from tests.e2e.coffee_scenario import set_up_kiosk
    from tests.e2e.scenario import Site, seed_plans

    stack.start(announce=False)
    if stopped:
        return
    if not {"auth", "subscriptions"} & set(without):
        say("manager", f"plans on sale: {', '.join(seed_plans(Site.of_state(stack.state())))}")
    kiosk = None
    # Servers that were given to us may have no broker for machines among them.
    if stack.infra.endpoints.mqtt_url and not {"auth", "device-bridge", "machines"} & set(without):
        kiosk = set_up_kiosk(Site.of_state(stack.state()), KIOSK)
        say("merchant", f"machine {kiosk.device} sells {kiosk.page_url}")
    print_summary(stack.state(), kiosk)
    stack.announce()
    while not stopped:
        time.sleep(_MONITOR_S)
        stack.restart_ended()


def detach(instance: str, without: Sequence[str] = ()) -> None:
    """Start the runner in the background; return when everything answers."""
    state = read_state(instance)
    if state:
        raise RunnerError(f"already up at {state.get('urls', {}).get('public', '?')}; make down stops it")
    base_dir().mkdir(parents=True, exist_ok=True)
    log = base_dir() / f"{instance}.log"
    with log.open("wb") as output:
        runner = subprocess.Popen(
            [sys.executable, "-m", "deploy.devstack", "up", "--instance", instance]
            + [item for name in without for item in ("--without", name)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_TIMEOUT_S
    shown = 0
    while True:
        ended = runner.poll() is not None
        shown = _follow(log, shown)
        state = read_state(instance)
        if state and state.get("ready"):
            return
        if ended:
            raise RunnerError(f"the runner ended with status {runner.returncode}; see {log}")
        if time.monotonic() > deadline:
            runner.terminate()
            raise RunnerError(f"not up after {_START_TIMEOUT_S} s; see {log}")
        time.sleep(0.2)


def _follow(log: Path, shown: int) -> int:
    with log.open("rb") as file:
        file.seek(shown)
        text = file.read()
    sys.stderr.write(text.decode(errors="replace"))
    sys.stderr.flush()
    return shown + len(text)


def down(instance: str) -> None:
    """Ask the runner to stop, and wait until it has."""
    state = read_state(instance)
    if state is None:
        say("stack", "nothing is up")
        return
    runner = state["runner"]
    os.kill(runner["pid"], signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while start_ticks(runner["pid"]) == runner["start_ticks"]:
        if time.monotonic() > deadline:
            raise RunnerError(f"runner {runner['pid']} has not stopped within {_STOP_TIMEOUT_S} s")
        time.sleep(0.1)
    say("stack", "stopped")


def running_state(instance: str = MAIN) -> dict[str, Any]:
    """Return the state of the running stack, or say how to start one."""
    state = read_state(instance)
    if state is None:
        raise RunnerError("no stack is up: make up")
    if "databases" not in state:
        raise RunnerError("the stack is still starting")
    return state


def status(instance: str) -> dict[str, dict[str, Any]]:
    """Return, for each process and server, whether it lives and what its health check says."""
    state = running_state(instance)
    rows: dict[str, dict[str, Any]] = {}
    for name, check in health.servers(state["servers"]).items():
        reason = check()
        rows[name] = {"alive": reason is None, "health": reason or "ok", "pid": None, "log": ""}
    for name, process in state["processes"].items():
        alive = bool(process["pid"]) and start_ticks(process["pid"]) == process["start_ticks"]
        answer = rows.get(name, {"health": ""})["health"]
        rows[name] = {"alive": alive, "health": answer, "pid": process["pid"], "log": process["log"]}
        port = state.get("ports", {}).get("public" if name == "nginx" else name)
        if port:
            service = services.BY_NAME.get(name)
            path = service.health_path if service else "/healthz"
            host = PUBLIC_HOST if name == "nginx" else services.host_of(name)
            rows[name]["health"] = health.http(f"http://{host}:{port}{path}")() or "ok"
    return rows


def migrate(instance: str) -> None:
    """Run every service's migrations."""
    from copeck.storage.migrations import upgrade_all

    url = os.environ.get("COPECK_MIGRATOR_DATABASE_URL") or running_state(instance)["databases"]["copeck_migrator"]
    for name in upgrade_all(url):
        say(name, "up to date")


def run_one(name: str, instance: str, arguments: list[str]) -> NoReturn:
    """Become one more process of a service, with the running stack's settings and a port of its own."""
    service = services.BY_NAME.get(name)
    if service is None:
        raise RunnerError(f"no service {name}; there are {', '.join(services.BY_NAME)}")
    state = running_state(instance)
    port = Ports(f"{os.getpid()}").take(name)
    env = {**os.environ, **state["environment"][name], "COPECK_LISTEN_PORT": str(port)}
    if not service.http:
        env["COPECK_METRICS_PORT"] = str(port)
    say(name, f"one more, health and metrics on port {port}; Ctrl-C ends it")
    os.chdir(ROOT)
    os.execvpe(sys.executable, [sys.executable, "-m", *service.command, *arguments], env)  # noqa: S606


def shell(instance: str, role: str, *, python: bool) -> None:
    """Open psql, or a Python shell that knows the state."""
    state = running_state(instance)
    if python:
        code.interact(banner="`state`: addresses and logins of the running stack", local={"state": state})
        return
    if role not in state["databases"]:
        raise RunnerError(f"no role {role}; there are {', '.join(state['databases'])}")
    psql = shutil.which("psql") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/psql")), None)
    if psql is None:
        raise RunnerError("psql was not found: apt-get install postgresql-client, or --python")
    os.execv(psql, [psql, state["databases"][role]])  # noqa: S606


def operator_env(state: dict[str, Any]) -> dict[str, str]:
    """Return the operator CLI's settings for a running stack."""
    return {
        "COPECK_DATABASE_URL": state["databases"]["operator"],
        "COPECK_BROKER_URL": state["brokers"]["operator"],
        "COPECK_LOG_FORMAT": "console",
        "COPECK_LOG_LEVEL": "WARNING",
    }


def operator(instance: str, arguments: list[str]) -> NoReturn:
    """Become the operator CLI."""
    env = {**os.environ, **operator_env(running_state(instance))}
    os.chdir(ROOT)
    os.execvpe(sys.executable, [sys.executable, "-m", OPERATOR_MODULE, *arguments], env)  # noqa: S606


def print_operator(state: dict[str, Any], *arguments: str) -> int:
    """Run the operator CLI and let it print; return its exit status."""
    env = {**os.environ, **operator_env(state)}
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    command = [sys.executable, "-m", OPERATOR_MODULE, *arguments]
    return subprocess.run(command, env=env, cwd=ROOT, check=False, timeout=60).returncode


def operator_inside(state: dict[str, Any], *arguments: str) -> str:
    """Run the operator CLI in this process, and return what it prints: of many runs only the first loads its code."""
    from copeck.operator.app import main

    out, err = io.StringIO(), io.StringIO()
    kept = dict(os.environ)
    os.environ.update(operator_env(state))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(list(arguments))
    except SystemExit as end:
        if end.code:
            complaint = (err.getvalue() or out.getvalue()).strip()
            raise RunnerError(f"copeck {' '.join(arguments)} ended with {end.code}: {complaint[-500:]}") from end
    finally:
        os.environ.clear()
        os.environ.update(kept)
    return out.getvalue()


def operator_json(state: dict[str, Any], *arguments: str) -> Any:
    """Run the operator CLI with --json and return what it says."""
    env = {**os.environ, **operator_env(state)}
    command = [sys.executable, "-m", OPERATOR_MODULE, *arguments, "--json"]
    done = subprocess.run(command, env=env, cwd=ROOT, check=False, timeout=60, capture_output=True, text=True)
    if done.returncode != 0:
        raise RunnerError(f"copeck {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)
