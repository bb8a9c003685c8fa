"""What people do to payouts: submit, approve, cancel, retry, describe, delete. The updater is asked, and decides."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts import commands
from copeck.contracts.envelope import Envelope
from copeck.kernel.errors import DomainError, NotFoundError
from copeck.kernel.money import Money
from copeck.storage.idempotency import Claim, StoredAnswer
from copeck.web.etag import check_if_match
from payments_gateway.domain import payouts as rules
from payments_gateway.domain.instructions import payout_key
from payments_gateway.domain.models import OperationStatus
from payments_gateway.domain.payouts import Caller, NotYoursError, PayoutStatusError, Standing
from payments_gateway.domain.sending import sends_first
from payments_gateway.handlers import metrics
from payments_gateway.handlers.context import SOURCE, Context
from payments_gateway.handlers.payout_balance import provider_balance
from payments_gateway.handlers.payouts import check_stopped, url_of
from payments_gateway.handlers.reports import payout_report
from payments_gateway.store import audit, operations, payout_requests, payouts
from payments_gateway.store.payouts import SeenPayout

SUBJECT = "payout"
_WAITING_BATCH = ("awaiting_approval", "accepted")


class ProviderBalanceShortError(DomainError):
    """The provider's balance does not cover the payout."""

    type = "provider-balance-short"
    title = "The provider's balance is too low for this payout"


@dataclass(frozen=True, slots=True)
class Sent:
    """A command that was sent, now or under the same key before."""

    answer: StoredAnswer
    command_id: UUID
    version: int


async def find(tx: AsyncConnection, caller: Caller, payout_id: UUID) -> SeenPayout:
    """Return a payout that the caller may see; NotFoundError for all others."""
    found = await payouts.find(tx, payout_id)
    if found is None or not caller.sees(found.account, found.recipient_user_id):
        raise NotFoundError("there is no such payout")
    return found


def standing_of(found: SeenPayout) -> Standing:
    """Return how a payout stands, as the rules ask."""
    decided = found.state_version > 0
    return Standing(
        status=found.status,
        decided=decided,
        requested_by=found.requested_by,
        draft=found.draft,
        needs_approval=found.needs_approval,
        outcome_unknown=found.outcome_unknown,
        # Of a batch that is sent or canceled, the updater has had every line that was not canceled with it.
        in_waiting_batch=not decided and found.batch_status in _WAITING_BATCH and found.refused_code is None,
        sent=found.sent,
    )


async def submit(context: Context, caller: Caller, payout_id: UUID, key: str, request_hash: str) -> Sent:
    """Send a draft on its way."""
    return await _send(context, caller, payout_id, "submit", key, request_hash)


async def approve(context: Context, caller: Caller, payout_id: UUID, key: str, request_hash: str) -> Sent:
    """Agree to somebody else's payout, if the provider has the money for it."""
    return await _send(context, caller, payout_id, "approve", key, request_hash)


async def cancel(
    context: Context, caller: Caller, payout_id: UUID, key: str, request_hash: str, reason: str = ""
) -> Sent:
    """Call a payout off before it has started; a manager also one that is under way and was never sent."""
    return await _send(context, caller, payout_id, "cancel", key, request_hash, reason)


async def retry(context: Context, caller: Caller, payout_id: UUID, key: str, request_hash: str) -> Sent:
    """Try a failed payout again."""
    return await _send(context, caller, payout_id, "retry", key, request_hash)


async def _send(
    context: Context, caller: Caller, payout_id: UUID, action: str, key: str, request_hash: str, reason: str = ""
) -> Sent:
    scope = f"{caller.user_id}:payout-{action}"
    async with context.database.reading() as tx:
        found = await find(tx, caller, payout_id)
        said = (await context.idempotency.answers(tx, [Claim(scope, key, request_hash, 0, None)]))[0]
        if isinstance(said, DomainError):
            raise said
        if said is None:
            _check(caller, found, action)
            if action != "cancel":
                await check_stopped(tx, [found.provider])
    if said is not None:
        return _sent(said)
    if action == "approve":
        await check_balance(context, found.provider, found.shop, Money(found.amount_minor, found.currency))
    async with context.database.transaction() as tx:
        answer = await context.idempotency.begin(tx, scope, key, request_hash)
        if answer is None:
            envelope = await _envelope(context, tx, found, caller, action, reason)
            body = {"id": str(payout_id), "command_id": str(envelope.id), "version": found.state_version}
            await context.outbox.add(tx, envelope)
            detail = {"command_id": str(envelope.id)} | ({"reason": reason} if reason else {})
            await audit.note(tx, SUBJECT, str(payout_id), action, caller.actor, detail, context.clock.now())
            await context.idempotency.finish(tx, scope, key, 202, body)
            answer = StoredAnswer(202, body)
    context.poke_relay()
    return _sent(answer)


async def _envelope(
    context: Context, tx: AsyncConnection, found: SeenPayout, caller: Caller, action: str, reason: str
) -> Envelope:
    """Word what the updater is asked for, or told: a try that was never sent is ended here, and reported as failed."""
    if action != "cancel" or not rules.check_cancel(standing_of(found), caller):
        return Envelope.new(_command(found, caller, action, reason), source=SOURCE)
    # Whoever would send it locks the same row, and finds it ended.
    operation = await operations.by_key(tx, payout_key(found.payout_id, found.attempt), lock=True)
    if operation is None or not sends_first(operation):
        raise PayoutStatusError("The payout may have been sent to the provider, or it was stopped already")
    failure = {"failure_code": rules.CANCELED_BEFORE_SENDING, "failure_reason": reason}
    ended: dict[str, Any] = {"status": OperationStatus.FAILED, "outcome": "failed", "reported": "failed", **failure}
    await operations.write(tx, operation.id, None, context.clock.now(), **ended)
    metrics.OPERATIONS.labels(operation.kind.value, rules.CANCELED_BEFORE_SENDING).inc()
    return payout_report(operation, "failed", **failure)


def _sent(answer: StoredAnswer) -> Sent:
    return Sent(answer, UUID(answer.body["command_id"]), answer.body["version"])


def _check(caller: Caller, found: SeenPayout, action: str) -> None:
    """Refuse what the updater would refuse, and what it cannot know: roles."""
    now = standing_of(found)
    if action == "approve":
        if not caller.is_manager:
            raise NotYoursError("Managers approve payouts")
        rules.check_approve(now, caller)
        return
    if not (caller.cancels(found.account) if action == "cancel" else caller.commands(found.account)):
        raise NotYoursError("Managers and the merchant whose balance it is may do this")
    if action == "cancel":
        rules.check_cancel(now, caller)
    else:
        {"submit": rules.check_submit, "retry": rules.check_retry}[action](now)


def _command(found: SeenPayout, caller: Caller, action: str, reason: str) -> commands.PayoutCommand:
    account, payout_id, actor = found.account, found.payout_id, caller.actor
    if action == "cancel":
        return commands.PayoutCancel(account=account, payout_id=payout_id, actor=actor, reason=reason)
    return _COMMANDS[action](account=account, payout_id=payout_id, actor=actor)


_COMMANDS: dict[str, type[commands.PayoutCommand]] = {
    "submit": commands.PayoutSubmit,
    "approve": commands.PayoutApprove,
    "retry": commands.PayoutRetry,
}


async def check_balance(context: Context, provider: str, shop: str, owed: Money) -> None:
    """Look at the provider's balance, where it tells one; nothing is held while it is asked."""
    balance = await provider_balance(context, provider, shop, owed.currency)
    if balance is not None and balance.minor < owed.minor:
        raise ProviderBalanceShortError(f"{provider} has {balance}, and {owed} are to be paid out")


async def describe(context: Context, caller: Caller, payout_id: UUID, if_match: str, description: str) -> SeenPayout:
    """Change the description of a payout; what the provider was told stays as it was."""
    async with context.database.transaction() as tx:
        await payout_requests.get(tx, payout_id, lock=True)
        found = await find(tx, caller, payout_id)
        if not caller.commands(found.account):
            raise NotYoursError("Managers and the merchant whose balance it is may do this")
        check_if_match(if_match, version_of(found))
        if description != found.description:
            await payout_requests.write(tx, payout_id, description=description)
            detail = {"before": found.description, "after": description}
            await audit.note(tx, SUBJECT, str(payout_id), "describe", caller.actor, detail, context.clock.now())
        return await find(tx, caller, payout_id)


async def delete(context: Context, caller: Caller, payout_id: UUID) -> None:
    """Hide a draft, which is canceled first, or a canceled payout; what was done stays in the audit."""
    now = context.clock.now()
    async with context.database.transaction() as tx:
        await payout_requests.get(tx, payout_id, lock=True)
        found = await find(tx, caller, payout_id)
        if not caller.commands(found.account):
            raise NotYoursError("Managers and the merchant whose balance it is may do this")
        if rules.check_delete(standing_of(found)):
            command = _command(found, caller, "cancel", "deleted")
            await context.outbox.add(tx, Envelope.new(command, source=SOURCE))
        await payout_requests.write(tx, payout_id, deleted_at=now, deleted_by=caller.actor)
        detail = {"status": found.status, "url": url_of(payout_id)}
        await audit.note(tx, SUBJECT, str(payout_id), "delete", caller.actor, detail, now)
    context.poke_relay()


def version_of(found: SeenPayout) -> int:
    """Return a number that grows with every change of a payout, here and in the State Storage."""
    return found.version + found.state_version
