"""What to do next with a provider operation, decided from its row and from what the provider said. Pure.

The rule of I-08: once a call may have been sent, nobody calls it failed on a guess. It is asked about first; only when
the provider knows nothing of it is the same call made again, under the same idempotency key.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random

from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.domain.provider import Answer, AttemptStatus, Transaction, Verdict

ATTEMPTS_BEFORE_ALARM = 12
_EXPONENT_MAX = 20
_CONFLICT = 409
_jitter = Random()  # noqa: S311 - spreads retries, guards nothing


class NextStep(StrEnum):
    """How a leased operation is continued."""

    CALL = "call"
    ASK = "ask"


class Seen(StrEnum):
    """What the provider knows of an operation when it is asked."""

    DONE = "done"
    UNDER_WAY = "under_way"
    REFUSED = "refused"
    NOT_THERE = "not_there"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one try: the status to write, what to report (if anything), and whether to come back."""

    status: OperationStatus
    report: str | None
    again: bool
    transaction_id: str | None = None
    failure_code: str = ""
    failure_reason: str = ""
    least_s: float = 0.0
    """Not to be taken up again earlier."""


def next_step(operation: Operation) -> NextStep:
    """Call only what certainly was never sent; a lost lease counts as sent."""
    if operation.kind is OperationKind.STATUS_QUERY or operation.status is not OperationStatus.READY:
        return NextStep.ASK
    return NextStep.CALL


def backoff_s(attempts: int, base_s: float, cap_s: float, random: Random = _jitter) -> float:
    """Exponential backoff with full jitter and a cap; never quite zero, so that nothing spins."""
    ceiling = min(cap_s, base_s * 2 ** min(max(attempts - 1, 0), _EXPONENT_MAX))
    return max(0.05, random.uniform(0, ceiling))


def after_call(operation: Operation, answer: Answer, *, slow_method: bool, was_unknown: bool) -> Outcome:
    """Judge a mutation's answer.

    `slow_method`: the provider accepts at once and finishes later (fast payments), so success is only *pending*.
    `was_unknown`: an earlier try may have been executed; a refusal may then be the echo of that success.
    """
    if answer.verdict is Verdict.NOT_SENT:
        status = OperationStatus.UNKNOWN if was_unknown else OperationStatus.READY
        return Outcome(status, None, again=True, failure_reason=answer.reason or "")
    if answer.verdict is Verdict.UNKNOWN:
        return Outcome(OperationStatus.UNKNOWN, "unknown", again=True, failure_reason=answer.reason or "")
    if answer.verdict is Verdict.REJECTED:
        if was_unknown:
            return Outcome(OperationStatus.UNKNOWN, None, again=True, failure_reason=answer.reason or "")
        return Outcome(
            OperationStatus.FAILED,
            "failed",
            again=False,
            failure_code=answer.code or str(answer.reason_code or "rejected"),
            failure_reason=answer.reason or "the provider refused",
        )
    if answer.verdict is Verdict.PENDING or (slow_method and operation.kind is OperationKind.REFUND):
        return Outcome(OperationStatus.PENDING, "pending", again=True, transaction_id=answer.transaction_id)
    return Outcome(OperationStatus.SUCCEEDED, "succeeded", again=False, transaction_id=answer.transaction_id)


def after_repeated_refusal(operation: Operation, answer: Answer, now: datetime, settles_after: timedelta) -> Outcome:
    """Judge the refusal of a call that was made again because an earlier one's outcome is open and nothing is found.

    It is believed once the last call (or look) before it is so long ago that nothing of it can be under way. Until then
    it is looked at ever seldomer, so that such a pause comes. A conflict tells that there is another call: it proves
    nothing at any time.
    """
    sent_at = operation.updated_at or operation.first_sent_at or operation.created_at
    if answer.exchange.status_code != _CONFLICT and now >= sent_at + settles_after:
        return after_call(operation, answer, slow_method=False, was_unknown=False)
    open_s = (now - (operation.first_sent_at or operation.created_at)).total_seconds()
    least_s = min(settles_after.total_seconds(), max(0.0, open_s / 2))
    return replace(after_call(operation, answer, slow_method=False, was_unknown=True), least_s=least_s)


def exhausted(operation: Operation, outcome: Outcome, attempts_max: int) -> Outcome:
    """End a payout or a charge that certainly was not executed, after so many tries; one in doubt never ends so."""
    if outcome.status is not OperationStatus.READY or operation.kind not in (
        OperationKind.PAYOUT,
        OperationKind.CHARGE,
    ):
        return outcome
    if operation.attempts + 1 < attempts_max:
        return outcome
    return Outcome(
        OperationStatus.FAILED,
        "failed",
        again=False,
        failure_code="provider_unavailable",
        failure_reason=outcome.failure_reason or "the provider took nothing",
    )


def seen_by_reference(operation: Operation, found: tuple[Transaction, ...]) -> tuple[Seen, Transaction | None]:
    """Judge what is found under a reference that only one payout or one charge has.

    What has another amount is not ours, whoever made it: then nobody can tell, and somebody must look.
    """
    if strangers(operation, found):
        return Seen.CANNOT_TELL, None
    for status, seen in (
        (AttemptStatus.SUCCEEDED, Seen.DONE),
        (AttemptStatus.PENDING, Seen.UNDER_WAY),
        (AttemptStatus.FAILED, Seen.REFUSED),
        (AttemptStatus.CANCELED, Seen.REFUSED),
    ):
        transaction = next((item for item in found if item.status is status), None)
        if transaction is not None:
            return seen, transaction
    return (Seen.CANNOT_TELL, found[0]) if found else (Seen.NOT_THERE, None)


def strangers(operation: Operation, found: tuple[Transaction, ...]) -> tuple[str, ...]:
    """Name what is found under the reference of an operation, and has another amount or currency than it."""
    return tuple(item.transaction_id for item in found if item.amount is not None and item.amount != operation.amount)


def seen_refund(operation: Operation, found: tuple[Transaction, ...]) -> tuple[Seen, Transaction | None]:
    """Look for our refund among transactions: by its own id, or by the transaction that an answer named."""
    for transaction in found:
        ours = operation.refund_id is not None and transaction.refund_id == operation.refund_id
        named = bool(operation.result_transaction_id) and transaction.transaction_id == operation.result_transaction_id
        if not ours and not named:
            continue
        if transaction.status is AttemptStatus.SUCCEEDED:
            return Seen.DONE, transaction
        if transaction.status in (AttemptStatus.FAILED, AttemptStatus.CANCELED):
            return Seen.REFUSED, transaction
        return Seen.UNDER_WAY, transaction
    return Seen.NOT_THERE, None


def lookalikes(operation: Operation, found: tuple[Transaction, ...]) -> frozenset[str]:
    """Name refunds of the same payment and amount that say nothing of who asked for them: one may be ours."""
    if operation.result_transaction_id is not None:
        return frozenset()
    return frozenset(
        item.transaction_id
        for item in found
        if item.is_refund
        and item.refund_id is None
        and item.amount == operation.amount
        and item.status not in (AttemptStatus.FAILED, AttemptStatus.CANCELED)
        and (
            item.original_transaction_id == operation.transaction_id
            or (item.original_transaction_id is None and item.invoice_id == operation.invoice_id)
        )
    )


# What the payment's own status says of an operation on it.
SEEN_BY_PAYMENT: dict[tuple[OperationKind, AttemptStatus], Seen] = {
    (OperationKind.VOID, AttemptStatus.CANCELED): Seen.DONE,
    (OperationKind.VOID, AttemptStatus.FAILED): Seen.DONE,
    (OperationKind.VOID, AttemptStatus.SUCCEEDED): Seen.REFUSED,
    (OperationKind.VOID, AttemptStatus.AUTHORIZED): Seen.NOT_THERE,
    (OperationKind.CONFIRM, AttemptStatus.SUCCEEDED): Seen.DONE,
    (OperationKind.CONFIRM, AttemptStatus.CANCELED): Seen.REFUSED,
    (OperationKind.CONFIRM, AttemptStatus.FAILED): Seen.REFUSED,
    (OperationKind.CONFIRM, AttemptStatus.AUTHORIZED): Seen.NOT_THERE,
}


def after_question(operation: Operation, seen: Seen, transaction: Transaction | None) -> Outcome:
    """Judge what the provider knows of an operation whose outcome was open. NOT_THERE is answered by another call."""
    if seen is Seen.DONE:
        identifier = transaction.transaction_id if transaction else operation.result_transaction_id
        return Outcome(OperationStatus.SUCCEEDED, "succeeded", again=False, transaction_id=identifier)
    if seen is Seen.REFUSED:
        reason = (transaction.reason if transaction else None) or "the provider refused"
        code = str(transaction.reason_code) if transaction and transaction.reason_code else "rejected"
        return Outcome(OperationStatus.FAILED, "failed", again=False, failure_code=code, failure_reason=reason)
    if seen is Seen.UNDER_WAY:
        identifier = transaction.transaction_id if transaction else operation.result_transaction_id
        return Outcome(OperationStatus.PENDING, "pending", again=True, transaction_id=identifier)
    return Outcome(OperationStatus.UNKNOWN, "unknown", again=True, transaction_id=operation.result_transaction_id)
