"""What is sold: products, plans, and prices that are never edited."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

from copeck.kernel.errors import DomainError, InvalidValueError
from copeck.kernel.money import Money
from subscriptions.domain.model import LatePolicy
from subscriptions.domain.periods import Period

TRIAL_DAYS_MAX = 366
BACKDATING_MAX = timedelta(minutes=5)
"""How far in the past a new price may begin: as much as clocks differ. Else it would rewrite what was on sale."""


class PriceInPastError(InvalidValueError):
    """A price that would have been on sale already."""

    type = "price-in-past"
    title = "A price cannot begin in the past"


class PlanNotOnSaleError(DomainError):
    """A plan that cannot be bought now."""

    type: ClassVar[str] = "plan-not-on-sale"
    title: ClassVar[str] = "The plan is not on sale"


@dataclass(frozen=True, slots=True)
class Texts:
    """A text in both languages of the customer's pages."""

    ru: str
    en: str

    def in_language(self, language: str) -> str:
        """Return the text in a language; Russian where there is no other."""
        return self.en if language == "en" else self.ru


@dataclass(frozen=True, slots=True)
class Product:
    """What plans give access to. `late_policy` decides about money that comes too late (I-09)."""

    code: str
    title: Texts
    late_policy: LatePolicy
    version: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Price:
    """An amount for a period. A new price supersedes it from a moment on; nothing in it ever changes."""

    id: UUID
    plan_id: UUID
    amount: Money
    period: Period
    trial_days: int
    active_from: datetime
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A way to have a product; `price` is the one of the moment at which the plan was read."""

    id: UUID
    code: str
    product: str
    title: Texts
    description: Texts
    on_sale: bool
    version: int
    created_at: datetime
    price: Price | None = None


def check_price(active_from: datetime, amount: Money, trial_days: int, now: datetime) -> None:
    """Refuse a price that would begin in the past, be free, or have an endless trial."""
    if active_from < now - BACKDATING_MAX:
        raise PriceInPastError("Choose a moment from now on; a past price stays what it was.", "active_from")
    if amount.minor <= 0:
        raise InvalidValueError("A price is greater than zero.", "amount")
    if not 0 <= trial_days <= TRIAL_DAYS_MAX:
        raise InvalidValueError(f"A trial has 0 to {TRIAL_DAYS_MAX} days.", "trial_days")


def price_on_sale(plan: Plan) -> Price:
    """Return the plan's price of now; PlanNotOnSaleError when it is withdrawn or has none yet."""
    if not plan.on_sale or plan.price is None:
        raise PlanNotOnSaleError("This plan cannot be bought now. Choose another one.", "plan_id")
    return plan.price
