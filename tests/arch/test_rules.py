"""The rules of `rules.py` hold for the repository; and a few that are about it as a whole."""

from pathlib import Path

import pytest

from deploy.devstack.testing import SUITES, Suite
from tests.arch.rules import ROOT, RULES, Rule, repository


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule(rule: Rule) -> None:
    found = [
        f"{source.path}: {finding}"
        for source in repository()
        if rule.applies(source)
        for finding in rule.findings(source)
    ]
    assert found == [], f"{rule.name}, because {rule.why}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_looks_at_something(rule: Rule) -> None:
    assert any(rule.applies(source) for source in repository())


def test_every_test_file_has_a_name_of_its_own() -> None:
    """Two modules of one name would shadow each other."""
    names = [source.name for source in repository() if source.name.startswith("test_")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


@pytest.mark.parametrize(
    "suite", [suite for suite in SUITES if suite.name == suite.marker], ids=lambda suite: suite.name
)
def test_every_suite_looks_where_its_tests_are(suite: Suite) -> None:
    """A test in a folder in which its suite does not look would never run."""
    elsewhere = [
        source.path
        for source in repository()
        if f"pytest.mark.{suite.marker}" in (ROOT / source.path).read_text(encoding="utf-8")
        and (not source.path.startswith(suite.paths) or (suite.but and f"/{suite.but}/" in source.path))
    ]
    assert elsewhere == []


def test_every_integration_test_says_so() -> None:
    """Without its mark a test would run among the unit tests, against whatever server this machine happens to have."""
    unmarked = [
        source.path
        for source in repository()
        if "/tests/integration/" in source.path
        and source.name.startswith("test_")
        and "pytest.mark.integration" not in (ROOT / source.path).read_text(encoding="utf-8")
    ]
    assert unmarked == []


def test_no_commit_carries_private_settings() -> None:
    """A secret in the history is a secret no more."""
    private = [
        source.path
        for source in repository()
        if source.name == ".env" or source.path.startswith("deploy/secrets/") or source.name.endswith((".pem", ".key"))
    ]
    assert private == []


def missing_parts(service: Path) -> list[str]:
    """Return what a service lacks of the layout that all of them share."""
    package = next(path for path in (service / "src").iterdir() if (path / "__init__.py").is_file())
    wanted = [service / "README.md", service / "migrations" / "env.py", service / "tests" / "unit"]
    wanted += [package / name for name in ("__main__.py", "main.py", "settings.py", "domain", "tables.py")]
    missing = [str(path.relative_to(service)) for path in wanted if not path.exists()]
    missing += [
        f"{package.name}/{name}"
        for name in ("handlers", "store")
        if not (package / name).is_dir() and not (package / f"{name}.py").is_file()
    ]
    edges = ("api", "consumer", "tasks", "mqtt")
    if not any((package / edge).is_dir() or (package / f"{edge}.py").is_file() for edge in edges):
        missing.append(f"{package.name}: none of {', '.join(edges)}")
    return missing


SERVICES = sorted(path.parent for path in (ROOT / "services").glob("*/pyproject.toml"))


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)
def test_services_are_laid_out_alike(service: Path) -> None:
    """Who knows one of them finds his way in all: the folder reads top-down like the message."""
    assert missing_parts(service) == []
