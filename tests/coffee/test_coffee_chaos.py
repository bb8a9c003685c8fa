"""A short run of coffee under chaos; `make coffee-chaos` runs the long one. COPECK_CHAOS_SEED repeats a plan."""

import os
import secrets

import pytest

from tests.coffee.chaos import describe, run

COUNT = int(os.environ.get("COPECK_COFFEE_CHAOS_COUNT", "75"))
MACHINES = 30


@pytest.mark.covers("make coffee-chaos")
@pytest.mark.chaos
@pytest.mark.timeout(720)
def test_a_cup_or_the_money_whatever_dies_on_the_way() -> None:
    """I-10: for every paid order one cup in the machine's log, or the money back in the provider's."""
    seed = int(os.environ.get("COPECK_CHAOS_SEED") or secrets.randbelow(10**6) + 1)
    # Other suites may run beside it.
    result = run(COUNT, MACHINES, seed, settle_s=300)
    print(describe(result))
    assert result.ok, describe(result)
