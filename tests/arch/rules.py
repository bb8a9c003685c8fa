"""The rules of this code base that a machine can look after: each says what it forbids and why.

A rule is a function of one file that yields what is wrong with it, so that the tests can show it on a bad sample as
well as on the repository. `test_rules.py` applies them, `test_rules_bite.py` shows that each of them bites.
"""

import ast
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE_LINES_MAX = 400
TEST_FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
_STATEMENT = re.compile(
    r"^\s*(SELECT\b.+\bFROM|INSERT\s+INTO|UPDATE\b.+\bSET|DELETE\s+FROM|WITH\b.+\bAS\b|MERGE\s+INTO|COPY\b.+\bFROM|TRUNCATE)\b",
    re.IGNORECASE | re.DOTALL,
)
# A handler passes the transaction on, and has to say of what type it is.
_TYPES_OF_CONNECTIONS = {"sqlalchemy.ext.asyncio", "sqlalchemy.engine"}
_IO = {
    "aio_pika", "aiomqtt", "aiormq", "alembic", "asyncio", "celery", "fastapi", "http", "httpx", "httpx2", "os", "paho",
    "psycopg", "psycopg_pool", "redis", "requests", "smtplib", "socket", "sqlalchemy", "starlette", "subprocess",
    "threading", "urllib", "uvicorn",
}  # fmt: skip
# Reading settings and making ids are the kernel's few doors to the machine.
_DOORS = {"shared/src/copeck/kernel/settings.py", "shared/src/copeck/kernel/ids.py"}
_MARKS = re.compile(r"\b(TODO|FIXME)\b")
_INDEX = re.compile(r"(?i)(pypi\.org/simple|--(extra-)?index-url|--find-links|--trusted-host|^\s*-[if]\s+https?://)")
_SEARCH = re.compile(r"\.(icontains|ilike|istartswith|iendswith)\(")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_SERVICES = {"auth", "subscriptions", "billing_state_updater", "payments_gateway", "reminder_cron", "device_bridge"}


@dataclass(frozen=True)
class Source:
    """One file, by its path below the root."""

    path: str
    text: str

    @property
    def parts(self) -> tuple[str, ...]:
        """The folders and the name."""
        return Path(self.path).parts

    @property
    def name(self) -> str:
        """The file's name."""
        return self.parts[-1]

    @property
    def is_test(self) -> bool:
        """Tell whether the file runs in tests only."""
        return "tests" in self.parts or self.name == "conftest.py"

    @property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return _parse(self.text)


@cache
def _parse(text: str) -> ast.Module:
    return ast.parse(text)


@dataclass(frozen=True)
class Rule:
    """What is forbidden, why, where, and how it is found."""

    name: str
    why: str
    applies: Callable[[Source], bool]
    findings: Callable[[Source], Iterable[str]]


@cache
def repository() -> tuple[Source, ...]:
    """Return every file that is or will be committed and that can be read as text."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    found = []
    for name in sorted(set(filter(None, listed))):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".txt", ".in", ".toml", ".yml", ".yaml", ".sql", ".html", ".js", ""}:
            try:
                found.append(Source(name, path.read_text(encoding="utf-8")))
            except (OSError, UnicodeDecodeError):
                continue
    return tuple(found)


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _is_python(source: Source) -> bool:
    return source.name.endswith(".py") and "migrations" not in source.parts


def _in_service(source: Source) -> bool:
    return _is_python(source) and source.parts[0] == "services" and not source.is_test


# Layers.


def _speaks_no_sql(source: Source) -> bool:
    names = {"store.py", "tables.py", "views.py", "env.py"}
    return _in_service(source) and "store" not in source.parts and source.name not in names


def sql(source: Source) -> Iterator[str]:
    """Find SQL, and the library that makes it."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "sqlalchemy")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sqlalchemy":
            if node.module not in _TYPES_OF_CONNECTIONS:
                yield str(node.module)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _STATEMENT.match(node.value):
            yield f"line {node.lineno}: {node.value.strip()[:60]}"


def _is_pure(source: Source) -> bool:
    inside = {"domain"} & set(source.parts) or {"kernel", "contracts"} & set(source.parts[:5])
    return _is_python(source) and bool(inside) and not source.is_test and source.path not in _DOORS


def input_and_output(source: Source) -> Iterator[str]:
    """Find libraries that reach outside of the process."""
    yield from (name for name in _imports(source.tree) if name.split(".")[0] in _IO)


def other_services(source: Source) -> Iterator[str]:
    """Find imports of another service."""
    own = source.parts[3] if len(source.parts) > 3 else ""
    yield from (name for name in _imports(source.tree) if name.split(".")[0] in _SERVICES - {own})


def _is_production(source: Source) -> bool:
    return (
        _is_python(source)
        and source.parts[0] in {"services", "shared", "sandbox"}
        and not source.is_test
        and "testkit" not in source.parts
    )


def test_code(source: Source) -> Iterator[str]:
    """Find what exists for tests alone."""
    forbidden = ("copeck.testkit", "pytest", "hypothesis", "testcontainers", "tests")
    yield from (name for name in _imports(source.tree) if name.startswith(forbidden))


# Sizes and marks.


def long_files(source: Source) -> Iterator[str]:
    """Find files that nobody reads to their end."""
    lines = len(source.text.splitlines())
    limit = TEST_FILE_LINES_MAX if source.is_test else FILE_LINES_MAX
    if lines > limit:
        yield f"{lines} lines, more than {limit}"


def long_functions(source: Source) -> Iterator[str]:
    """Find functions that do not fit on a screen."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.name}: {lines} lines, more than {FUNCTION_LINES_MAX}"


def searches(source: Source) -> Iterator[str]:
    """Find comparisons that leave capitals to the database's locale."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if _SEARCH.search(line):
            yield f"line {number}: {line.strip()[:80]}"


def marks(source: Source) -> Iterator[str]:
    """Find notes to oneself."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if _MARKS.search(line):
            yield f"line {number}: {line.strip()[:80]}"


def sleeps(source: Source) -> Iterator[str]:
    """Find tests that wait for time instead of a condition; what stands for slow work in a test may well be slow."""
    for function in ast.walk(source.tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name.startswith("test"):
            yield from (f"line {call.lineno}: {ast.unparse(call)}" for call in _sleeps_in(function.body))


def _sleeps_in(nodes: Iterable[ast.AST]) -> Iterator[ast.Call]:
    """Walk a test's own statements, not those of functions inside it, nor loops: they look at a condition."""
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep"):
            if ast.unparse(node.args[0]) != "0":
                yield node
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.While | ast.For | ast.AsyncFor):
            yield from _sleeps_in(ast.iter_child_nodes(node))


# Money.


def _handles_money(source: Source) -> bool:
    money = source.path.startswith(("shared/src/copeck/kernel/money", "shared/src/copeck/contracts/"))
    books = source.parts[0] == "services" and bool({"domain", "store"} & set(source.parts)) and not source.is_test
    return _is_python(source) and (money or books)


def floats(source: Source) -> Iterator[str]:
    """Find floats at amounts: a conversion of one, or a name of minor units beside a float or a true division."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
            if any(_names_money(argument) for argument in node.args):
                yield f"line {node.lineno}: {ast.unparse(node)[:80]}"
        elif isinstance(node, ast.BinOp) and (isinstance(node.op, ast.Div) or _has_float(node)):
            if _names_money(node) and "Decimal" not in ast.unparse(node):
                yield f"line {node.lineno}: {ast.unparse(node)[:80]}"
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "float" and _names_money(node.target):
            yield f"line {node.lineno}: {ast.unparse(node)[:80]}"


def _has_float(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Constant) and isinstance(part.value, float) for part in ast.walk(node))


def _names_money(node: ast.AST) -> bool:
    return bool(re.search(r"(?i)minor|amount|balance|commission|price\b", ast.unparse(node)))


# Documents and locks.


def index_addresses(source: Source) -> Iterator[str]:
    """Find addresses of package indexes."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if _INDEX.search(line):
            yield f"line {number}: {line.strip()[:80]}"


def broken_links(source: Source) -> Iterator[str]:
    """Find links to files and headings that are not there."""
    for target in _LINK.findall(_without_code(source.text)):
        if re.match(r"(?i)(https?|mailto|ftp):", target):
            continue
        place, _, anchor = target.partition("#")
        file = (ROOT / source.path).parent / place if place else ROOT / source.path
        if not file.exists():
            yield f"{target}: no such file"
        elif anchor and file.suffix == ".md" and anchor not in _anchors(file.read_text(encoding="utf-8")):
            yield f"{target}: no such heading"


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"(?ms)^```.*?^```", "", text))


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"(?m)^#{1,6} (.+)$", text)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in plain}


def _names_packages(source: Source) -> bool:
    return source.path.startswith("deploy/lock/") or _is_document(source) or source.name == "pyproject.toml"


def _is_document(source: Source) -> bool:
    return source.name.endswith(".md")


RULES = (
    Rule("only store speaks SQL", "who looks for what a table goes through looks in one place", _speaks_no_sql, sql),
    Rule(
        "domain, kernel and contracts do no input or output",
        "a decision is a function of what it is given, so that it can be tried in every state and replayed",
        _is_pure,
        input_and_output,
    ),
    Rule(
        "services know nothing of each other",
        "they meet in shared and on the bus; an import would tie their releases together",
        _in_service,
        other_services,
    ),
    Rule("the test kit is never in production", "what tests may do, production must not", _is_production, test_code),
    Rule(
        "files have at most 400 lines, tests 600",
        "what outgrows a page or two becomes a folder, split by aggregate",
        _is_python,
        long_files,
    ),
    Rule("functions have at most 70 lines", "they fit on a screen", _is_python, long_functions),
    Rule(
        "no notes to oneself are left",
        "what is to be done is an issue; in code nobody comes back to it",
        lambda source: source.path != "tests/arch/rules.py" and "arch/test_rules" not in source.path
        and not source.path.startswith("shared/src/copeck/web/static/"),
        marks,
    ),
    Rule(
        "tests wait for a condition, they do not sleep",
        "a sleep is too long on one machine and too short on another",
        lambda source: _is_python(source) and source.is_test and not {"bench", "chaos"} & set(source.parts),
        sleeps,
    ),
    Rule(
        "searches go through copeck.storage.search",
        "in a database of locale C, others find Russian words only as they are written, capitals and all",
        lambda source: _is_production(source) and source.path != "shared/src/copeck/storage/search.py",
        searches,
    ),
    Rule("money is never a float (I-12)", "0.1 + 0.2 is not 0.3, and the books are exact", _handles_money, floats),
    Rule(
        "no package-index address is committed",
        "it ties everyone who installs to the machine of whoever wrote it",
        _names_packages,
        index_addresses,
    ),
    Rule("every link of a document resolves", "a document that lies about one thing is not believed", _is_document,
         broken_links),
)  # fmt: skip
