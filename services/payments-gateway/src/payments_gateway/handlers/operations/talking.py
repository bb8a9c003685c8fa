"""One try of an operation at its provider: call what was never sent, ask about what may have been (I-08)."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from copeck.observability.logs import get_logger
from payments_gateway.domain.identifiers import payout_reference
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.domain.operations import (
    SEEN_BY_PAYMENT,
    NextStep,
    Outcome,
    Seen,
    after_call,
    after_question,
    after_repeated_refusal,
    exhausted,
    lookalikes,
    next_step,
    seen_by_reference,
    seen_refund,
    strangers,
)
from payments_gateway.domain.provider import (
    Answer,
    Exchange,
    Findings,
    PayoutOrder,
    Provider,
    Shop,
    Transaction,
    Verdict,
)
from payments_gateway.domain.recipients import Recipient, unseal
from payments_gateway.domain.sealing import UnsealableError
from payments_gateway.domain.sending import NO_SHOP, refund_repeatable, repeatable
from payments_gateway.handlers import metrics
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.merchant_shops import find_shop
from payments_gateway.handlers.refunds import REFUNDED
from payments_gateway.store import attempts as attempt_store
from payments_gateway.store import operations as operation_store

log = get_logger(__name__)
T = TypeVar("T")

_LIST_PAGES_MAX = 20
_LIST_PAGES_BEFORE_CALL = 5
_CLOCK_SKEW = timedelta(minutes=5)
_BY_REFERENCE = frozenset({OperationKind.PAYOUT, OperationKind.CHARGE})
_NO_NETWORK = "-"
_CALL_LEAST_S = 0.1


@dataclass(slots=True)
class Talk:
    """What was said to the provider during one try, and what it showed of the payment."""

    exchanges: list[Exchange] = field(default_factory=list)
    payment: Transaction | None = None
    recipient: tuple[bytes, str] | None = field(default=None, repr=False)
    """Where a payout goes, sealed, and what it is for."""
    until: float | None = None
    """The monotonic moment at which the talk must be over, so that its outcome can still be written."""


@dataclass(frozen=True, slots=True)
class Line:
    """Whom an operation speaks to, and what is noted of the talk."""

    context: Context
    provider: Provider
    shop: Shop
    operation: Operation
    talk: Talk


async def converse(context: Context, operation: Operation, talk: Talk, *, may_call: bool = True) -> Outcome:
    """Run one try; `may_call` false only asks."""
    provider = context.providers.get(operation.provider)
    shop = await find_shop(context, operation.provider, operation.shop)
    if provider is None or shop is None:
        log.error("an operation's shop is not configured", operation_id=str(operation.id), shop=operation.shop)
        return Outcome(operation.status, None, again=True, failure_reason=NO_SHOP)
    line = Line(context, provider, shop, operation, talk)
    outcome = await _try(line, slow_method=await _refunds_slowly(line), may_call=may_call)
    return exhausted(operation, outcome, context.settings.operation_attempts_max)


async def _refunds_slowly(line: Line) -> bool:
    if line.operation.kind is not OperationKind.REFUND or line.operation.payment_id is None:
        return False
    async with line.context.database.reading() as tx:
        attempt = await attempt_store.get(tx, line.operation.payment_id)
    return attempt is not None and line.provider.refunds_slowly(attempt.method)


async def _try(line: Line, *, slow_method: bool, may_call: bool) -> Outcome:
    operation = line.operation
    if next_step(operation) is NextStep.CALL:
        answer = await call(line)
        outcome = after_call(operation, answer, slow_method=slow_method, was_unknown=False)
        if outcome.status is OperationStatus.FAILED and operation.kind in (OperationKind.VOID, OperationKind.CONFIRM):
            # The payment itself may say why: it was captured or given up meanwhile.
            await _ask(line)
        return outcome
    may_call = may_call and operation.status is not OperationStatus.PENDING
    seen, transaction = await _ask(line, before_call=may_call and _refund_repeatable(line))
    if seen is not Seen.NOT_THERE:
        return after_question(operation, seen, transaction)
    if operation.status is OperationStatus.PENDING:
        return Outcome(OperationStatus.PENDING, None, again=True, transaction_id=operation.result_transaction_id)
    if not may_call or not _repeatable(line):
        return Outcome(OperationStatus.UNKNOWN, "unknown", again=True, failure_reason="not there, and not sent again")
    answer = await call(line)
    if answer.verdict is not Verdict.REJECTED:
        return after_call(operation, answer, slow_method=slow_method, was_unknown=True)
    return await _refused_again(line, answer)


def _repeatable(line: Line) -> bool:
    """Tell whether a payout may be sent again; a refund has its own guard, and a charge's key is kept for ever."""
    payouts = line.provider.payouts
    if line.operation.kind is not OperationKind.PAYOUT or payouts is None:
        return True
    settles = timedelta(seconds=line.context.settings.operation_settles_after_s)
    return repeatable(line.operation, line.context.clock.now(), payouts.keys_remembered - _CLOCK_SKEW, settles)


async def _refused_again(line: Line, answer: Answer) -> Outcome:
    """Judge a refusal after an open outcome: it is believed only when nothing can be under way any more."""
    operation = line.operation
    seen, transaction = await _ask(line)
    if seen is not Seen.NOT_THERE:
        return after_question(operation, seen, transaction)
    settles = timedelta(seconds=line.context.settings.operation_settles_after_s)
    return after_repeated_refusal(operation, answer, line.context.clock.now(), settles)


async def call(line: Line) -> Answer:
    """Make the call of an operation; what takes too long is unknown, and what there is no time for is not begun."""
    if _left_s(line) < _CALL_LEAST_S:
        return Answer(Verdict.NOT_SENT, _unspoken(), reason="no time was left")
    try:
        answer = await _bounded(line, lambda: _call(line))
    except TimeoutError:
        answer = Answer(Verdict.UNKNOWN, _silent(line), reason="the provider took too long")
    await _note(line, answer.exchange, answer.verdict.value)
    return answer


async def _call(line: Line) -> Answer:
    client, shop, operation = line.provider.client, line.shop, line.operation
    key, transaction_id = operation.idempotency_key, operation.transaction_id or ""
    match operation.kind:
        case OperationKind.PAYOUT:
            return await _pay_out(line)
        case OperationKind.CHARGE:
            if line.provider.charges is None or operation.payment_id is None:
                return _refused("charges_not_supported", "the provider takes no payments without a page")
            return await line.provider.charges.charge(
                shop, key=key, invoice_id=operation.of_invoice, payment_id=operation.payment_id, amount=operation.amount
            )
        case OperationKind.REFUND:
            return await client.refund(
                shop, key=key, transaction_id=transaction_id, amount=operation.amount, refund_id=operation.refund_id
            )
        case OperationKind.VOID:
            return await client.void(shop, key=key, transaction_id=transaction_id)
        case _:
            return await client.confirm(shop, key=key, transaction_id=transaction_id, amount=operation.amount)


async def _pay_out(line: Line) -> Answer:
    """Send money out. The recipient is unsealed here, given to the client, and kept nowhere."""
    operation, payouts = line.operation, line.provider.payouts
    if payouts is None:
        return _refused("payouts_not_supported", "the provider sends no money out")
    recipient, description = _recipient(line)
    if recipient is None:
        return _refused("recipient_unreadable", "the recipient is not kept here, or the shop's secret has changed")
    if not payouts.pays(recipient.kind):
        return _refused("recipient_not_supported", f"the provider does not reach a recipient by {recipient.kind.value}")
    if operation.payout_id is None or operation.payout_attempt is None:
        raise ValueError(f"operation {operation.id} names no payout")
    order = PayoutOrder(operation.payout_id, operation.payout_attempt, operation.amount, recipient, description)
    return await payouts.pay_out(line.shop, key=operation.idempotency_key, order=order)


def _recipient(line: Line) -> tuple[Recipient | None, str]:
    if line.talk.recipient is None:
        return None, ""
    sealed, description = line.talk.recipient
    try:
        return unseal(line.shop.api_secret, sealed, str(line.operation.payout_id)), description
    except UnsealableError:
        log.error("a recipient cannot be unsealed", operation_id=str(line.operation.id), shop=line.shop.shop)
        return None, description


def _refused(code: str, reason: str) -> Answer:
    """Refuse by ourselves: nothing was sent."""
    return Answer(Verdict.REJECTED, _unspoken(), reason=reason, code=code)


def _unspoken() -> Exchange:
    return Exchange(_NO_NETWORK, "/", {}, None, None, None, 0)


def _refund_repeatable(line: Line) -> bool:
    remembered = line.provider.client.keys_remembered - _CLOCK_SKEW
    return refund_repeatable(line.operation, line.context.clock.now(), remembered)


async def _ask(line: Line, *, before_call: bool = False) -> tuple[Seen, Transaction | None]:
    """Ask the provider what it knows of an operation; no answer in time tells nothing.

    `before_call`: a call under a key that the provider remembers comes next, so a list without end may be left unread.
    """
    if _left_s(line) < _CALL_LEAST_S:
        return Seen.CANNOT_TELL, None
    try:
        return await _bounded(line, lambda: _ask_kind(line, before_call=before_call))
    except TimeoutError:
        await _note(line, _silent(line), "asked")
        return Seen.CANNOT_TELL, None


async def _ask_kind(line: Line, *, before_call: bool) -> tuple[Seen, Transaction | None]:
    kind = line.operation.kind
    if kind in _BY_REFERENCE:
        return await _ask_by_reference(line)
    return await (_ask_refund(line, before_call=before_call) if kind is OperationKind.REFUND else _ask_payment(line))


async def _ask_by_reference(line: Line) -> tuple[Seen, Transaction | None]:
    """Ask about a payout or a charge: each has a reference of its own."""
    operation, payouts, charges = line.operation, line.provider.payouts, line.provider.charges
    if operation.payout_id is not None and operation.payout_attempt is not None and payouts is not None:
        reference = payout_reference(operation.payout_id, operation.payout_attempt)
        found = await payouts.find_payout(line.shop, reference=reference)
    elif operation.payment_id is not None and charges is not None:
        found = await charges.find_charge(line.shop, payment_id=operation.payment_id)
    else:
        return Seen.CANNOT_TELL, None
    await _heard(line, found)
    if not found.known:
        return Seen.CANNOT_TELL, None
    others = strangers(operation, found.transactions)
    if others:
        metrics.OPERATIONS_ALARM.labels(operation.kind.value).inc()
        log.error("a reference is taken by another amount: look", operation_id=str(operation.id), transactions=others)
    return seen_by_reference(operation, found.transactions)


async def _ask_payment(line: Line) -> tuple[Seen, Transaction | None]:
    operation = line.operation
    found = await line.provider.client.get(line.shop, transaction_id=operation.transaction_id or "")
    await _heard(line, found)
    payment = line.talk.payment = found.transactions[0] if found.transactions else None
    if payment is None:
        return Seen.CANNOT_TELL, None
    return SEEN_BY_PAYMENT.get((operation.kind, payment.status), Seen.CANNOT_TELL), payment


async def _ask_refund(line: Line, *, before_call: bool) -> tuple[Seen, Transaction | None]:
    context, client, shop, operation = line.context, line.provider.client, line.shop, line.operation
    if operation.refund_id is not None:
        ours = await client.find_refund(shop, refund_id=operation.refund_id)
        if ours is not None:
            await _heard(line, ours)
            return seen_refund(operation, ours.transactions) if ours.known else (Seen.CANNOT_TELL, None)
    last = await client.find(shop, invoice_id=operation.of_invoice)
    await _heard(line, last)
    seen, transaction = seen_refund(operation, last.transactions)
    if seen is not Seen.NOT_THERE:
        return seen, transaction
    # `find` shows the last operation only; a later one may stand before ours.
    sent_at, now = operation.first_sent_at or operation.created_at, context.clock.now()
    since, until = sent_at - _CLOCK_SKEW, now + _CLOCK_SKEW
    alike = lookalikes(operation, last.transactions)
    for page in range(1, (_LIST_PAGES_BEFORE_CALL if before_call else _LIST_PAGES_MAX) + 1):
        listed = await client.list_between(shop, since=since, until=until, page=page)
        await _heard(line, listed)
        if not listed.known:
            return Seen.CANNOT_TELL, None
        seen, transaction = seen_refund(operation, listed.transactions)
        if seen is not Seen.NOT_THERE:
            return seen, transaction
        alike |= lookalikes(operation, listed.transactions)
        if not listed.more:
            if not _refund_repeatable(line) and await _unclaimed(context, operation, alike):
                return Seen.CANNOT_TELL, None
            return Seen.NOT_THERE, None
    # A busy shop's list is longer than anybody reads. A call under the same key then tells; a refusal of it does not.
    return (Seen.NOT_THERE if before_call else Seen.CANNOT_TELL), None


async def _unclaimed(context: Context, operation: Operation, alike: frozenset[str]) -> bool:
    """Tell whether a refund that may be ours is nobody's yet; a second call could then give the money back twice."""
    if not alike:
        return False
    async with context.database.reading() as tx:
        refunds = await operation_store.refunds_of(tx, operation.provider, operation.shop, operation.of_invoice)
        told = [(identifier, REFUNDED) for identifier in sorted(alike)]
        heard = await attempt_store.heard(tx, operation.provider, operation.shop, told)
    left = alike - {item.result_transaction_id for item in refunds} - {identifier for identifier, _ in heard}
    if left:
        metrics.OPERATIONS_ALARM.labels(operation.kind.value).inc()
        log.error("a refund may have been made: look", operation_id=str(operation.id), transactions=sorted(left))
    return bool(left)


async def _bounded(line: Line, speaking: Callable[[], Awaitable[T]]) -> T:
    async with asyncio.timeout(_left_s(line)):
        return await speaking()


def _left_s(line: Line) -> float:
    """Return how long the provider may take: what is left of the task, at most what one call may last."""
    most_s = line.context.settings.operation_timeout_s
    return most_s if line.talk.until is None else min(most_s, line.talk.until - time.monotonic())


def _silent(line: Line) -> Exchange:
    duration_ms = int(line.context.settings.operation_timeout_s * 1000)
    return Exchange("POST", f"/{line.operation.kind.value}", {}, None, None, "TimeoutError", duration_ms)


async def _heard(line: Line, found: Findings) -> None:
    await _note(line, found.exchange, "asked", known=found.known)


async def _note(line: Line, exchange: Exchange, outcome: str, *, known: bool = False) -> None:
    """Keep what was said, count it, and tell the breaker whether the provider answered."""
    if exchange.method == _NO_NETWORK:
        return
    line.talk.exchanges.append(exchange)
    seconds = metrics.PROVIDER_SECONDS.labels(line.provider.code, exchange.path, outcome)
    seconds.observe(exchange.duration_ms / 1000)
    answered = known or outcome in (Verdict.SUCCEEDED, Verdict.PENDING, Verdict.REJECTED)
    await line.context.breaker.note(line.provider.code, answered=answered)
