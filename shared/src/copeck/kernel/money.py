"""Money as an integer of minor units with its currency; no float comes near it (I-12)."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from copeck.kernel.errors import InvalidValueError

# Minor units a major one, by ISO 4217; a currency is added here before it may be used.
EXPONENTS = {"RUB": 2, "USD": 2, "EUR": 2, "KZT": 2, "BYN": 2, "JPY": 0}

# Postgres keeps amounts as bigint; the bound leaves room for sums of a billion of the largest.
MINOR_MAX = 9_000_000_000


class MoneyError(InvalidValueError):
    """An amount or a currency that cannot be money."""

    type = "invalid-money"
    title = "The amount is not valid"


def major(minor: int, currency: str) -> str:
    """Return minor units in major ones, with as many digits as the currency has: "199.00". Sums have no bound here."""
    exponent = EXPONENTS[currency]
    return f"{Decimal(minor).scaleb(-exponent):.{exponent}f}"


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An exact amount: `Money(19900, "RUB")` is 199 roubles. Sums only within one currency."""

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.minor) is not int:
            raise MoneyError(f"an amount is a whole number of minor units, not {type(self.minor).__name__}")
        if self.currency not in EXPONENTS:
            raise MoneyError(f"the currency {self.currency!r} is not known; one of {', '.join(sorted(EXPONENTS))}")
        if abs(self.minor) > MINOR_MAX:
            raise MoneyError(f"an amount may not exceed {MINOR_MAX} minor units")

    @classmethod
    def parse(cls, value: str | Decimal | int, currency: str) -> "Money":
        """Read major units exactly ("199", "199.00"); MoneyError for anything else, a fraction of a minor unit too."""
        exponent = EXPONENTS.get(currency)
        if exponent is None:
            raise MoneyError(f"the currency {currency!r} is not known; one of {', '.join(sorted(EXPONENTS))}")
        if isinstance(value, float | bool):
            raise MoneyError("an amount is text or a decimal, never a float")
        try:
            scaled = Decimal(value).scaleb(exponent)
        except (ArithmeticError, ValueError) as error:
            # Decimal has more than one way to say no: a bad literal is invalid, an exponent of a million overflows.
            raise MoneyError(f"{str(value)[:40]!r} is not an amount") from error
        if not scaled.is_finite() or abs(scaled) > MINOR_MAX:
            raise MoneyError(f"{str(value)[:40]!r} is not an amount within bounds")
        if scaled != scaled.to_integral_value():
            raise MoneyError(f"{str(value)[:40]!r} has a fraction smaller than the minor unit of {currency}")
        return cls(int(scaled), currency)

    @property
    def value(self) -> str:
        """The amount in major units, with as many digits as the currency has: "199.00"."""
        return major(self.minor, self.currency)

    def share(self, basis_points: int) -> "Money":
        """Return a share of the amount, rounded half-even to the minor unit: 200 basis points are 2 %."""
        exact = Decimal(self.minor) * basis_points / 10_000
        return Money(int(exact.to_integral_value(ROUND_HALF_EVEN)), self.currency)

    def __add__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.minor + other.minor, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(self.minor - other.minor, self.currency)

    def __lt__(self, other: "Money") -> bool:
        self._same(other)
        return self.minor < other.minor

    def __le__(self, other: "Money") -> bool:
        self._same(other)
        return self.minor <= other.minor

    def _same(self, other: "Money") -> None:
        if self.currency != other.currency:
            raise MoneyError(f"{self.currency} and {other.currency} do not add up")

    def __str__(self) -> str:
        return f"{self.value} {self.currency}"
