"""CloudPayments' words, walked whole against what the business expects of each."""

from decimal import Decimal
from uuid import UUID

import pytest

from copeck.kernel.money import Money
from payments_gateway.domain.failures import Failure
from payments_gateway.domain.provider import (
    AttemptStatus,
    CheckAnswer,
    DeclineClass,
    NotificationKind,
    UnreadableCallback,
    WidgetOrder,
)
from payments_gateway.exact_json import exact_json
from payments_gateway.providers.cloudpayments import mapping

INVOICE = UUID("0190a5b0-0000-7000-8000-00000000000a")
PAYMENT = UUID("0190a5b0-0000-7000-8000-00000000000b")

STATUSES_EXPECTED = {
    "Created": "pending",
    "Pending": "pending",
    "AwaitingAuthentication": "pending",
    "Authorized": "authorized",
    "Completed": "succeeded",
    "Cancelled": "canceled",
    "Declined": "failed",
    "Failed": "failed",
}
CHECKS_EXPECTED = {
    "ok": 0,
    "bad_invoice": 10,
    "bad_account": 11,
    "wrong_amount": 12,
    "not_accepted": 13,
    "expired": 20,
}
HARD = {5001, 5003, 5005, 5012, 5017, 5033, 5034, 5057}
CONDITIONAL = {5013, 5014, 5030, 5054, 5055, 5063}
TEMPORARY = {5051, 5065, 5096}


def test_every_status_word() -> None:
    assert {word: status.value for word, status in mapping.STATUSES.items()} == STATUSES_EXPECTED
    for word, expected in STATUSES_EXPECTED.items():
        assert mapping.status(word) == expected


def test_every_status_code() -> None:
    assert {code: mapping.status(None, code).value for code in (1, 2, 3, 4, 5)} == {
        1: "pending",
        2: "authorized",
        3: "succeeded",
        4: "canceled",
        5: "failed",
    }


@pytest.mark.parametrize("word", ["Refunding", "", None, 7])
def test_a_word_nobody_knows_is_pending_and_counted(word: object) -> None:
    counter = mapping.UNKNOWN_WORDS.labels("cloudpayments", "status")
    before = counter._value.get()
    assert mapping.status(word) is AttemptStatus.PENDING
    assert counter._value.get() == before + 1


def test_every_check_answer() -> None:
    assert {answer.value: mapping.CHECK_CODES[answer] for answer in CheckAnswer} == CHECKS_EXPECTED


def test_every_decline_class() -> None:
    for code in range(1, 7000):
        expected = (
            DeclineClass.HARD
            if code in HARD
            else DeclineClass.CONDITIONAL
            if code in CONDITIONAL
            else DeclineClass.TEMPORARY
            if code in TEMPORARY
            else DeclineClass.OTHER
        )
        assert mapping.decline_class(code) is expected
    assert mapping.decline_class(None) is None
    assert mapping.decline_class(0) is None


def test_every_class_of_decline_has_a_word_of_its_own() -> None:
    for code in HARD | CONDITIONAL | TEMPORARY:
        assert mapping.failure(code) is not Failure.DECLINED
    assert mapping.failure(5051) is Failure.INSUFFICIENT_FUNDS
    assert mapping.failure(5054) is Failure.EXPIRED_CARD
    assert mapping.failure(5206) is Failure.AUTHENTICATION_FAILED
    assert mapping.failure(9999) is Failure.DECLINED
    assert mapping.failure(None) is Failure.DECLINED


def fields(**changes: object) -> dict[str, object]:
    return {
        "TransactionId": "123",
        "Amount": "10.10",
        "Currency": "RUB",
        "Status": "Completed",
        "GatewayName": "Test",
        "InvoiceId": str(INVOICE),
        "AccountId": "customer:1",
        "PaymentTransactionId": "100",
        "CardLastFour": "4242",
        "CardType": "Visa",
        "TestMode": "1",
        "Data": f'{{"payment_id": "{PAYMENT}", "rate": 1.5}}',
        "Id": "sc_1",
    } | changes


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("check", {}, None),
        ("pay", {}, "succeeded"),
        ("pay", {"Status": "Authorized"}, "authorized"),
        ("pay", {"Status": "Strange"}, "pending"),
        ("fail", {"ReasonCode": "5051"}, "failed"),
        ("confirm", {}, "succeeded"),
        ("refund", {}, "succeeded"),
        ("cancel", {}, "canceled"),
        ("recurrent", {"Status": "Active"}, None),
        ("receipt", {}, None),
    ],
)
def test_what_every_kind_says(kind: str, changes: dict[str, object], expected: str | None) -> None:
    read = mapping.notification(NotificationKind(kind), fields(**changes))
    assert read.status == expected
    assert read.invoice_id == INVOICE
    assert read.payment_id == PAYMENT
    assert read.amount == Decimal("10.10")
    assert read.is_test


def test_every_kind_is_expected() -> None:
    assert set(mapping.KIND_STATUSES) == set(mapping.REQUIRED) == set(NotificationKind)


@pytest.mark.parametrize(
    ("kind", "missing"), [(kind, name) for kind, names in mapping.REQUIRED.items() for name in names]
)
def test_a_needed_field_that_is_missing_is_unreadable(kind: NotificationKind, missing: str) -> None:
    with pytest.raises(UnreadableCallback, match=missing):
        mapping.notification(kind, fields(**{missing: ""}))


_CHECK = {
    "TransactionId": "123",
    "Amount": "10.10",
    "Currency": "RUB",
    "Status": "Completed",
    "OperationType": "Payment",
    "InvoiceId": str(INVOICE),
}
_FAIL = {name: value for name, value in _CHECK.items() if name != "Status"} | {
    "Token": "tk",
    "Reason": "InsufficientFunds",
    "ReasonCode": "5051",
}


@pytest.mark.parametrize("kind", [NotificationKind.PAY, NotificationKind.CONFIRM])
@pytest.mark.parametrize(
    "body",
    [_CHECK, _CHECK | {"Status": "Authorized"}, _FAIL, _FAIL | {"Status": "Completed", "GatewayName": "Test"}],
    ids=["check", "check of a hold", "fail", "fail with a status"],
)
def test_the_body_of_another_kind_is_no_payment(kind: NotificationKind, body: dict[str, object]) -> None:
    with pytest.raises(UnreadableCallback):
        mapping.notification(kind, body)


def test_a_hold_is_confirmed_by_what_the_provider_lists_of_a_confirm() -> None:
    body = {name: value for name, value in _CHECK.items() if name != "OperationType"} | {"AuthCode": "", "Token": ""}
    assert mapping.notification(NotificationKind.CONFIRM, body).status is AttemptStatus.SUCCEEDED
    with pytest.raises(UnreadableCallback, match="Authorized"):
        mapping.notification(NotificationKind.CONFIRM, body | {"Status": "Authorized"})


def test_i12_an_amount_is_never_a_float() -> None:
    assert mapping.notification(NotificationKind.PAY, fields(Amount=Decimal("0.10"))).amount == Decimal("0.10")
    assert mapping.notification(NotificationKind.PAY, fields(Amount="10,50")).amount == Decimal("10.50")
    assert mapping.notification(NotificationKind.PAY, fields(Amount=10)).amount == Decimal(10)
    with pytest.raises(UnreadableCallback):
        mapping.notification(NotificationKind.PAY, fields(Amount="ten"))


@pytest.mark.parametrize("data", ["", "{", "[1]", '{"payment_id": "x"}', '{"payment_id": 7}', None, {"payment_id": 1}])
def test_data_that_is_not_ours_is_nobody_s(data: object) -> None:
    assert mapping.notification(NotificationKind.PAY, fields(Data=data)).payment_id is None


def test_text_from_outside_is_bounded_and_printable() -> None:
    read = mapping.notification(NotificationKind.FAIL, fields(Reason="a\x00b\n" + "c" * 1000))
    assert read.reason is not None
    assert len(read.reason) <= 200
    assert read.reason.startswith("abc")


def test_a_transaction_of_the_api() -> None:
    model = {
        "TransactionId": 5,
        "Amount": Decimal("10.10"),
        "Currency": "RUB",
        "InvoiceId": str(INVOICE),
        "JsonData": f'{{"refund_id": "{PAYMENT}"}}',
        "Status": "Completed",
        "Type": 1,
        "OriginalTransactionId": 4,
    }
    read = mapping.transaction(model)
    assert read is not None
    assert (read.amount, read.is_refund, read.original_transaction_id) == (Money(1010, "RUB"), True, "4")
    assert read.refund_id == PAYMENT
    assert mapping.transaction({"PaReq": "x"}) is None
    assert mapping.transaction(model | {"Type": 2}) is None


def test_the_widget_gets_an_exact_number() -> None:
    order = WidgetOrder(INVOICE, PAYMENT, Money(10, "RUB"), "Кофе", "customer:1", "en", two_stage=True)
    written = exact_json(mapping.widget_parameters("pk", order))
    assert '"amount": 0.10' in written
    assert '"paymentSchema": "Dual"' in written
    assert '"culture": "en-US"' in written
    with pytest.raises(TypeError):
        exact_json({"amount": 0.1})
