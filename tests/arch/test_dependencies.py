"""Each image holds shared/, its service and its lock: everything that a service's code imports must be in its lock."""

import ast
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "shared" / "src"
# Imported behind a guard or by name only, and absent from production by intent.
DEVELOPMENT_ONLY = {"pytest"}
IMAGES = {
    path.name: next(child for child in (path / "src").iterdir() if (child / "__init__.py").is_file())
    for path in sorted((ROOT / "services").iterdir())
    if (path / "pyproject.toml").is_file()
} | {"sandbox": ROOT / "sandbox"}


@cache
def imported(path: Path) -> frozenset[str]:
    """Return the dotted names that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def file_of(name: str, roots: list[Path]) -> Path | None:
    for root in roots:
        base = root.joinpath(*name.split("."))
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


def third_party(package: Path) -> dict[str, str]:
    """Return the foreign top-level names that a package's code reaches, with the file that wants each."""
    roots = [SHARED, package.parent]
    waiting = [path for path in package.rglob("*.py") if "tests" not in path.relative_to(package).parts]
    seen: set[Path] = set()
    found: dict[str, str] = {}
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imported(path):
            ours = file_of(name, roots)
            if ours is not None:
                waiting.append(ours)
                continue
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and file_of(top, roots) is None and not (SHARED / top).is_dir():
                found.setdefault(top, str(path.relative_to(ROOT)))
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("image", IMAGES)
def test_what_a_service_imports_is_in_its_lock(image: str) -> None:
    lock = (ROOT / "deploy" / "lock" / f"{image}.txt").read_text(encoding="utf-8")
    locked = {normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}
    distributions = packages_distributions()
    missing = {
        top: path
        for top, path in third_party(IMAGES[image]).items()
        if top not in DEVELOPMENT_ONLY
        and not {normal(name) for name in distributions.get(top, [top])} & locked
        and not path.startswith(("services/device", "deploy/"))
    }
    assert missing == {}


@pytest.mark.parametrize("image", IMAGES)
def test_locks_agree_on_versions(image: str) -> None:
    pattern = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
    everything = dict(pattern.findall((ROOT / "deploy/lock/dev.txt").read_text(encoding="utf-8")))
    own = dict(pattern.findall((ROOT / f"deploy/lock/{image}.txt").read_text(encoding="utf-8")))
    assert {name: version for name, version in own.items() if everything.get(name) != version} == {}
