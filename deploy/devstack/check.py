"""`make check`: everything that can be said about the code without servers, side by side, in under a minute."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.devstack.scratch import ROOT

_BIN = Path(sys.executable).parent
_TIMEOUT_S = 300
# A lock that names an index ties everyone who installs from it to whoever made it.
_INDEX = re.compile(r"(?i)(https?|file)://|^\s*(-i|--(extra-)?index-url|--find-links|-f|--trusted-host)\b")


@dataclass
class Result:
    """What one check came to."""

    name: str
    passed: bool
    seconds: float
    output: str


def locks() -> tuple[bool, str]:
    """Look for index addresses and for requirements without a hash in deploy/lock."""
    problems: list[str] = []
    for path in sorted((ROOT / "deploy" / "lock").glob("*.txt")):
        text = path.read_text(encoding="utf-8")
        problems += [
            f"{path.name}:{number}: {line.strip()}"
            for number, line in enumerate(text.splitlines(), 1)
            if _INDEX.search(line)
        ]
        problems += [
            f"{path.name}: {entry.split()[0]} has no hash"
            for entry in re.split(r"\n(?=\S)", text.strip())
            if "==" in entry and "--hash=sha256:" not in entry
        ]
    return not problems, "\n".join(problems)


def command(*arguments: str) -> Callable[[], tuple[bool, str]]:
    """Return a check that runs a program and passes when it exits 0."""

    def check() -> tuple[bool, str]:
        done = subprocess.run(
            arguments,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
        # pytest says 5 for "nothing to run here".
        return done.returncode in (0, 5), (done.stdout + done.stderr).strip()

    return check


def checks() -> dict[str, Sequence[tuple[str, Callable[[], tuple[bool, str]]]]]:
    """Return the checks in lanes: each lane one after the other, the lanes side by side."""
    python = sys.executable
    return {
        "types": [("mypy", command(str(_BIN / "mypy"), "--strict", *_packages()))],
        "rest": [
            ("format", command(str(_BIN / "ruff"), "format", "--check", "--quiet", ".")),
            ("lint", command(str(_BIN / "ruff"), "check", "--quiet", ".")),
            ("locks", locks),
            ("borders", command(str(_BIN / "lint-imports"), "--no-cache", "--no-logo")),
            ("documents", command(python, "-m", "deploy.devstack.documents", "--check")),
            ("architecture", command(python, "-m", "pytest", "-q", "-m", "not integration", *_existing("tests/arch"))),
        ],
    }


def _existing(*paths: str) -> list[str]:
    return [path for path in paths if (ROOT / path).exists()]


def _packages() -> list[str]:
    """Return what mypy looks at: every package's source and the tests, not the migrations (they are scripts)."""
    sources = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("services/*/src"))]
    return [*sources, *_existing("shared/src", "sandbox", "deploy", "tests")]


def main() -> int:
    """Run all checks; print one line each, the output of those that fail, and a summary."""
    results: list[Result] = []

    def run(lane: Sequence[tuple[str, Callable[[], tuple[bool, str]]]]) -> None:
        for name, check in lane:
            began = time.monotonic()
            try:
                passed, output = check()
            except (OSError, subprocess.SubprocessError) as error:
                passed, output = False, str(error)
            result = Result(name, passed, time.monotonic() - began, output)
            results.append(result)
            print(f"{'ok  ' if passed else 'FAIL'} {name:<14}{result.seconds:5.1f} s", flush=True)

    began = time.monotonic()
    lanes = [threading.Thread(target=run, args=(lane,)) for lane in checks().values()]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    failed = [result for result in results if not result.passed]
    for result in failed:
        print(f"\n--- {result.name} ---\n{result.output[-6000:]}")
    print(f"\n{len(results) - len(failed)} checks passed, {len(failed)} failed in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
