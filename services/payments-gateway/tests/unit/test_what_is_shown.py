"""What callers are shown of payments, payouts and wallets: what stands in the way, and sums of any size."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from payments_gateway.api.payment_models import movement_model, payment_model
from payments_gateway.api.payout_models import failure_of
from payments_gateway.api.wallets import _row
from payments_gateway.domain.hindrances import hindrance_of
from payments_gateway.domain.wallets import PaymentKind, Status, WalletPayment
from payments_gateway.store.payouts import SeenPayout
from payments_gateway.store.wallets import Movement

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ID = UUID("0190a5b0-0000-7000-8000-000000000001")
LARGE = 9_000_000_001


def payout(**changes: Any) -> SeenPayout:
    values: dict[str, Any] = dict.fromkeys(SeenPayout.__slots__)
    texts = ("last_error", "failure_code", "failure_reason", "transaction", "approved_by")
    return SeenPayout(**values | dict.fromkeys(texts, "") | {"state_version": 2, "outcome_unknown": False} | changes)


def withdrawal(status: Status, **changes: Any) -> WalletPayment:
    return WalletPayment(
        payment_id=ID, kind=PaymentKind.WITHDRAWAL, status=status, user_id=ID, account=f"wallet:{ID}", invoice_id=None,
        amount_minor=100, commission_minor=2, currency="RUB", description="", requested_at=NOW, updated_at=NOW,
        **changes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "unknown", "code", "reason"),
    [
        ("stopped: audit: until noon", False, "stopped", "audit: until noon"),
        ("breaker_open", False, "breaker_open", ""),
        ("provider_balance_short", False, "provider_balance_short", ""),
        ("connection refused", False, "not_sent_yet", "connection refused"),
        ("timed out", True, "outcome_unknown", "timed out"),
    ],
)
def test_what_stands_in_the_way_is_shown_while_there_is_hope(
    said: str, code: str, reason: str, *, unknown: bool
) -> None:
    waits = payout(status="processing", failure_reason=said, outcome_unknown=unknown)
    failure = failure_of(waits)
    assert failure is not None
    assert (failure.code, failure.reason) == (code, reason)
    assert failure.words

    shown = payment_model(withdrawal(Status.PROCESSING, in_its_way=said, outcome_unknown=unknown), "")
    assert (shown.last_error, shown.waits_for) == (code, failure)


def test_what_has_ended_waits_for_nothing() -> None:
    assert failure_of(payout(status="completed", failure_reason="stopped: audit")) is None
    failed = failure_of(payout(status="failed", failure_reason="no such card", last_error="rejected"))
    assert failed is not None
    assert (failed.code, failed.reason) == ("rejected", "no such card")
    shown = payment_model(withdrawal(Status.FAILED, in_its_way="stopped: audit", last_error="rejected"), "")
    assert (shown.last_error, shown.waits_for) == ("rejected", None)
    assert hindrance_of("") is None


@pytest.mark.parametrize(("minor", "value"), [(LARGE, "90000000.01"), (-5, "-0.05"), (1 << 62, "46116860184273879.04")])
def test_a_balance_may_exceed_what_one_amount_may_be(minor: int, value: str) -> None:
    values: dict[str, Any] = dict.fromkeys(Movement.__slots__)
    values |= {"at": NOW, "kind": "payout", "direction": "debit", "amount_minor": 100, "currency": "RUB"}
    moved = Movement(**values | {"description": "", "balance_after_minor": minor})
    assert movement_model(moved, "en").balance_after.value == value
    assert value in [cell.removeprefix("'") for cell in _row(moved, "en")]
