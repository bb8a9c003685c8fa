"""The gateway's pure decisions, every pair of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copeck.contracts.events import InvoiceStatus
from copeck.kernel.money import Money
from copeck.web.translations import check_texts
from payments_gateway.domain.attempts import advance
from payments_gateway.domain.failures import Failure
from payments_gateway.domain.hearing import Known, Statement, hear, new_attempt
from payments_gateway.domain.invoices import CHECK_BY_STATUS, Invoice, check
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.domain.operations import (
    SEEN_BY_PAYMENT,
    NextStep,
    Seen,
    after_call,
    after_question,
    backoff_s,
    lookalikes,
    next_step,
    seen_refund,
)
from payments_gateway.domain.provider import (
    Answer,
    AttemptStatus,
    CheckAnswer,
    Exchange,
    Notification,
    NotificationKind,
    Shop,
    Transaction,
    Verdict,
)
from payments_gateway.domain.routing import Shops
from payments_gateway.pages import STATES
from payments_gateway.pages.texts import TEXTS

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ID = UUID("0190a5b0-0000-7000-8000-00000000000a")
OTHER = UUID("0190a5b0-0000-7000-8000-00000000000b")
S = AttemptStatus


def _row(*after: AttemptStatus) -> dict[AttemptStatus, AttemptStatus]:
    return dict(zip(S, after, strict=True))


# What is known after (known, said), by the business's rules: money that arrived is never forgotten; a decline may
# still become a success; what ended without money may only be overtaken by money.
EXPECTED = {
    S.CREATED: _row(S.CREATED, S.PENDING, S.AUTHORIZED, S.SUCCEEDED, S.FAILED, S.CANCELED, S.UNKNOWN),
    S.PENDING: _row(S.PENDING, S.PENDING, S.AUTHORIZED, S.SUCCEEDED, S.FAILED, S.CANCELED, S.UNKNOWN),
    S.UNKNOWN: _row(S.UNKNOWN, S.PENDING, S.AUTHORIZED, S.SUCCEEDED, S.FAILED, S.CANCELED, S.UNKNOWN),
    S.AUTHORIZED: _row(*(S.AUTHORIZED,) * 3, S.SUCCEEDED, S.AUTHORIZED, S.CANCELED, S.AUTHORIZED),
    S.SUCCEEDED: dict.fromkeys(S, S.SUCCEEDED),
    S.FAILED: _row(S.FAILED, S.FAILED, S.AUTHORIZED, S.SUCCEEDED, S.FAILED, S.FAILED, S.FAILED),
    S.CANCELED: _row(*(S.CANCELED,) * 3, S.SUCCEEDED, *(S.CANCELED,) * 3),
}  # fmt: skip


@pytest.mark.parametrize("known", S)
@pytest.mark.parametrize("said", S)
def test_every_pair_of_attempt_and_statement(known: S, said: S) -> None:
    assert advance(known, said) is EXPECTED[known][said]


def invoice(status: str = "issued", **changes: object) -> Invoice:
    made = Invoice(
        invoice_id=ID, version=1, status=status, kind="subscription", product="cinema", account="customer:1",
        payer="customer:1", amount=Money(19900, "RUB"), description="", capture="automatic",
        expires_at=NOW + timedelta(hours=1),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("pending_first", [True, False])
@pytest.mark.parametrize("given_up", [True, False])
def test_a_hold_that_names_an_attempt_that_was_given_up_is_another_attempt(
    *, given_up: bool, pending_first: bool
) -> None:
    """The updater takes no hold after it was told `canceled`, and nobody would release the money."""
    shop, expired = Shop("cloudpayments", "main", "pk", "secret"), invoice("expired")
    ours = replace(new_attempt(shop, expired, expired.amount, NOW), status=S.CANCELED if given_up else S.PENDING)
    known = Known(expired, {ours.payment_id: ours})
    if pending_first:
        begun = hear(known, shop, Statement("7", S.PENDING, expired.amount, payment_id=ours.payment_id), NOW)
        assert (begun.bound, begun.open) == (True, given_up)
    held = hear(known, shop, Statement("7", S.AUTHORIZED, expired.amount, payment_id=ours.payment_id), NOW)
    assert (held.attempt.status, held.attempt.transaction_id) == (S.AUTHORIZED, "7")
    assert (held.report, held.bound, held.open) == (True, not pending_first, given_up and not pending_first)
    assert (held.attempt.payment_id != ours.payment_id) is given_up
    assert len(known.attempts) == 1 + given_up
    # What is told of it later is told of the same attempt.
    ended = hear(known, shop, Statement("7", S.CANCELED, expired.amount, payment_id=ours.payment_id), NOW)
    assert (ended.attempt.payment_id, ended.attempt.status) == (held.attempt.payment_id, S.CANCELED)


def asked(**changes: object) -> Notification:
    made = Notification(
        NotificationKind.CHECK, transaction_id="1", invoice_ref=str(ID), account_ref="customer:1",
        amount=Decimal("199.00"), currency="RUB",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


CHECK_EXPECTED = {
    "issued": "ok",
    "pending": "ok",
    "authorized": "not_accepted",
    "paid": "not_accepted",
    "partially_refunded": "not_accepted",
    "refunded": "not_accepted",
    "canceled": "not_accepted",
    "expired": "expired",
    "voided": "not_accepted",
    "disputed": "not_accepted",
    "charged_back": "not_accepted",
}


def test_check_in_every_status() -> None:
    assert set(CHECK_EXPECTED) == set(InvoiceStatus.__args__) == set(CHECK_BY_STATUS) == set(STATES)
    for status, expected in CHECK_EXPECTED.items():
        assert check(invoice(status), asked(), frozenset(), NOW) == expected


def test_check_compares_everything() -> None:
    assert check(None, asked(), frozenset(), NOW) is CheckAnswer.BAD_INVOICE
    assert check(invoice(), asked(account_ref="x"), frozenset(), NOW) is CheckAnswer.BAD_ACCOUNT
    assert check(invoice(payer=""), asked(account_ref="x"), frozenset(), NOW) is CheckAnswer.OK
    for amount in (None, Decimal("199.01"), Decimal(0), Decimal(-199), Decimal("199.001"), Decimal("NaN")):
        assert check(invoice(), asked(amount=amount), frozenset(), NOW) is CheckAnswer.WRONG_AMOUNT
    assert check(invoice(), asked(currency="USD"), frozenset(), NOW) is CheckAnswer.WRONG_AMOUNT
    assert check(invoice(), asked(currency="XXX"), frozenset(), NOW) is CheckAnswer.WRONG_AMOUNT
    assert check(invoice(), asked(), frozenset({S.SUCCEEDED}), NOW) is CheckAnswer.NOT_ACCEPTED
    assert check(invoice(), asked(), frozenset({S.AUTHORIZED}), NOW) is CheckAnswer.NOT_ACCEPTED
    assert check(invoice(), asked(), frozenset({S.FAILED, S.PENDING}), NOW) is CheckAnswer.OK
    assert check(invoice(), asked(), frozenset(), NOW + timedelta(hours=1)) is CheckAnswer.EXPIRED


def operation(kind: OperationKind = OperationKind.REFUND, **changes: object) -> Operation:
    made = Operation(
        id=ID, kind=kind, invoice_id=ID, account="customer:1", provider="p", shop="s", amount=Money(100, "RUB"),
        idempotency_key="k", status=OperationStatus.READY, next_at=NOW, created_at=NOW, refund_id=OTHER,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def answer(verdict: Verdict) -> Answer:
    return Answer(verdict, Exchange("POST", "/", {}, 200, {}, None, 1), transaction_id="9", reason="why")


@pytest.mark.parametrize("status", OperationStatus)
def test_i08_only_what_was_certainly_never_sent_is_called_without_asking(status: OperationStatus) -> None:
    expected = NextStep.CALL if status is OperationStatus.READY else NextStep.ASK
    assert next_step(operation(status=status)) is expected
    assert next_step(operation(OperationKind.STATUS_QUERY, status=status)) is NextStep.ASK


# (verdict, an earlier try may have been executed) -> status, report, come back
AFTER_CALL = {
    (Verdict.SUCCEEDED, False): ("succeeded", "succeeded", False),
    (Verdict.SUCCEEDED, True): ("succeeded", "succeeded", False),
    (Verdict.PENDING, False): ("pending", "pending", True),
    (Verdict.PENDING, True): ("pending", "pending", True),
    (Verdict.REJECTED, False): ("failed", "failed", False),
    (Verdict.REJECTED, True): ("unknown", None, True),
    (Verdict.NOT_SENT, False): ("ready", None, True),
    (Verdict.NOT_SENT, True): ("unknown", None, True),
    (Verdict.UNKNOWN, False): ("unknown", "unknown", True),
    (Verdict.UNKNOWN, True): ("unknown", "unknown", True),
}


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("was_unknown", [False, True])
def test_i08_after_every_answer(verdict: Verdict, was_unknown: bool) -> None:
    outcome = after_call(operation(), answer(verdict), slow_method=False, was_unknown=was_unknown)
    assert (outcome.status.value, outcome.report, outcome.again) == AFTER_CALL[verdict, was_unknown]


def test_a_refund_of_a_slow_method_is_only_accepted() -> None:
    outcome = after_call(operation(), answer(Verdict.SUCCEEDED), slow_method=True, was_unknown=False)
    assert (outcome.status, outcome.report, outcome.again) == (OperationStatus.PENDING, "pending", True)


AFTER_QUESTION = {
    Seen.DONE: ("succeeded", "succeeded", False),
    Seen.UNDER_WAY: ("pending", "pending", True),
    Seen.REFUSED: ("failed", "failed", False),
    Seen.NOT_THERE: ("unknown", "unknown", True),
    Seen.CANNOT_TELL: ("unknown", "unknown", True),
}


@pytest.mark.parametrize("seen", Seen)
def test_i08_after_every_question(seen: Seen) -> None:
    outcome = after_question(operation(), seen, None)
    assert (outcome.status.value, outcome.report, outcome.again) == AFTER_QUESTION[seen]


def transaction(status: AttemptStatus = S.SUCCEEDED, **changes: object) -> Transaction:
    made = Transaction("9", status, Money(100, "RUB"), is_refund=True, refund_id=OTHER)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_refund_is_recognised_by_its_id_or_its_transaction_only() -> None:
    assert seen_refund(operation(), ())[0] is Seen.NOT_THERE
    assert seen_refund(operation(), (transaction(refund_id=ID),))[0] is Seen.NOT_THERE
    assert seen_refund(operation(refund_id=None), (transaction(refund_id=None),))[0] is Seen.NOT_THERE
    assert seen_refund(operation(), (transaction(),))[0] is Seen.DONE
    assert seen_refund(operation(result_transaction_id="9"), (transaction(refund_id=None),))[0] is Seen.DONE
    assert seen_refund(operation(), (transaction(S.FAILED),))[0] is Seen.REFUSED
    assert seen_refund(operation(), (transaction(S.PENDING),))[0] is Seen.UNDER_WAY


def test_a_refund_that_names_nobody_may_be_ours() -> None:
    asked_for = operation(transaction_id="7")
    nobody_s = transaction(refund_id=None, original_transaction_id="7")
    assert lookalikes(asked_for, (nobody_s,)) == {"9"}
    assert lookalikes(asked_for, (replace(nobody_s, status=S.PENDING),)) == {"9"}
    assert not lookalikes(replace(asked_for, result_transaction_id="8"), (nobody_s,))
    for other in (
        replace(nobody_s, refund_id=ID),
        replace(nobody_s, amount=Money(99, "RUB")),
        replace(nobody_s, original_transaction_id="6"),
        replace(nobody_s, status=S.FAILED),
        replace(nobody_s, is_refund=False),
    ):
        assert not lookalikes(asked_for, (other,))


def test_what_the_payment_says_of_a_void_and_of_a_capture() -> None:
    kinds = (OperationKind.VOID, OperationKind.CONFIRM)
    seen = {(k.value, s.value): SEEN_BY_PAYMENT.get((k, s), Seen.CANNOT_TELL).value for k in kinds for s in S}
    assert {pair: word for pair, word in seen.items() if word != "cannot_tell"} == {
        ("void", "canceled"): "done",
        ("void", "failed"): "done",
        ("void", "succeeded"): "refused",
        ("void", "authorized"): "not_there",
        ("confirm", "succeeded"): "done",
        ("confirm", "canceled"): "refused",
        ("confirm", "failed"): "refused",
        ("confirm", "authorized"): "not_there",
    }


@given(st.integers(0, 1000), st.integers(0, 2**32))
def test_backoff_is_jittered_and_capped(attempts: int, seed: int) -> None:
    assert 0.05 <= backoff_s(attempts, 2.0, 600.0, Random(seed)) <= min(600.0, 2.0 * 2 ** min(max(attempts - 1, 0), 20))


def test_routing_prefers_the_shop_that_names_the_product() -> None:
    all_of_it, coffee = Shop("p", "all", "1", "s"), Shop("p", "coffee", "2", "s")
    shops = Shops([(all_of_it, ()), (coffee, ("coffee",))])
    assert shops.route("coffee") is coffee
    assert shops.route("cinema") is all_of_it
    assert Shops([(coffee, ("coffee",))]).route("cinema") is None
    with pytest.raises(ValueError, match="same"):
        Shops([(coffee, ()), (coffee, ())])


def test_the_page_s_texts_are_whole() -> None:
    check_texts(TEXTS)
    for language in TEXTS.values():
        assert {f"failure_{failure.value}" for failure in Failure} <= set(language)
        assert {f"state_{state}" for state in [*STATES.values(), "waiting", "unknown"]} <= set(language)
