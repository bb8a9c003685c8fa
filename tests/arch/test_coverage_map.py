"""Nothing public is without a test; and the map does not claim what is not so."""

from typing import Any

import pytest

from tests.arch import coverage_map
from tests.arch.claims import Claim, claims, path_of
from tests.arch.public_things import Thing

ENDPOINT = Thing("endpoint", "POST /admin/api/v1/invoices/{invoice_id}/refund")


@pytest.mark.covers("make coverage-map")
def test_everything_public_has_a_test(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["coverage_map"])
    status = coverage_map.main()
    said = capsys.readouterr().out
    assert status == 0, said[said.rindex("\n\n") :]
    for kind in ("endpoints", "notifications", "commands", "targets"):
        assert f"\n{kind}\n" in said


@pytest.mark.covers("make coffee-table")
def test_what_coffee_promises_has_a_test(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["coverage_map", "--coffee"])
    status = coverage_map.main()
    said = capsys.readouterr().out
    assert status == 0, said[said.rindex("\n\n") :]
    listed = {line.strip().rsplit(maxsplit=1)[0] for line in said.splitlines() if line.startswith("  ")}
    promised = {"frame vector", "tmetr command/make", "driver policy mqtt-v1", "error page device-off"}
    assert promised < listed
    assert "POST /auth/api/v1/login" not in listed


def test_a_promise_without_a_test_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["coverage_map", "--coffee"])
    untested: dict[Thing, list[str]] = {Thing("promise", "frame vector"): [], ENDPOINT: []}
    monkeypatch.setattr(coverage_map, "coverage", lambda: untested)
    assert coverage_map.main() == 1
    said = capsys.readouterr().out
    assert "no test exercises frame vector" in said
    assert ENDPOINT.name not in said


def claim(**changes: Any) -> Claim:
    """Return a claim of nothing but what is given."""
    nothing: dict[str, Any] = dict.fromkeys(("calls", "words", "lines", "covers", "uses"), frozenset())
    return Claim(test="tests/e2e/test_x.py::test_x", **(nothing | changes))


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/admin/api/v1/invoices/\0/refund", True),
        ("POST", "/admin/api/v1/invoices/0190/refund", True),
        ("GET", "/admin/api/v1/invoices/\0/refund", False),
        ("POST", "/admin/api/v1/invoices/\0/cancel", False),
        ("POST", "/admin/api/v1/invoices/\0", False),
        # What is not known stands for a parameter only, never for a word of the template.
        ("POST", "/admin/api/v1/invoices/\0/\0", False),
        ("POST", "\0/\0/\0/\0/\0/\0", False),
    ],
)
def test_a_call_exercises_what_it_fits(method: str, path: str, expected: bool) -> None:
    assert coverage_map.exercises(claim(calls=frozenset({(method, path)})), ENDPOINT) is expected


def test_markers_and_command_lines_count() -> None:
    assert coverage_map.exercises(claim(covers=frozenset({ENDPOINT.name})), ENDPOINT)
    shown = Thing("command", "copeck invoice show")
    assert coverage_map.exercises(claim(lines=frozenset({("copeck", "invoice", "show", "\0")})), shown)
    assert not coverage_map.exercises(claim(lines=frozenset({("copeck", "invoice", "list")})), shown)
    assert not coverage_map.exercises(claim(words=frozenset({"invoice", "show"})), shown)
    target = Thing("target", "make migrate")
    assert coverage_map.exercises(claim(lines=frozenset({("make", "migrate")})), target)
    assert not coverage_map.exercises(claim(lines=frozenset({("make", "demo", "migrate")})), target)


def test_addresses_lose_their_host_and_their_query() -> None:
    assert path_of("http://127.0.0.1:80/pay/x?lang=en#top") == "/pay/x"
    assert path_of("\0/pay/\0") == "/pay/\0"
    assert path_of("/pay/x") == "/pay/x"


def test_helpers_and_fixtures_are_followed() -> None:
    """One test that is known well: its calls are in a module that it imports, and in a fixture."""
    name = (
        "tests/e2e/test_subscription_sold.py::test_a_person_subscribes_and_pays_and_the_operator_sees_the_whole_story"
    )
    found = next(claim for claim in claims() if claim.test == name)
    assert ("POST", "/auth/api/v1/register") in found.calls
    assert ("POST", "/subscriptions/api/v1/subscriptions") in found.calls
    assert ("DELETE", "/auth/api/v1/api-keys/\0") not in found.calls
