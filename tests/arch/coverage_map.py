"""`make coverage-map`: for each public thing, the tests that exercise it; exit status 1 when one has none.

What is public is read from what defines it (`public_things`), what a test exercises from its source (`claims`).
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from functools import cache

from tests.arch.claims import Claim, claims
from tests.arch.public_things import Thing, things
from tests.support.openapi_recipes import RECIPES

_WALK = "tests/contract/test_openapi_conformance.py::test_every_operation_is_answered_2xx_for_somebody"
_PAID = "/payments/api/v1/paid/cloudpayments/{shop}/{kind}"
_SHOWN = 2
_COFFEE = frozenset({"promise", "error page", "defect"})


_PREFIXES = {
    "auth": "/auth/api/v1",
    "subscriptions": "/subscriptions/api/v1",
    "payments-gateway": "/payments/api/v1",
    "device-bridge": "/devices/api/v1",
}


@cache
def matches(template: str, path: str) -> bool:
    """Tell whether a path that a test calls belongs to a template; what is not known in it fits a parameter only."""
    wanted, given = template.strip("/").split("/"), path.strip("/").split("/")
    if len(wanted) != len(given):
        return False
    return all(
        (bool(word) and "{" in part) or part == word or (re.sub(r"\{[^}]*\}", "\0", part) == word)
        for part, word in zip(wanted, given, strict=True)
    )


def exercises(claim: Claim, thing: Thing) -> bool:
    """Tell whether a test exercises a thing."""
    if thing.name in claim.covers:
        return True
    words = thing.name.split()
    match thing.kind:
        case "endpoint":
            method, template = words
            own = [template, *(_below(claim, template))]
            return any(called == method and any(matches(one, path) for one in own) for called, path in claim.calls)
        case "notification":
            return _notifies(claim, words[1])
        case "command":
            return any(_runs(line, words) for line in claim.lines) or _invokes(claim, words)
        case "error page":
            return words[-1] in claim.words and "pages" in claim.test.partition("::")[0]
        case "target":
            return any(line[:2] == ("make", words[1]) or _has(line, ("make", words[1])) for line in claim.lines)
    return False


def _below(claim: Claim, template: str) -> Iterator[str]:
    """Return the template without its prefix, for tests of the service itself: their helpers put it before the path."""
    for folder, prefix in _PREFIXES.items():
        if claim.test.startswith(f"services/{folder}/") and template.startswith(f"{prefix}/"):
            yield template.removeprefix(prefix)


def _invokes(claim: Claim, words: list[str]) -> bool:
    """Tell whether a test of the package itself gives the command to its command line."""
    own = claim.test.startswith("services/") and f"/{words[0].replace('_', '-')}/" in f"/{claim.test}"
    started = words[0] in claim.words or "CliRunner" in claim.uses
    return own and started and set(words[1:]) <= claim.words


def _notifies(claim: Claim, kind: str) -> bool:
    for method, path in claim.calls:
        if method in ("GET", "POST") and matches(_PAID, path):
            last = path.rsplit("/", 1)[-1]
            if last == kind or ("\0" in last and kind in claim.words):
                return True
    return False


def _runs(line: tuple[str, ...], words: list[str]) -> bool:
    """Tell whether a call or a list of arguments starts a command: `copeck("invoice", "show")`, `["auth", "serve"]`."""
    if words[0] == "copeck":
        return line[: len(words)] == tuple(words) or _has(line, ("copeck.operator", *words[1:]))
    return _has(line, tuple(words)) or (
        line[:1] in {(words[0],), (f"run_{words[0]}",)} and _has(line, tuple(words[1:]))
    )


def _has(line: tuple[str, ...], words: tuple[str, ...]) -> bool:
    if words and words[0] not in line:
        return False
    return any(line[start : start + len(words)] == words for start in range(len(line) - len(words) + 1))


@cache
def coverage() -> dict[Thing, list[str]]:
    """Return the tests of each thing. The walk over OpenAPI documents calls what it has a recipe for, and says so."""
    every = claims()
    found = {thing: [claim.test for claim in every if exercises(claim, thing)] for thing in things()}
    for method, path in RECIPES:
        walked = Thing("endpoint", f"{method} {path}")
        if walked in found:
            found[walked].append(_WALK)
    return found


def unknown_markers() -> list[str]:
    """Return what markers claim and what does not exist (any more)."""
    known = {thing.name for thing in things()}
    return sorted(f"{claim.test}: {name}" for claim in claims() for name in claim.covers - known)


def main() -> int:
    """Print the map."""
    parser = argparse.ArgumentParser(prog="make coverage-map", description=__doc__)
    parser.add_argument("--json", action="store_true", help="everything, for programs")
    parser.add_argument("--coffee", action="store_true", help="promises, error pages and old defects of coffee")
    parser.add_argument("--all", action="store_true", help=f"every test, not the first {_SHOWN} only")
    options = parser.parse_args()
    found = {thing: tests for thing, tests in coverage().items() if not options.coffee or thing.kind in _COFFEE}
    missing = [thing for thing, tests in found.items() if not tests]
    unknown = unknown_markers()
    if options.json:
        document = {thing.name: {"kind": thing.kind, "tests": tests} for thing, tests in found.items()}
        print(json.dumps(document, indent=2))
        return 1 if missing or unknown else 0
    kind = ""
    for thing, tests in found.items():
        if thing.kind != kind:
            kind = thing.kind
            print(f"\n{kind}s")
        print(f"  {thing.name:<72} {len(tests):>3}" if tests else f"  {thing.name:<72} NONE")
        for test in tests if options.all else tests[:_SHOWN]:
            print(f"      {test}")
    print(f"\n{len(found)} public things, {len(missing)} without a test")
    for thing in missing:
        print(f"  no test exercises {thing.name}")
    for name in unknown:
        print(f"  a marker claims what does not exist: {name}")
    return 1 if missing or unknown else 0


if __name__ == "__main__":
    sys.exit(main())
