"""What the gateway computes as a commission is rounded as the updater rounds the parts of it that go back."""

from random import Random

import pytest

from billing_state_updater.domain.books import commission_share
from copeck.kernel.money import MINOR_MAX, Money
from payments_gateway.domain.commissions import CommissionKind, Rule, charged_minor

_random = Random(2)
SAMPLE = [*range(1, 3000), *(_random.randrange(1, MINOR_MAX) for _ in range(3000)), MINOR_MAX]


@pytest.mark.parametrize("rate", [0, 1, 200, 250, 3333, 10_000])
def test_gateway_updater_and_kernel_round_a_share_alike(rate: int) -> None:
    rule = Rule("RUB", CommissionKind.DEPOSIT, rate)
    for amount in SAMPLE:
        charged = charged_minor(rule, amount)
        assert charged == Money(amount, "RUB").share(rate).minor, amount
        # The share of an amount at a rate is the share of the rate's basis points that an amount of 10,000 calls for.
        assert charged == commission_share(amount, 10_000, rate, 0), amount
        assert commission_share(charged, amount, amount, 0) == charged, amount
