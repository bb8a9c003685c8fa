"""`make test`: starts what the suites need, runs each in a pytest process of its own, and prints one summary."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from deploy.devstack.console import RunnerError, say
from deploy.devstack.infra.base import Endpoints
from deploy.devstack.scratch import ROOT
from deploy.devstack.stack import Stack

INSTANCE = "test"
BUILD = ROOT / "build"
_NO_TESTS = 5
_NOWHERE = Endpoints("", "", "", "")
_QUICK_S = 85
"""A machine that takes longer for the unit tests is too slow for chaos beside other suites: they would starve it."""
# Hundreds of people register in these tests, and a password takes 0.1 s of a core on purpose.
_CHEAP_PASSWORDS = {"COPECK_PASSWORD_MEMORY_KIB": "1024", "COPECK_PASSWORD_PASSES": "1"}


_OF_MAKE = ("ARGS", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")


@dataclass(frozen=True)
class Suite:
    """One pytest process."""

    name: str
    marker: str
    paths: tuple[str, ...] = ("shared", "services", "sandbox", "deploy", "tests")
    """Where its tests are: a process that looks at every file of the repository spends ten seconds on it."""
    but: str = ""
    """Folders of this name hold none of them."""
    needs_servers: bool = True
    """Without it the suite begins while the servers still start."""
    needs_services: bool = False
    own_stack: bool = False
    """Starts servers of its own, because it breaks them."""
    workers: int = 0
    whole_files: bool = False
    """The tests of a file share a worker, because they share what was made for them."""
    beside: bool = False
    """Runs at the same time as the suites before it: all of them wait for services most of their time."""
    timeout_s: int = 1800


# The suites in an order in which what is broken shows soon. Browser tests have a process of their own also because
# sync Playwright and pytest-asyncio cannot share one.
SUITES = (
    Suite("unit", "not (integration or e2e or openapi or browser or chaos or bench)", workers=2, needs_servers=False),
    # More workers than cores: most of these tests wait for a server or for a process that starts. The longest are under
    # `tests`, and come first, so that no worker is left with one when the others have ended.
    Suite("integration", "integration", ("tests", "shared", "services", "sandbox", "deploy"), but="unit", workers=5),
    Suite("e2e", "e2e", ("tests/e2e",), needs_services=True, workers=2, whole_files=True),
    Suite("openapi", "openapi", ("tests/contract",), needs_services=True, beside=True),
    Suite("browser", "browser", ("tests/browser",), needs_services=True, beside=True),
    # Half of its time it waits until everything has healed.
    Suite("chaos", "chaos", ("tests/chaos", "tests/coffee"), own_stack=True, workers=2, beside=True),
)


@dataclass
class Outcome:
    """What one suite came to."""

    suite: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    broken: bool = False
    """The process itself failed: a collection error, a crash, a time-out."""


def server_env(endpoints: Endpoints) -> dict[str, str]:
    """Return the variables by which the test kit finds the servers."""
    return {
        "COPECK_TEST_POSTGRES_URL": endpoints.postgres_url,
        "COPECK_TEST_RABBITMQ_URL": endpoints.rabbitmq_url,
        "COPECK_TEST_MANAGEMENT_URL": endpoints.management_url,
        "COPECK_TEST_REDIS_URL": endpoints.redis_url,
        "COPECK_TEST_MQTT_URL": endpoints.mqtt_url or "",
    }


def run(names: Sequence[str] | None, arguments: Sequence[str]) -> int:
    """Run the suites; return 0 when everything passed."""
    unknown = sorted(set(names or ()) - {suite.name for suite in SUITES})
    if unknown:
        raise RunnerError(f"no suite {', '.join(unknown)}; there are {', '.join(suite.name for suite in SUITES)}")
    chosen = [suite for suite in SUITES if not names or suite.name in names]
    BUILD.mkdir(exist_ok=True)
    if any(suite.name == "browser" for suite in chosen):
        _ensure_browser()
    stack = Stack(INSTANCE, extra_env=_CHEAP_PASSWORDS, yields=False)
    outcomes: list[Outcome] = []
    stack.scratch.acquire()
    try:
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(stack.start_servers)
            # Here, so that a stop ends the suite at once.
            outcomes += [_run_suite(suite, dict(os.environ), arguments) for suite in chosen if not suite.needs_servers]
            starting.result()
        kind = stack.infra.kind
        env = {
            **os.environ,
            **server_env(stack.infra.endpoints),
            "COPECK_STACK_FILE": str(stack.scratch.state_path),
            "COPECK_TEST_RABBITMQ_LOG": str(stack.scratch.logs / "rabbitmq.log"),
        }
        if kind == "env":
            for suite in (suite for suite in chosen if suite.own_stack):
                say(suite.name, "left out: it restarts servers, and those of the environment are not ours")
            chosen = [suite for suite in chosen if not suite.own_stack]
        quick = all(outcome.seconds < _QUICK_S for outcome in outcomes)
        for group in _groups([suite for suite in chosen if suite.needs_servers], quick=quick):
            suite = group[0]
            if suite.own_stack:
                stack.stop()
            elif suite.needs_services and not stack.processes:
                stack.start_services()
                _seed(stack)
            elif not suite.needs_services and stack.processes:
                # What is measured or broken next should not share the machine with services that nobody uses.
                stack.stop_services()
            environments = {suite.name: _without_servers(env, kind) if suite.own_stack else env for suite in group}
            outcomes += _run_group(group, environments, arguments)
    finally:
        stack.stop()
    return _summarise(outcomes)


def _seed(stack: Stack) -> None:
    """Put on sale what every suite buys: each would else begin with making it, all at the same moment."""
    from tests.e2e.scenario import Site, seed_plans

    seed_plans(Site.of_state(stack.state()))


def _groups(suites: Sequence[Suite], *, quick: bool) -> list[list[Suite]]:
    """Return the suites in their order, those that run at the same time together; chaos among them if it is `quick`."""
    groups: list[list[Suite]] = []
    for suite in suites:
        if suite.beside and groups and groups[-1][0].needs_services and (quick or not suite.own_stack):
            groups[-1].append(suite)
        else:
            groups.append([suite])
    return groups


def _run_group(
    group: Sequence[Suite], environments: dict[str, dict[str, str]], arguments: Sequence[str]
) -> list[Outcome]:
    """Run suites at the same time; what the later ones say is printed when they have ended."""
    first, *others = group
    with ThreadPoolExecutor(max(1, len(others))) as pool:
        running = [
            (suite, pool.submit(_run_suite, suite, environments[suite.name], arguments, quiet=True)) for suite in others
        ]
        outcomes = [_run_suite(first, environments[first.name], arguments)]
        for suite, future in running:
            outcomes.append(future.result())
            say(suite.name, "said")
            print(_log_of(suite).read_text(encoding="utf-8", errors="replace"), flush=True)
    return outcomes


def _log_of(suite: Suite) -> Path:
    return BUILD / f"{suite.name}.log"


def without_make(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the options of the `make` that runs the tests, so that one in a test has none."""
    return {name: value for name, value in env.items() if name not in _OF_MAKE}


def _without_servers(env: dict[str, str], kind: str) -> dict[str, str]:
    """Return the environment of a suite that starts servers itself, of the same kind as ours were."""
    return {key: value for key, value in env.items() if key not in server_env(_NOWHERE)} | {"COPECK_INFRA": kind}


def _ensure_browser() -> None:
    import shutil

    from deploy.devstack.infra import packages

    if any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        return
    if not packages.may_install():
        raise RunnerError("the browser tests need Chromium: apt-get install chromium (or leave them out with --suite)")
    packages.install(["chromium"])


def _run_suite(suite: Suite, env: dict[str, str], arguments: Sequence[str], *, quiet: bool = False) -> Outcome:
    report = BUILD / f"junit-{suite.name}.xml"
    report.unlink(missing_ok=True)
    paths = [path for path in suite.paths if (ROOT / path).is_dir()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", suite.marker, f"--junitxml={report}", *paths]
    if suite.but:
        command.append(f"--ignore-glob=**/{suite.but}")
    if suite.workers and not any(argument.startswith(("-n", "--pdb")) for argument in arguments):
        command += ["-n", str(suite.workers), "--dist", "loadfile" if suite.whole_files else "loadgroup"]
    say(suite.name, "running")
    began = time.monotonic()
    outcome = Outcome(suite.name)
    try:
        with _log_of(suite).open("w", encoding="utf-8") if quiet else nullcontext() as log:
            code = subprocess.run(
                [*command, *arguments], cwd=ROOT, env=without_make(env), check=False, timeout=suite.timeout_s,
                stdout=log, stderr=subprocess.STDOUT if quiet else None,
            ).returncode  # fmt: skip
    except subprocess.TimeoutExpired:
        say(suite.name, f"stopped after {suite.timeout_s} s")
        code = -1
    outcome.seconds = time.monotonic() - began
    _read_report(outcome, report)
    outcome.broken = code not in (0, 1, _NO_TESTS) or (code == 1 and not outcome.failed)
    return outcome


def _read_report(outcome: Outcome, report: "os.PathLike[str]") -> None:
    try:
        root = ElementTree.parse(report).getroot()  # noqa: S314 - our own pytest wrote it
    except (OSError, ElementTree.ParseError):
        return
    for suite in root.iter("testsuite"):
        total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        outcome.failed += failed
        outcome.skipped += skipped
        outcome.passed += max(0, total - failed - skipped)


def _summarise(outcomes: Sequence[Outcome]) -> int:
    print()
    for outcome in outcomes:
        note = "  BROKEN: the process itself failed" if outcome.broken else ""
        skipped = f", {outcome.skipped} skipped" if outcome.skipped else ""
        print(
            f"{outcome.suite:<12} {outcome.passed:>5} passed, {outcome.failed} failed{skipped}"
            f" in {outcome.seconds:.0f} s{note}"
        )
    passed = sum(outcome.passed for outcome in outcomes)
    failed = sum(outcome.failed for outcome in outcomes) + sum(outcome.broken for outcome in outcomes)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


_MODULES = {
    "bench": "tests.bench",
    "chaos": "tests.chaos",
    "bugs": "tests.chaos.bugs",
    "load": "tests.load",
    "payouts-batch": "tests.load.batch",
    "coffee-chaos": "tests.coffee.chaos",
    "coffee-latency": "tests.coffee.latency",
    "machines-load": "tests.coffee.fleet_load",
}
# These start a stack of their own, because they break it.
_OWN_STACK = frozenset(_MODULES) - {"bench", "bugs"}


def run_module(name: str, arguments: Sequence[str]) -> int:
    """Run one of the long measurements, with servers of its own when it does not start them itself."""
    command = [sys.executable, "-m", _MODULES[name], *arguments]
    if name in _OWN_STACK or "--help" in arguments:
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    stack = Stack(name)
    stack.scratch.acquire()
    try:
        stack.start_servers()
        env = {**os.environ, **server_env(stack.infra.endpoints)}
        return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
    finally:
        stack.stop()
