"""What the platform keeps of a sale. Pure."""

from copeck.kernel.money import Money

COMMISSION_BPS_MAX = 9_000


def commission_of(price: Money, basis_points: int) -> int:
    """Return the commission in minor units, half-even; at least one minor unit always stays with the merchant."""
    return max(0, min(price.share(basis_points).minor, price.minor - 1))
