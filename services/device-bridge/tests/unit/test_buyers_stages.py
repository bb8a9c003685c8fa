"""What a buyer is shown in every state of an order: the whole table, and the words in both languages."""

from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest

from copeck.kernel.errors import DomainError
from copeck.kernel.money import Money
from copeck.web.translations import Texts, check_texts
from device_bridge.domain import errors
from device_bridge.domain.brewing import BrewState
from device_bridge.domain.machine import Reason, Status
from device_bridge.domain.model import SIZES
from device_bridge.pages.stages import LOOKS, Stage, stage_of
from device_bridge.pages.status import STEPS, receipt_line, stage_at, status_of
from device_bridge.pages.texts import TEXTS
from device_bridge.store.showing import ShownOrder

pytestmark = pytest.mark.unit

NOW = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
ORDER_ID = UUID("0190a5b0-0000-7000-8000-000000000001")
INVOICE_ID = UUID("0190a5b0-0000-7000-8000-000000000002")
REFUNDS = (None, "requested", "pending", "succeeded", "failed")


def shown(**changes: object) -> ShownOrder:
    values: dict[str, object] = {
        "id": ORDER_ID, "device_id": "kofe-1", "device_name": "Lobby", "location": "Tverskaya 1",
        "time_zone": "Europe/Moscow",
        "merchant_name": "Coffee by the lake", "drink_id": "latte", "drink_name": "Латте", "size": "medium",
        "price": Money(15_000, "RUB"), "status": "pending", "reason": "", "brew_state": None, "refund_status": None,
        "receipt_address": None, "receipt_status": None, "language": "ru", "invoice_id": INVOICE_ID, "version": 2,
        "created_at": NOW, "expires_at": NOW + timedelta(minutes=15), "paid_at": None,
    }  # fmt: skip
    return ShownOrder(**values | changes)  # type: ignore[arg-type]


# Status by status, by hand: (status, reason, command, refund) -> stage. `*` stands for anything.
EXPECTED: dict[tuple[str, str, str, str], Stage] = {
    ("created", "*", "*", "*"): Stage.PREPARING,
    ("pending", "*", "*", "*"): Stage.TO_PAY,
    ("paid", "*", "*", "*"): Stage.PAID,
    ("make_pending", "*", "accepted", "*"): Stage.ACCEPTED,
    ("make_pending", "*", "started", "*"): Stage.BREWING,
    ("make_pending", "*", "revoking", "*"): Stage.CHECKING,
    ("make_pending", "*", "*", "*"): Stage.SENT,
    ("not_paid", "*", "*", "succeeded"): Stage.LATE_REFUNDED,
    ("not_paid", "*", "*", "failed"): Stage.REFUND_TROUBLE,
    ("not_paid", "*", "*", "requested"): Stage.LATE_REFUNDING,
    ("not_paid", "*", "*", "pending"): Stage.LATE_REFUNDING,
    ("not_paid", "expired", "*", "None"): Stage.EXPIRED,
    ("not_paid", "canceled", "*", "None"): Stage.CANCELED,
    ("not_paid", "payment_late", "*", "None"): Stage.LATE_REFUNDING,
    ("not_paid", "*", "*", "None"): Stage.NOT_SOLD,
    ("successful", "*", "*", "None"): Stage.READY,
    ("successful", "*", "*", "requested"): Stage.RETURNING,
    ("successful", "*", "*", "pending"): Stage.RETURNING,
    ("failed", "*", "*", "None"): Stage.REFUNDING,
    ("failed", "*", "*", "requested"): Stage.REFUNDING,
    ("failed", "*", "*", "pending"): Stage.REFUNDING,
    ("*", "*", "*", "succeeded"): Stage.REFUNDED,
    ("*", "*", "*", "failed"): Stage.REFUND_TROUBLE,
}


def expected(*facts: object) -> Stage:
    for pattern, stage in EXPECTED.items():
        if all(want in ("*", str(fact)) for want, fact in zip(pattern, facts, strict=True)):
            return stage
    raise AssertionError(facts)


def test_every_state_has_the_stage_that_a_person_wrote_down() -> None:
    reasons = ("", *Reason)
    seen = set()
    for status, reason, brew, refund in product(Status, reasons, (None, *BrewState), REFUNDS):
        stage = stage_of(status, reason, brew, refund)
        assert stage is expected(status, reason, brew, refund), (status, reason, brew, refund)
        seen.add(stage)
    assert seen == set(Stage) == set(LOOKS)


def test_ready_is_only_what_is_successful() -> None:
    for status, brew, refund in product(Status, (None, *BrewState), REFUNDS):
        ready = stage_of(status, "", brew, refund) is Stage.READY
        assert ready == (status is Status.SUCCESSFUL and refund is None)


def test_an_order_whose_time_is_over_is_expired_but_still_watched() -> None:
    late = shown(expires_at=NOW)
    assert stage_at(late, NOW) is Stage.EXPIRED
    document = status_of(late, Texts("en", TEXTS), "token", NOW)
    assert (document["final"], document["pay_path"], document["can_cancel"]) == (False, None, False)
    assert status_of(shown(status="not_paid", reason="expired"), Texts("en", TEXTS), "token", NOW)["final"]
    assert stage_at(shown(status="make_pending", expires_at=NOW), NOW) is Stage.SENT


@pytest.mark.parametrize("language", ["ru", "en"])
def test_every_stage_has_words(language: str) -> None:
    texts = Texts(language, TEXTS)
    for stage in Stage:
        assert texts(f"stage_{stage}")
        assert "{" not in texts(f"stage_{stage}_text", amount="1")
    for name in (*(f"size_{size}" for size in SIZES), *(f"step_{step}" for step in STEPS)):
        assert texts(name)


def test_both_languages_have_every_text() -> None:
    check_texts(TEXTS)


def test_every_refusal_has_a_page_of_its_own() -> None:
    kinds = {
        found.type
        for found in vars(errors).values()
        if isinstance(found, type) and issubclass(found, DomainError) and found is not DomainError
    } - {"foreign-command"}  # What machines are told; no buyer sees it.
    assert {f"refused_{kind}" for kind in kinds} <= set(TEXTS["en"])
    headings = [TEXTS["ru"][f"refused_{kind}"] for kind in kinds]
    assert len(headings) == len(set(headings))


def test_why_a_drink_was_not_made_is_said() -> None:
    texts = Texts("en", TEXTS)
    for reason in (Reason.MACHINE_REJECTED, Reason.BREW_FAILED, Reason.NO_ANSWER, Reason.DEADLINE, Reason.STOPPED):
        document = status_of(shown(status="failed", reason=reason), texts, "token", NOW)
        assert document["text"].startswith(texts(f"why_{reason}"))
        assert "₽" in document["text"] or "RUB" in document["text"]


def test_what_the_page_is_told() -> None:
    document = status_of(shown(), Texts("en", TEXTS), "secret", NOW)
    assert document["pay_path"] == (f"/pay/{INVOICE_ID}?lang=en&back=%2Fm%2Forders%2F{ORDER_ID}%3Fk%3Dsecret")
    assert document["amount"] == {"value": "150.00", "currency": "RUB"}
    assert (document["stage"], document["step"], document["final"]) == ("to_pay", 0, False)
    assert document["until"]
    paid = status_of(shown(status="successful", paid_at=NOW), Texts("ru", TEXTS), "secret", NOW)
    assert (paid["pay_path"], paid["can_cancel"], paid["final"], paid["step"]) == (None, False, True, 4)


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        (None, None, "No e-mail was given"),
        ("+79001234567", None, "The phone +7***4567 is kept with the order. We send no SMS"),
        ("anna@example.org", None, "The receipt will come to a***@example.org"),
        ("anna@example.org", "waiting", "The receipt will come to a***@example.org"),
        ("anna@example.org", "sent", "The receipt was sent to a***@example.org"),
        ("anna@example.org", "failed", "could not be sent to a***@example.org"),
    ],
)
def test_what_becomes_of_the_receipt_is_said_plainly(address: str | None, status: str | None, words: str) -> None:
    line = receipt_line(shown(receipt_address=address, receipt_status=status), Texts("en", TEXTS))
    assert words in line
    assert "anna@" not in line


def test_moments_are_of_the_machines_time_zone() -> None:
    english = Texts("en", TEXTS)
    there = status_of(shown(time_zone="Asia/Vladivostok"), english, "token", NOW)
    here = status_of(shown(time_zone="Europe/Moscow"), english, "token", NOW)
    nowhere = status_of(shown(time_zone="Nowhere/At_all"), english, "token", NOW)
    assert "19:15" in there["until"]
    assert "12:15" in here["until"]
    assert nowhere["until"] == here["until"]
