"""A problem's `type` is what programs go by: one word, one status, and it is written down."""

import re

from deploy.documents.problems import kinds

WORD = re.compile(r"^[a-z]+(-[a-z]+)*$")


def test_a_type_has_one_status() -> None:
    statuses: dict[str, set[int]] = {}
    for kind in kinds():
        assert WORD.match(kind.type), kind
        assert 400 <= kind.status < 600
        statuses.setdefault(kind.type, set()).add(kind.status)
    assert {name: found for name, found in statuses.items() if len(found) > 1} == {}


def test_the_common_ones_are_found() -> None:
    found = {kind.type for kind in kinds()}
    assert {"not-found", "invalid-value", "rate-limited", "refresh-token-reused", "method-not-allowed"} <= found
