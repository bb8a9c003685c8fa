"""Payouts of callers of the services that were replaced: each call waits for the updater, within bounds."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from copeck.kernel.errors import DomainError, NotFoundError
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from copeck.web.wait import wait_until
from payments_gateway.domain.compatibility import Change, IdKind, OldPayout, change_of
from payments_gateway.domain.payouts import HOUSE, Caller, source_account
from payments_gateway.domain.provider import Shop
from payments_gateway.domain.recipients import Recipient, RecipientKind
from payments_gateway.handlers import payout_commands
from payments_gateway.handlers.compatibility import MOCK, mock_shop
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.payout_commands import Sent
from payments_gateway.handlers.payouts import Payouts, Wanted, shop_for
from payments_gateway.store import compatibility as store
from payments_gateway.store import payouts as payout_store

_ANY_VERSION = "*"


class CommandRefusedError(DomainError):
    """The updater refused while the caller waited."""

    type = "command-refused"
    title = "The state updater refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A payout as an old caller asks for it, from `house:payouts`."""

    amount: Money
    recipient: Recipient
    description: str = ""
    draft: bool = False
    provider: str | None = None


async def create(
    context: Context, payouts: Payouts, caller: Caller, order: Order, key: str | None, request_hash: str
) -> OldPayout:
    """Ask for a payout and return it once the updater has taken it in, or as it is when the time is over."""
    wanted = Wanted(
        caller=caller,
        key=f"compatibility:{key or new_id()}",
        request_hash=request_hash,
        account=source_account(HOUSE, caller),
        amount=order.amount,
        recipient=order.recipient,
        shop=_shop(context, order.recipient.kind, order.provider),
        description=order.description,
        draft=order.draft,
    )
    # The number first: a payout without one would be in no list. One that is not needed after all is never seen.
    async with context.database.transaction() as tx:
        number = await store.give_number(tx, IdKind.PAYOUT, wanted.payout_id)
    answer = await payouts.request(wanted)
    payout_id = UUID(answer.body["id"])
    if payout_id != wanted.payout_id:
        async with context.database.transaction() as tx:
            number = await store.give_number(tx, IdKind.PAYOUT, payout_id)

    async def decided() -> OldPayout | None:
        found = await _get(context, number)
        return found if found.decided or found.last_error else None

    return await wait_until(decided, context.settings.compatibility_wait_s) or await _get(context, number)


def _shop(context: Context, kind: RecipientKind, provider: str | None) -> Shop:
    """Choose the shop: the one that is named, in a sandbox the mock gateway as it was, else by routing."""
    if provider is None and context.settings.environment == "sandbox" and mock_shop(context) is not None:
        provider = MOCK
    return shop_for(context, kind, provider)


async def see(context: Context, reference: int | UUID) -> OldPayout:
    """Return a payout that was made over these routes; NotFoundError for others."""
    async with context.database.reading() as tx:
        found = await store.numbered(tx, IdKind.PAYOUT, reference)
        payout = await store.payout(tx, found[0]) if found else None
    if payout is None:
        raise NotFoundError("there is no such payout")
    return payout


async def _get(context: Context, number: int) -> OldPayout:
    return await see(context, number)


async def change(
    context: Context,
    caller: Caller,
    reference: int | UUID,
    *,
    status: str | None,
    description: str | None,
    key: str | None,
    request_hash: str,
) -> OldPayout:
    """Change status and description; a status that the machine does not allow changes nothing."""
    found = await see(context, reference)
    if status is not None:
        await _lead(context, caller, found, change_of(found.shown_status, status), key, request_hash)
    if description is not None:
        await payout_commands.describe(context, caller, found.payout_id, _ANY_VERSION, description)
    return await _get(context, found.number)


async def retry(
    context: Context, caller: Caller, reference: int | UUID, key: str | None, request_hash: str
) -> OldPayout:
    """Try a failed payout again."""
    found = await see(context, reference)
    await _lead(context, caller, found, Change.RETRY, key, request_hash)
    return await _get(context, found.number)


async def delete(context: Context, caller: Caller, reference: int | UUID) -> None:
    """Delete a draft or a canceled payout."""
    found = await see(context, reference)
    await payout_commands.delete(context, caller, found.payout_id)


_COMMANDS: Mapping[Change, Callable[[Context, Caller, UUID, str, str], Awaitable[Sent]]] = {
    Change.SUBMIT: payout_commands.submit,
    Change.APPROVE: payout_commands.approve,
    Change.RETRY: payout_commands.retry,
    Change.CANCEL: payout_commands.cancel,
}


async def _lead(
    context: Context, caller: Caller, found: OldPayout, wanted: Change, key: str | None, request_hash: str
) -> None:
    """Send a command and wait until it has been applied; a refusal by the updater is an error of this call."""
    if wanted is Change.NOTHING:
        return
    sent = await _COMMANDS[wanted](context, caller, found.payout_id, f"compatibility:{key or new_id()}", request_hash)

    async def applied() -> bool | None:
        async with context.database.reading() as tx:
            refusal = await payout_store.refusal_of(tx, sent.command_id)
            now = await payout_store.find(tx, found.payout_id)
        if refusal is not None:
            raise CommandRefusedError(f"{refusal.code}: {refusal.detail}")
        return True if now is None or now.state_version > sent.version else None

    await wait_until(applied, context.settings.compatibility_wait_s)
