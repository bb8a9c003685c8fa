"""A merchant's statement: what a machine sold, gave back and earned on a day of its own time zone. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums in minor units and counts. Commission is what we keep: less what went back with refunds."""

    paid: int = 0
    successful: int = 0
    failed: int = 0
    refunded: int = 0
    gross_minor: int = 0
    commission_minor: int = 0
    refunds_minor: int = 0

    @property
    def net_minor(self) -> int:
        """What the merchant has of it; below zero on a day that only gave back."""
        return self.gross_minor - self.refunds_minor - self.commission_minor

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(
            paid=self.paid + other.paid,
            successful=self.successful + other.successful,
            failed=self.failed + other.failed,
            refunded=self.refunded + other.refunded,
            gross_minor=self.gross_minor + other.gross_minor,
            commission_minor=self.commission_minor + other.commission_minor,
            refunds_minor=self.refunds_minor + other.refunds_minor,
        )


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One machine on one day."""

    day: date
    device_id: str
    device_name: str
    time_zone: str
    figures: Figures


def total(lines: Iterable[StatementLine]) -> Figures:
    """Return the sum of a statement's lines."""
    return sum((line.figures for line in lines), Figures())
