"""What the services that were replaced called things, and what we call them. Pure.

Their numbers are major units and their ids small integers; ours are minor units and UUIDs.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from copeck.kernel import money as amounts
from copeck.kernel.errors import DomainError, InvalidValueError, NotFoundError
from copeck.kernel.money import Money, MoneyError
from payments_gateway.domain.payouts import REQUESTED, PayoutStatusError
from payments_gateway.domain.recipients import Recipient, RecipientError, is_card_number, parse
from payments_gateway.domain.wallets import Status

CURRENCY = "RUB"
"""What the old services counted in."""

_NUMBER = re.compile(r"[0-9]{1,18}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")


class IdKind(StrEnum):
    """What is numbered; each kind has numbers of its own, from 1 on."""

    USER = "user"
    PAYMENT = "payment"
    PAYOUT = "payout"


class SandboxOnlyError(DomainError):
    """Something that only a sandbox may do: money out of nothing, calls to the mock gateway."""

    type: ClassVar[str] = "sandbox-only"
    title: ClassVar[str] = "Only a sandbox does this"
    status: ClassVar[int] = 403


# Amounts and ids -----------------------------------------------------------------------------------------------------


def amount_of(value: Decimal, field: str, currency: str = CURRENCY, *, zero: bool = False) -> Money:
    """Return an amount that was sent in major units, exactly; MoneyError for what is none."""
    try:
        amount = Money.parse(value, currency)
    except MoneyError as error:
        raise MoneyError(error.detail, field) from None
    if amount.minor < 0 or (amount.minor == 0 and not zero):
        raise MoneyError("an amount is more than nothing" if not zero else "a balance is not below zero", field)
    return amount


def major(minor: int, currency: str = CURRENCY) -> Decimal:
    """Return an amount as a number in major units with no digits more than it needs: 200, 200.5."""
    return Decimal(amounts.major(minor, currency)).normalize()


def reference_of(text: str | int, what: str = "such thing") -> int | UUID:
    """Read an id as callers write it: a small number or a UUID; NotFoundError for what can be neither."""
    written = str(text)
    if _NUMBER.fullmatch(written):
        return int(written)
    if _UUID.fullmatch(written):
        return UUID(written)
    raise NotFoundError(f"there is no {what}")


# Payments ------------------------------------------------------------------------------------------------------------

_PAYMENT_STATUSES: dict[Status, str] = {
    Status.REQUESTED: "NEW",
    Status.PENDING: "NEW",
    Status.PROCESSING: "PROCESSING",
    Status.COMPLETED: "SUCCESS",
    Status.FAILED: "failed",
    Status.CANCELED: "failed",
}


def payment_status(status: Status) -> str:
    """Return the old service's word: NEW, PROCESSING, SUCCESS or failed, in its own upper and lower case."""
    return _PAYMENT_STATUSES[status]


# Payouts -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OldPayout:
    """A payout as the old services showed it, under its number; the amount still in minor units.

    `decided`: the updater has taken it in.
    """

    number: int
    payout_id: UUID
    status: str
    decided: bool
    amount_minor: int
    currency: str
    recipient_masked: str
    description: str
    draft: bool
    needs_approval: bool
    attempts: int
    last_error: str
    next_retry_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def shown_status(self) -> str:
        """The status; the old services had no word for what is not decided yet, so it is what it is about to become."""
        return (
            self.status if self.decided or self.status != REQUESTED else _first_status(self.draft, self.needs_approval)
        )


def _first_status(draft: bool, needs_approval: bool) -> str:
    if draft:
        return "draft"
    return "awaiting_approval" if needs_approval else "pending"


class Change(StrEnum):
    """What a new status of a payout asks for."""

    NOTHING = "nothing"
    SUBMIT = "submit"
    APPROVE = "approve"
    RETRY = "retry"
    CANCEL = "cancel"


CHANGES: dict[tuple[str, str], Change] = {
    ("draft", "pending"): Change.SUBMIT,
    ("draft", "canceled"): Change.CANCEL,
    ("awaiting_approval", "pending"): Change.APPROVE,
    ("awaiting_approval", "canceled"): Change.CANCEL,
    ("pending", "canceled"): Change.CANCEL,
    ("failed", "pending"): Change.RETRY,
}
_SPELLINGS = {"cancelled": "canceled"}


def change_of(status: str, wanted: str) -> Change:
    """Return what leads from one status to another; PayoutStatusError, with what is allowed, where nothing does."""
    target = _SPELLINGS.get(wanted, wanted)
    if target == status:
        return Change.NOTHING
    change = CHANGES.get((status, target))
    if change is None:
        allowed = [after for before, after in CHANGES if before == status]
        may = f"it may become {' or '.join(allowed)}" if allowed else "its status is not changed by hand any more"
        raise PayoutStatusError(f"A payout that is {status} does not become {wanted[:40]}: {may}", "status")
    return change


_KIND_BY_MEMBER = {"token": "card_token", "phone": "sbp", "account": "account"}
_ADVICE = (
    "a recipient is the token of a saved card, or an object: "
    '{"token": …}, {"phone": …, "bank_id": …} or {"account": …, "bic": …, "name": …}'
)


def recipient_of(given: str | Mapping[str, Any]) -> Recipient:
    """Read a recipient: an object as ours, whose kind may be left out, or a text that is a token or such an object."""
    values = _object_in(given) if isinstance(given, str) else dict(given)
    if values is None:
        token = str(given).strip()
        if is_card_number(token):
            raise RecipientError("a card's number is never taken: send the token of a saved card", "recipient")
        values = {"kind": "card_token", "token": token}
    elif "kind" not in values:
        kind = next((kind for member, kind in _KIND_BY_MEMBER.items() if member in values), None)
        if kind is None:
            raise RecipientError(_ADVICE, "recipient")
        values["kind"] = kind
    try:
        return parse(values)
    except RecipientError as error:
        if isinstance(given, str):
            raise RecipientError(_ADVICE, "recipient") from None
        raise RecipientError(error.detail, f"recipient.{error.field}") from None


def _object_in(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text, parse_float=str)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


# Lists ---------------------------------------------------------------------------------------------------------------

TERMS_MAX = 10
ORDER_FIELDS = ("id", "amount", "currency", "status", "description", "created_at", "updated_at")


def search_terms(search: str) -> tuple[str, ...]:
    """Return the words that must all be found: as the old lists did, words are separated by spaces or commas."""
    terms = [term for term in re.split(r"[\s,]+", search) if term]
    if len(terms) > TERMS_MAX:
        raise InvalidValueError(f"a search has {TERMS_MAX} words at most", "search")
    return tuple(terms)


def ordering_of(ordering: str) -> tuple[tuple[str, bool], ...]:
    """Return fields and whether each is descending; as in the old lists, names that nobody knows are passed over."""
    found: list[tuple[str, bool]] = []
    for name in ordering.split(","):
        field = name.strip().removeprefix("-")
        if field in ORDER_FIELDS and field not in (known for known, _ in found):
            found.append((field, name.strip().startswith("-")))
    return tuple(found) or (("created_at", True),)
