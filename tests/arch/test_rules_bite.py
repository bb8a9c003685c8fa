"""Each rule finds what it forbids in a bad sample, and leaves a good one alone."""

from pathlib import Path

import pytest

from tests.arch.rules import FILE_LINES_MAX, FUNCTION_LINES_MAX, RULES, Rule, Source
from tests.arch.test_rules import missing_parts

SERVICE = "services/auth/src/auth"
LONG_FUNCTION = "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX
MARK = "TO" + "DO"
INDEX = "--index-" + "url https://example.org/simple"

# By rule: the path of the sample, a bad text, a good text.
SAMPLES: dict[str, list[tuple[str, str, str]]] = {
    "only store speaks SQL": [
        (f"{SERVICE}/handlers/x.py", "import sqlalchemy as sa", "from sqlalchemy.ext.asyncio import AsyncConnection"),
        (f"{SERVICE}/api.py", 'q = "SELECT id FROM users"', 'q = "Choose a plan from the list"'),
        (f"{SERVICE}/domain/x.py", 'q = """\n  UPDATE users\n SET x = 1"""', 'q = "updated"'),
    ],
    "domain, kernel and contracts do no input or output": [
        (f"{SERVICE}/domain/x.py", "import asyncio", "import datetime"),
        ("shared/src/copeck/contracts/x.py", "from sqlalchemy.orm import Session", "from pydantic import BaseModel"),
        ("shared/src/copeck/kernel/x.py", "def f():\n    import socket", "import decimal"),
    ],
    "services know nothing of each other": [
        (f"{SERVICE}/handlers/x.py", "from subscriptions.store import plans", "from auth.store import users"),
        ("services/subscriptions/src/subscriptions/api/x.py", "import payments_gateway", "import copeck.kernel"),
    ],
    "the test kit is never in production": [
        (f"{SERVICE}/main.py", "from copeck.testkit import waiting", "from copeck.kernel import clock"),
        ("shared/src/copeck/web/x.py", "import pytest", "import fastapi"),
    ],
    "searches go through copeck.storage.search": [
        (f"{SERVICE}/store/x.py", "q = users.c.name.icontains(text)", "q = contains(users.c.name, text)"),
        ("shared/src/copeck/web/x.py", 'q = name.ilike("a%")', 'q = name.like("a%")'),
    ],
    "files have at most 400 lines, tests 600": [
        (f"{SERVICE}/x.py", "x = 1\n" * (FILE_LINES_MAX + 1), "x = 1\n" * FILE_LINES_MAX),
        ("tests/e2e/test_x.py", "x = 1\n" * 601, "x = 1\n" * 600),
    ],
    "functions have at most 70 lines": [
        (f"{SERVICE}/x.py", LONG_FUNCTION, "def f():\n    x = 1\n"),
        (f"{SERVICE}/x.py", "class A:\n" + LONG_FUNCTION.replace("\n", "\n  ").replace("def", "  async def", 1), ""),
    ],
    "no notes to oneself are left": [
        (f"{SERVICE}/x.py", f"# {MARK}: mend this", "# todos are the plural of nothing"),
        ("README.md", f"{MARK} write", "write"),
    ],
    "tests wait for a condition, they do not sleep": [
        (
            "tests/e2e/test_x.py",
            "async def test():\n    await asyncio.sleep(1)",
            "async def t():\n    await eventually(f)",
        ),
        (
            "tests/e2e/test_y.py",
            "def test():\n    time.sleep(0.1)",
            "def test():\n    while not x():\n        time.sleep(0.1)",
        ),
        (
            "tests/e2e/test_z.py",
            "def test():\n    with x:\n        time.sleep(d)",
            "def test():\n    def work():\n        time.sleep(d)",
        ),
    ],
    "money is never a float (I-12)": [
        (f"{SERVICE}/domain/x.py", "x = float(amount)", "x = float(age_s)"),
        (f"{SERVICE}/domain/x.py", "fee = amount_minor * 0.02", "pause_s = tries * 0.02"),
        (f"{SERVICE}/store/x.py", "half = balance_minor / 2", "half = balance_minor // 2"),
        ("shared/src/copeck/contracts/x.py", "amount_minor: float = 0", "amount_minor: int = 0"),
    ],
    "no package-index address is committed": [
        ("deploy/lock/auth.txt", f"{INDEX}\nx==1", "x==1 \\\n    --hash=sha256:00"),
        ("README.md", f"pip install {INDEX}", "pip install -r deploy/lock/auth.txt"),
    ],
    "every link of a document resolves": [
        ("README.md", "[a](no/such/file.md)", "[a](CONTRIBUTING.md), [b](https://example.org), `[c](d)`"),
        ("arch/README.md", "[a](#no-such-heading)", "[a](../README.md#tests)"),
    ],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_bites(rule: Rule) -> None:
    samples = SAMPLES[rule.name]
    for path, bad, good in samples:
        for text, expected in ((bad, True), (good, False)):
            source = Source(path, text)
            assert rule.applies(source), path
            found = list(rule.findings(source))
            assert bool(found) is expected, f"{path}: {text[:80]!r} gave {found}"


def test_every_rule_has_samples() -> None:
    assert set(SAMPLES) == {rule.name for rule in RULES}


def test_a_service_without_its_parts_is_noticed(tmp_path: Path) -> None:
    package = tmp_path / "src" / "odd"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    assert {"README.md", "migrations/env.py", "src/odd/main.py", "odd/handlers", "odd/store"} <= set(
        missing_parts(tmp_path)
    )
