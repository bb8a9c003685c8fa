"""What a provider's list says of a payout, compared with what we know of it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from payments_gateway.domain.identifiers import payout_reference
from payments_gateway.domain.instructions import payout_key
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.domain.payout_comparison import Compared, compare
from payments_gateway.domain.provider import AttemptStatus, Shop, Transaction
from payments_gateway.providers.cloudpayments import mapping

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
SHOP = Shop("cloudpayments", "main", "pk", "secret")
PAYOUT = new_id()
OURS = Operation(
    id=new_id(), kind=OperationKind.PAYOUT, invoice_id=None, account="house:payouts", provider="cloudpayments",
    shop="main", amount=Money(1010, "RUB"), idempotency_key=payout_key(PAYOUT, 1), status=OperationStatus.SUCCEEDED,
    next_at=NOW, created_at=NOW, payout_id=PAYOUT, payout_attempt=1, result_transaction_id="9",
)  # fmt: skip
PAID = Transaction("9", AttemptStatus.SUCCEEDED, OURS.amount, invoice_ref=payout_reference(PAYOUT, 1), is_payout=True)
_O, _A, _C = OperationStatus, AttemptStatus, Compared


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        (_O.SUCCEEDED, _A.SUCCEEDED, _C.SAME),
        (_O.SUCCEEDED, _A.PENDING, _C.SAME),
        (_O.SUCCEEDED, _A.FAILED, _C.NOT_PAID),
        (_O.FAILED, _A.SUCCEEDED, _C.PAID_AFTER_ALL),
        (_O.READY, _A.SUCCEEDED, _C.PAID_AFTER_ALL),
        (_O.FAILED, _A.FAILED, _C.SAME),
        (_O.FAILED, _A.PENDING, _C.PENDING_THERE),
        (_O.READY, _A.PENDING, _C.PENDING_THERE),
        (_O.READY, _A.FAILED, _C.SAME),
        *((status, _A.SUCCEEDED, _C.ENDED) for status in (_O.CALLING, _O.PENDING, _O.UNKNOWN)),
        *((status, _A.FAILED, _C.ENDED) for status in (_O.CALLING, _O.PENDING, _O.UNKNOWN)),
        *((status, _A.PENDING, _C.SAME) for status in (_O.CALLING, _O.PENDING, _O.UNKNOWN)),
    ],
)
def test_their_word_and_ours(ours: OperationStatus, theirs: AttemptStatus, found: Compared) -> None:
    assert compare(SHOP, replace(OURS, status=ours), replace(PAID, status=theirs)) is found


def test_what_names_no_try_of_the_shop_is_a_stranger_s() -> None:
    assert compare(SHOP, None, PAID) is Compared.STRANGER
    assert compare(SHOP, replace(OURS, shop="coffee"), PAID) is Compared.STRANGER
    assert compare(SHOP, None, replace(PAID, status=AttemptStatus.FAILED)) is Compared.SAME


def test_a_try_that_counts_as_paid_by_another_one_s_transfer_pays_twice_by_its_own() -> None:
    settled = replace(OURS, status=OperationStatus.FAILED, reported="completed", result_transaction_id="8")
    assert compare(SHOP, settled, PAID) is Compared.PAID_TWICE
    assert compare(SHOP, settled, replace(PAID, transaction_id="8")) is Compared.SAME
    assert compare(SHOP, settled, replace(PAID, status=AttemptStatus.FAILED)) is Compared.SAME


def test_one_reference_pays_one_amount_once() -> None:
    assert compare(SHOP, OURS, replace(PAID, transaction_id="10")) is Compared.PAID_TWICE
    failed = replace(PAID, transaction_id="10", status=AttemptStatus.FAILED)
    assert compare(SHOP, OURS, failed) is Compared.SAME
    for status in (OperationStatus.SUCCEEDED, OperationStatus.FAILED):
        for amount in (Money(1011, "RUB"), Money(1010, "USD"), None):
            told = replace(PAID, amount=amount)
            assert compare(SHOP, replace(OURS, status=status), told) is Compared.OTHER_AMOUNT


@pytest.mark.parametrize(
    ("kind", "is_payout"), [(2, True), ("CardPayout", True), (0, False), (1, False), (None, False)]
)
def test_a_row_of_a_list_says_whether_it_is_a_payout(kind: object, *, is_payout: bool) -> None:
    row = mapping.any_transaction({"TransactionId": 9, "Type": kind, "Status": "Completed", "Amount": 10})
    assert row is not None
    assert row.is_payout is is_payout
