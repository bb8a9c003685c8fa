"""Corrections of the books by hand: one manager asks, another agrees, the updater books."""

from collections.abc import Iterable
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts import commands
from copeck.contracts.envelope import Envelope
from copeck.kernel.errors import DomainError, InvalidValueError, NotFoundError
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from copeck.storage.idempotency import StoredAnswer
from payments_gateway.domain.payouts import Caller
from payments_gateway.handlers.context import SOURCE, Context
from payments_gateway.store import audit, corrections
from payments_gateway.store.corrections import Correction

URL = "/payments/api/v1/corrections"
SUBJECT = "correction"
# Families of the chart of accounts; the updater has the last word.
FAMILIES = frozenset(
    {"provider", "revenue", "wallet", "merchant", "receivable", "fees", "house", "payouts", "refunds", "suspense",
     "losses", "bank", "opening"}
)  # fmt: skip


class OwnCorrectionError(DomainError):
    """Whoever asked for a correction does not approve it."""

    type: ClassVar[str] = "own-correction"
    title: ClassVar[str] = "A correction is approved by somebody else than who asked for it"
    status: ClassVar[int] = 403


class CorrectionDecidedError(DomainError):
    """The correction was approved or rejected before."""

    type: ClassVar[str] = "correction-decided"
    title: ClassVar[str] = "The correction was decided already"


def url_of(correction_id: UUID) -> str:
    """Return where a correction is seen."""
    return f"{URL}/{correction_id}"


def check_accounts(debit: str, credit: str) -> None:
    """Refuse names that are not in the chart of accounts, and a correction from an account to itself."""
    for name, account in (("debit", debit), ("credit", credit)):
        if account.partition(":")[0] not in FAMILIES:
            raise InvalidValueError(f"an account begins with one of {', '.join(sorted(FAMILIES))}", name)
    if debit == credit:
        raise InvalidValueError("two accounts are needed", "credit")


async def request(
    context: Context,
    caller: Caller,
    key: tuple[str, str],
    *,
    debit: str,
    credit: str,
    amount: Money,
    reason: str,
) -> StoredAnswer:
    """Keep a correction that waits for a second manager; `key` is the idempotency key with its request's digest."""
    check_accounts(debit, credit)
    now = context.clock.now()
    correction = Correction(
        id=new_id(),
        debit=debit,
        credit=credit,
        amount_minor=amount.minor,
        currency=amount.currency,
        reason=reason,
        status="requested",
        requested_by=caller.actor,
        requested_at=now,
    )
    body = {"id": str(correction.id)}
    scope = f"{caller.user_id}:corrections"
    async with context.database.transaction() as tx:
        known = await context.idempotency.begin(tx, scope, *key)
        if known is not None:
            return known
        await corrections.add(tx, correction)
        detail: dict[str, Any] = {"debit": debit, "credit": credit, "amount": str(amount), "reason": reason}
        await audit.note(tx, SUBJECT, str(correction.id), "request", caller.actor, detail, now)
        await context.idempotency.finish(tx, scope, key[0], 201, body)
    return StoredAnswer(201, body)


async def approve(context: Context, caller: Caller, correction_id: UUID) -> Correction:
    """Agree to somebody else's correction, and have it booked; agreeing twice is agreeing once."""
    now = context.clock.now()
    async with context.database.transaction() as tx:
        found = await find(tx, correction_id, lock=True)
        if found.requested_by == caller.actor:
            raise OwnCorrectionError("You asked for this correction: another manager approves it")
        if found.decided_by == caller.actor and found.status != "rejected":
            return found
        _undecided(found)
        command = commands.LedgerCorrect(
            account=found.debit,
            correction_id=found.id,
            debit=found.debit,
            credit=found.credit,
            amount_minor=found.amount_minor,
            currency=found.currency,
            reason=found.reason,
            requested_by=found.requested_by,
            approved_by=caller.actor,
        )
        await corrections.decide(tx, correction_id, "approved", caller.actor, now)
        await context.outbox.add(tx, Envelope.new(command, source=SOURCE))
        await audit.note(tx, SUBJECT, str(correction_id), "approve", caller.actor, {}, now)
        found = await find(tx, correction_id)
    context.poke_relay()
    return found


async def reject(context: Context, caller: Caller, correction_id: UUID, reason: str) -> Correction:
    """Turn a correction down; who asked for it may do so too."""
    now = context.clock.now()
    async with context.database.transaction() as tx:
        found = await find(tx, correction_id, lock=True)
        if found.decided_by == caller.actor and found.status == "rejected":
            return found
        _undecided(found)
        await corrections.decide(tx, correction_id, "rejected", caller.actor, now)
        await audit.note(tx, SUBJECT, str(correction_id), "reject", caller.actor, {"reason": reason}, now)
        return await find(tx, correction_id)


async def rejections(tx: AsyncConnection, found: Iterable[Correction]) -> dict[UUID, str]:
    """Return why corrections were turned down, as it was written down with the deed."""
    rejected = [str(one.id) for one in found if one.status == "rejected"]
    deeds = await audit.newest_of(tx, SUBJECT, rejected, "reject")
    return {UUID(subject_id): str(deed.detail.get("reason", "")) for subject_id, deed in deeds.items()}


async def find(tx: AsyncConnection, correction_id: UUID, *, lock: bool = False) -> Correction:
    """Return a correction; NotFoundError when there is none."""
    found = await corrections.get(tx, correction_id, lock=lock)
    if found is None:
        raise NotFoundError("there is no such correction")
    return found


def _undecided(found: Correction) -> None:
    if found.status != "requested":
        raise CorrectionDecidedError(f"the correction is {found.status}")
