"""A short chaos run; `make chaos` runs the long one. COPECK_CHAOS_SEED repeats a plan."""

import os
import secrets

import pytest

from tests.chaos.run import describe, run

COUNT = int(os.environ.get("COPECK_CHAOS_COUNT", "90"))


@pytest.mark.covers("make chaos")
@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_money_survives_chaos() -> None:
    """Every acknowledged charge is in the books once or refunded, whatever dies on the way."""
    seed = int(os.environ.get("COPECK_CHAOS_SEED") or secrets.randbelow(10**6) + 1)
    # Other suites may run beside it.
    result = run(COUNT, seed, settle_s=300)
    print(describe(result))
    assert result.ok, describe(result)
