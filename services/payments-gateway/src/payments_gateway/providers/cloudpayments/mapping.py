"""CloudPayments' words to ours and back. Only tables and pure functions; a word nobody knows is *pending*, counted."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from copeck.kernel.money import Money, MoneyError
from payments_gateway.domain.failures import Failure
from payments_gateway.domain.identifiers import to_uuid
from payments_gateway.domain.provider import (
    AttemptStatus,
    CheckAnswer,
    DeclineClass,
    Notification,
    NotificationKind,
    Transaction,
    UnreadableCallback,
    WidgetOrder,
)
from payments_gateway.providers.words import UNKNOWN_WORDS

STATUSES: dict[str, AttemptStatus] = {
    "Created": AttemptStatus.PENDING,
    "Pending": AttemptStatus.PENDING,
    "AwaitingAuthentication": AttemptStatus.PENDING,
    "Authorized": AttemptStatus.AUTHORIZED,
    "Completed": AttemptStatus.SUCCEEDED,
    "Cancelled": AttemptStatus.CANCELED,
    "Declined": AttemptStatus.FAILED,
    # A payout's word for it.
    "Failed": AttemptStatus.FAILED,
}

STATUS_CODES: dict[int, AttemptStatus] = {
    0: AttemptStatus.PENDING,
    1: AttemptStatus.PENDING,
    2: AttemptStatus.AUTHORIZED,
    3: AttemptStatus.SUCCEEDED,
    4: AttemptStatus.CANCELED,
    5: AttemptStatus.FAILED,
}

# What a notification says of its transaction; Pay says it in its own field Status.
KIND_STATUSES: dict[NotificationKind, AttemptStatus | None] = {
    NotificationKind.CHECK: None,
    NotificationKind.PAY: AttemptStatus.SUCCEEDED,
    NotificationKind.FAIL: AttemptStatus.FAILED,
    NotificationKind.CONFIRM: AttemptStatus.SUCCEEDED,
    NotificationKind.REFUND: AttemptStatus.SUCCEEDED,
    NotificationKind.RECURRENT: None,
    NotificationKind.CANCEL: AttemptStatus.CANCELED,
    NotificationKind.RECEIPT: None,
}

CHECK_CODES: dict[CheckAnswer, int] = {
    CheckAnswer.OK: 0,
    CheckAnswer.BAD_INVOICE: 10,
    CheckAnswer.BAD_ACCOUNT: 11,
    CheckAnswer.WRONG_AMOUNT: 12,
    CheckAnswer.NOT_ACCEPTED: 13,
    CheckAnswer.EXPIRED: 20,
}

_HARD, _CONDITIONAL, _TEMPORARY = DeclineClass.HARD, DeclineClass.CONDITIONAL, DeclineClass.TEMPORARY
DECLINES: dict[int, DeclineClass] = {
    **dict.fromkeys((5001, 5003, 5005, 5012, 5017, 5033, 5034, 5057), _HARD),
    **dict.fromkeys((5013, 5014, 5030, 5054, 5055, 5063), _CONDITIONAL),
    **dict.fromkeys((5051, 5065, 5096), _TEMPORARY),
}

FAILURES: dict[int, Failure] = {
    **dict.fromkeys((3001, 3002, 3003, 3004, 3005, 3008), Failure.NOT_ACCEPTED),
    **dict.fromkeys((3006, 3007, 5030, 5091, 5092, 5096, 5207), Failure.TRY_LATER),
    **dict.fromkeys((5001, 5003, 5005, 5006, 5015, 5019, 5031, 5204, 5300, 5303), Failure.BANK_REFUSED),
    **dict.fromkeys((5004, 5007, 5034, 5036, 5041, 5043, 5059, 5062, 5063, 5113), Failure.CARD_BLOCKED),
    **dict.fromkeys((5012, 5057, 5058), Failure.NOT_PERMITTED),
    **dict.fromkeys((5013, 5061, 5065), Failure.LIMIT_EXCEEDED),
    **dict.fromkeys((5014, 5082), Failure.WRONG_CARD_DATA),
    **dict.fromkeys((5033, 5054, 5055), Failure.EXPIRED_CARD),
    5017: Failure.PAYER_CANCELED,
    5051: Failure.INSUFFICIENT_FUNDS,
    5206: Failure.AUTHENTICATION_FAILED,
}

# Methods that accept a refund at once and finish it later.
SLOW_REFUND_METHODS = frozenset({"Sbp", "SBP"})

# Fields that every notification of a kind must have before it may move anything.
REQUIRED: dict[NotificationKind, tuple[str, ...]] = {
    NotificationKind.CHECK: ("TransactionId", "Amount", "Currency"),
    NotificationKind.PAY: ("TransactionId", "Amount", "Currency", "Status"),
    NotificationKind.FAIL: ("TransactionId", "Amount", "Currency"),
    NotificationKind.CONFIRM: ("TransactionId", "Amount", "Status"),
    NotificationKind.REFUND: ("TransactionId", "PaymentTransactionId", "Amount"),
    NotificationKind.CANCEL: ("TransactionId",),
    NotificationKind.RECURRENT: ("Id",),
    NotificationKind.RECEIPT: (),
}

# The signature covers the body and not the address, so that the body itself must say that it is no Check and no Fail.
# One of these names is enough, and it may be empty: Check has none of them, and the provider's own list of Confirm's
# fields has no GatewayName.
MARKS: dict[NotificationKind, tuple[str, ...]] = {
    NotificationKind.PAY: ("GatewayName",),
    NotificationKind.CONFIRM: ("GatewayName", "AuthCode", "Token"),
}
_CONFIRMED = "Completed"

_TEXT_CHARS_MAX = 200
_DIGITS_MAX = 30
_AMOUNT = re.compile(r"^-?[0-9]{1,15}([.,][0-9]{1,6})?$")
_REFUND_TYPES = frozenset({"1", "Refund"})
_PAYOUT_TYPES = frozenset({"2", "CardPayout"})


def status(word: object, code: object = None) -> AttemptStatus:
    """Translate a transaction's status; what is not known is pending and counted, never final."""
    if isinstance(word, str) and word in STATUSES:
        return STATUSES[word]
    if word is None and isinstance(code, int) and code in STATUS_CODES:
        return STATUS_CODES[code]
    UNKNOWN_WORDS.labels("cloudpayments", "status").inc()
    return AttemptStatus.PENDING


def decline_class(code: int | None) -> DeclineClass | None:
    """Tell what a reason code means for another try."""
    return None if not code else DECLINES.get(code, DeclineClass.OTHER)


def failure(code: int | None) -> Failure:
    """Tell why a payment failed in our own words; a code without a row is a plain decline."""
    return FAILURES.get(code or 0, Failure.DECLINED)


def notification(kind: NotificationKind, fields: Mapping[str, Any]) -> Notification:
    """Read the fields of an authentic notification."""
    missing = [name for name in REQUIRED[kind] if not _text(fields.get(name))]
    if missing:
        raise UnreadableCallback(f"{kind} without {', '.join(missing)}")
    reason_code = _whole(fields.get("ReasonCode"))
    word = _text(fields.get("Status"))
    if kind in MARKS:
        _check_that_money_moved(kind, fields, word, reason_code)
    data = _data(fields.get("Data"))
    outcome = KIND_STATUSES[kind]
    if kind is NotificationKind.PAY:
        outcome = status(word)
    return Notification(
        kind=kind,
        transaction_id=_text(fields.get("TransactionId") or fields.get("Id")),
        original_transaction_id=_text(fields.get("PaymentTransactionId")),
        invoice_ref=_text(fields.get("InvoiceId")),
        account_ref=_text(fields.get("AccountId")),
        payment_id=to_uuid(data.get("payment_id")),
        refund_id=to_uuid(data.get("refund_id")),
        amount=_decimal(fields.get("Amount")),
        currency=_text(fields.get("Currency")),
        status=outcome,
        reason=_text(fields.get("Reason")),
        reason_code=reason_code,
        decline=decline_class(reason_code),
        failure=failure(reason_code) if outcome is AttemptStatus.FAILED else None,
        method=_text(fields.get("PaymentMethod")),
        card_last_four=_last_four(fields.get("CardLastFour")),
        card_type=_text(fields.get("CardType")),
        is_test=_text(fields.get("TestMode")) in {"1", "true", "True"},
        is_payout=_text(fields.get("OperationType")) in _PAYOUT_TYPES,
    )


def _check_that_money_moved(
    kind: NotificationKind, fields: Mapping[str, Any], word: str | None, reason_code: int | None
) -> None:
    """Refuse the body of another kind that came to the address of one that says that money has moved."""
    if not any(name in fields for name in MARKS[kind]):
        raise UnreadableCallback(f"{kind} without {' or '.join(MARKS[kind])}, as a check has it")
    if reason_code:
        raise UnreadableCallback(f"{kind} with the reason code {reason_code} of a failure")
    if kind is NotificationKind.CONFIRM and word != _CONFIRMED:
        raise UnreadableCallback(f"{kind} with the status {word}")


def transaction(model: Mapping[str, Any]) -> Transaction | None:
    """Read one payment or refund of an API answer; None when it is neither: payouts are no invoice's."""
    kind = _text(model.get("Type")) or _text(model.get("OperationType"))
    return None if kind in _PAYOUT_TYPES else any_transaction(model)


def any_transaction(model: Mapping[str, Any]) -> Transaction | None:
    """Read one transaction of an API answer, a payout too; None when it is not one."""
    identifier = _text(model.get("TransactionId"))
    if identifier is None:
        return None
    data = _data(model.get("JsonData"))
    reason_code = _whole(model.get("ReasonCode"))
    try:
        amount = Money.parse(_decimal(model.get("Amount")) or Decimal(0), _text(model.get("Currency")) or "RUB")
    except (MoneyError, UnreadableCallback):
        amount = None
    original = _text(model.get("PaymentTransactionId") or model.get("OriginalTransactionId"))
    state = status(model.get("Status"), model.get("StatusCode"))
    kind = _text(model.get("Type")) or _text(model.get("OperationType"))
    return Transaction(
        transaction_id=identifier,
        status=state,
        amount=amount,
        invoice_ref=_text(model.get("InvoiceId")),
        payment_id=to_uuid(data.get("payment_id")),
        refund_id=to_uuid(data.get("refund_id")),
        original_transaction_id=original,
        is_refund=kind in _REFUND_TYPES,
        is_payout=kind in _PAYOUT_TYPES,
        refunded=model.get("Refunded") is True,
        reason=_text(model.get("Reason")),
        reason_code=reason_code,
        decline=decline_class(reason_code),
        failure=failure(reason_code) if state is AttemptStatus.FAILED else None,
        method=_text(model.get("PaymentMethod")),
        card_last_four=_last_four(model.get("CardLastFour")),
        card_type=_text(model.get("CardType")),
    )


def widget_parameters(public_id: str, order: WidgetOrder) -> dict[str, Any]:
    """Return the parameters of `widget.start`; the amount is a Decimal, written as an exact JSON number."""
    metadata = {"invoice_id": str(order.invoice_id)}
    if order.payment_id:
        metadata["payment_id"] = str(order.payment_id)
    parameters: dict[str, Any] = {
        "publicTerminalId": public_id,
        "amount": Decimal(order.amount.value),
        "currency": order.amount.currency,
        "paymentSchema": "Dual" if order.two_stage else "Single",
        "culture": "en-US" if order.language == "en" else "ru-RU",
        "description": order.description,
        "externalId": str(order.invoice_id),
        "metadata": metadata,
        "emailBehavior": "Optional",
        "skin": "modern",
        "retryPayment": False,
    }
    if order.account_ref:
        parameters["userInfo"] = {"accountId": order.account_ref}
    return parameters


def _text(value: object) -> str | None:
    if value is None or isinstance(value, Mapping | list | tuple):
        return None
    if isinstance(value, Decimal):
        # Written out, a number with a huge exponent would fill the memory.
        value = f"{value:f}" if value.is_finite() and abs(value.adjusted()) < _DIGITS_MAX else str(value)
    text = "".join(char for char in str(value).strip() if char.isprintable())[:_TEXT_CHARS_MAX]
    return text or None


def _decimal(value: object) -> Decimal | None:
    """Read an amount: plain digits with a point or a comma; no exponents, no NaN, nothing endless."""
    text = _text(value)
    if text is None:
        return None
    if not _AMOUNT.match(text):
        raise UnreadableCallback("the amount is not a number")
    return Decimal(text.replace(",", "."))


def _whole(value: object) -> int | None:
    text = _text(value)
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 9 else None


def _last_four(value: object) -> str | None:
    text = _text(value)
    return text if text and len(text) == 4 and text.isascii() and text.isdigit() else None


def _data(value: object) -> Mapping[str, Any]:
    """Return our own data, which comes back as a JSON text or, in a JSON body, as an object."""
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_float=Decimal)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}
