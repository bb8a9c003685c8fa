"""The mock gateway's words to ours. A word that nobody knows is *pending* and counted, never final."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from copeck.kernel.money import MINOR_MAX, Money, MoneyError
from payments_gateway.domain.provider import AttemptStatus, Transaction, Verdict
from payments_gateway.providers.words import UNKNOWN_WORDS

STATUSES: dict[str, AttemptStatus] = {"success": AttemptStatus.SUCCEEDED, "failed": AttemptStatus.FAILED}
VERDICTS: dict[object, Verdict] = {"success": Verdict.SUCCEEDED}
_TEXT_CHARS_MAX = 200


def status(word: object) -> AttemptStatus:
    """Translate how a payment ended."""
    if isinstance(word, str) and word in STATUSES:
        return STATUSES[word]
    UNKNOWN_WORDS.labels("mock", "status").inc()
    return AttemptStatus.PENDING


def text(value: object) -> str | None:
    """Return printable text of a bounded length; None when there is none."""
    if not isinstance(value, str | int | Decimal) or isinstance(value, bool):
        return None
    return "".join(char for char in str(value) if char.isprintable())[:_TEXT_CHARS_MAX] or None


def money(value: object, currency: object) -> Money | None:
    """Read an amount in major units; None when it is not one."""
    try:
        return Money.parse(text(value) or "", text(currency) or "")
    except MoneyError:
        return None


def balance(value: object, currency: str) -> Money | None:
    """Read what is there to pay out, in major units; more than one amount can be counts as the most that it can be."""
    try:
        most = Money(MINOR_MAX, currency)
        return most if Decimal(text(value) or "") > Decimal(most.value) else money(value, currency)
    except (MoneyError, ArithmeticError):
        return None


def transaction(document: Mapping[str, Any], *, is_refund: bool = False) -> Transaction | None:
    """Read a payment as it is shown when asked about; None when it is not one."""
    reference = text(document.get("payment_id"))
    if reference is None:
        return None
    ended = status(document.get("status"))
    # One that failed moved nothing and may have no transaction: its reference names it then.
    identifier = text(document.get("transaction_id")) or reference
    return Transaction(
        transaction_id=identifier,
        status=ended,
        amount=money(document.get("amount"), document.get("currency")),
        invoice_ref=reference,
        is_refund=is_refund,
        reason=text(document.get("error")) if ended is AttemptStatus.FAILED else None,
    )
