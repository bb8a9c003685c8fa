"""Rules of CONTRIBUTING.md that a machine can look after: SQL only in store, sizes, no sleeping tests, clean names."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES_MAX = 400
TEST_FILE_LINES_MAX = 600
# Lists that are read entry by entry, and would be harder to find in pieces.
LONG_LISTS = {"shared/src/copeck/contracts/events.py"}
FUNCTION_LINES_MAX = 70
STATEMENT = re.compile(
    r"^\s*(SELECT\b.+\bFROM|INSERT\s+INTO|UPDATE\b.+\bSET|DELETE\s+FROM|WITH\b.+\bAS\b|MERGE\s+INTO|COPY\b.+\bFROM|TRUNCATE)\b",
    re.IGNORECASE | re.DOTALL,
)
# A handler passes the transaction on, and has to say of what type it is.
TYPES_OF_CONNECTIONS = {"sqlalchemy.ext.asyncio", "sqlalchemy.engine"}


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


PYTHON = [path for path in tracked("*.py") if "migrations" not in path.parts]
SERVICES = [path for path in PYTHON if "services" in path.relative_to(ROOT).parts and "tests" not in path.parts]


def outside_store(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        parts = path.relative_to(ROOT).parts
        if "store" not in parts and path.name not in {"store.py", "tables.py", "views.py", "env.py"}:
            yield path


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", list(outside_store(SERVICES)), ids=named)
def test_only_store_speaks_sql(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == "sqlalchemy"]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sqlalchemy":
            found += [str(node.module)] if node.module not in TYPES_OF_CONNECTIONS else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value):
            found.append(node.value.strip()[:60])
    assert found == []


def test_files_are_of_a_size_that_can_be_read() -> None:
    long = {}
    for path in PYTHON:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        limit = TEST_FILE_LINES_MAX if "tests" in path.relative_to(ROOT).parts else FILE_LINES_MAX
        if lines > limit and named(path) not in LONG_LISTS:
            long[named(path)] = lines
    assert long == {}


def test_functions_are_of_a_size_that_can_be_read() -> None:
    long = {}
    for path in PYTHON:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long[f"{named(path)}:{node.name}"] = lines
    assert long == {}


def test_every_test_file_has_a_name_of_its_own() -> None:
    names = [path.name for path in PYTHON if path.name.startswith("test_")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_no_commit_carries_private_settings() -> None:
    assert [named(path) for path in tracked(".env", "deploy/secrets/*", "*.pem", "*.key")] == []


def test_every_service_has_the_same_layout() -> None:
    missing: list[str] = []
    for service in sorted((ROOT / "services").iterdir()):
        if not (service / "pyproject.toml").is_file():
            continue
        package = next(path for path in (service / "src").iterdir() if (path / "__init__.py").is_file())
        wanted = [service / "README.md", service / "migrations" / "env.py", service / "tests" / "unit"]
        wanted += [package / name for name in ("__main__.py", "main.py", "settings.py", "domain", "tables.py")]
        missing += [named(path) for path in wanted if not path.exists()]
        missing += [
            f"{named(package)}: no {name}"
            for name in ("handlers", "store")
            if not (package / name).is_dir() and not (package / f"{name}.py").is_file()
        ]
    assert missing == []
