"""Users and payments of callers of the service that was replaced: wallets, deposits and withdrawals under numbers."""

from dataclasses import dataclass
from uuid import UUID

from copeck.contracts import commands
from copeck.contracts.envelope import Envelope
from copeck.kernel.errors import InvalidValueError, NotFoundError
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from copeck.web.wait import wait_until
from payments_gateway.domain.compatibility import IdKind, SandboxOnlyError
from payments_gateway.domain.payouts import Caller
from payments_gateway.domain.provider import Shop
from payments_gateway.domain.recipients import Recipient, RecipientKind
from payments_gateway.domain.wallets import PaymentKind, WalletPayment, wallet_of
from payments_gateway.handlers.context import SOURCE, Context
from payments_gateway.handlers.pay import NoShopError
from payments_gateway.handlers.payouts import shop_for
from payments_gateway.handlers.wallet_judging import Asked
from payments_gateway.handlers.wallet_requests import WalletRequests
from payments_gateway.store import compatibility as store
from payments_gateway.store import wallet_payments

MOCK = "mock"
"""The provider that the old services paid through."""

# One key, one payment of a user, whatever else the request says: so it was, and so it is described.
_ANY_REQUEST = "any"


@dataclass(frozen=True, slots=True)
class User:
    """A wallet under its number; its balance is the opening one until the updater has opened the wallet."""

    number: int
    user_id: UUID
    balance_minor: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A payment, with its number and its user's."""

    number: int
    user: int
    payment: WalletPayment


def check_sandbox(context: Context, what: str) -> None:
    """Refuse outside of a sandbox."""
    if context.settings.environment != "sandbox":
        raise SandboxOnlyError(f"{what} only in a sandbox")


def mock_shop(context: Context) -> Shop | None:
    """Return the contract with the mock gateway, if this installation has one."""
    return next((shop for shop in context.shops.all() if shop.provider == MOCK), None)


async def open_user(context: Context, caller: Caller, opening: Money) -> User:
    """Open a wallet with an opening balance from `opening:sandbox`; sandbox only.

    For a manager the wallet is a new one, of nobody who can log in. Others get a number for their own wallet; when it
    is there already, nothing is added to it.
    """
    check_sandbox(context, "Wallets are opened with a balance")
    user_id = new_id() if caller.is_manager else caller.user_id
    command = commands.WalletOpen(
        account=wallet_of(user_id),
        currency=opening.currency,
        opening_minor=opening.minor,
        opening_source="sandbox",
        actor=caller.actor,
    )
    async with context.database.transaction() as tx:
        await context.outbox.add(tx, Envelope.new(command, source=SOURCE))
        number = await store.give_number(tx, IdKind.USER, user_id)
    context.poke_relay()

    async def opened() -> int | None:
        async with context.database.reading() as tx:
            return await store.balance_of(tx, wallet_of(user_id), opening.currency)

    balance = await wait_until(opened, context.settings.compatibility_wait_s)
    # What is cached of a wallet that was looked at before it was open says that there is none.
    await context.wallet_cache.drop([wallet_of(user_id)])
    return User(number, user_id, opening.minor if balance is None else balance)


async def ask_payment(
    context: Context,
    requests: WalletRequests,
    caller: Caller,
    kind: PaymentKind,
    user: int | UUID,
    amount: Money,
    key: str | None,
    recipient: Recipient | None = None,
) -> Seen:
    """Ask for a deposit or a withdrawal of a user; under a key that the user has used already, return that payment."""
    number, user_id = await _own_user(context, caller, user)
    shop = mock_shop(context)
    if kind is PaymentKind.DEPOSIT and shop is None:
        raise NoShopError("no shop takes a deposit without a page; start it at POST /payments/api/v1/payments/deposit")
    if kind is PaymentKind.WITHDRAWAL:
        if recipient is None and context.settings.environment != "sandbox":
            raise InvalidValueError("say who is paid: a wallet's own card is known in a sandbox only", "recipient")
        recipient = recipient or Recipient(RecipientKind.CARD_TOKEN, token=f"wallet-of-user-{number}")
        shop = shop or shop_for(context, recipient.kind)
    asked = Asked(
        kind=kind,
        user_id=user_id,
        scope=f"compatibility:{user_id}",
        key=key or str(new_id()),
        request_hash=_ANY_REQUEST,
        amount=amount,
        shop=shop,
        charged=kind is PaymentKind.DEPOSIT,
        recipient=recipient,
        on_behalf=caller.actor,
    )
    answer = await requests.ask(asked)
    payment_id = UUID(answer.body["id"])
    async with context.database.transaction() as tx:
        given = await store.give_number(tx, IdKind.PAYMENT, payment_id)
        payment = await wallet_payments.find(tx, payment_id, context.clock.now())
    if payment is None:
        raise NotFoundError("the payment under this key is not there")
    return Seen(given, number, payment)


async def see_payment(context: Context, caller: Caller, reference: int | UUID) -> Seen:
    """Return a payment that was made over these routes; NotFoundError for one that is not the caller's to see."""
    async with context.database.reading() as tx:
        found = await store.numbered(tx, IdKind.PAYMENT, reference)
        payment = await wallet_payments.find(tx, found[1], context.clock.now()) if found else None
        user = await store.number_of(tx, IdKind.USER, payment.user_id) if payment else None
    if found is None or payment is None or user is None or not _may_see(caller, payment.user_id):
        raise NotFoundError("there is no such payment")
    return Seen(found[0], user, payment)


def _may_see(caller: Caller, user_id: UUID) -> bool:
    return caller.sees_all or caller.user_id == user_id


async def _own_user(context: Context, caller: Caller, reference: int | UUID) -> tuple[int, UUID]:
    """Return a user whom the caller may act for: others than themselves only managers, and those only in a sandbox.

    Callers who name themselves by their UUID get a number, since outside of a sandbox nothing else gives them one.
    """
    async with context.database.transaction() as tx:
        if reference == caller.user_id:
            return await store.give_number(tx, IdKind.USER, caller.user_id), caller.user_id
        found = await store.numbered(tx, IdKind.USER, reference)
    if found is None or not (caller.is_manager or caller.user_id == found[1]):
        raise NotFoundError("there is no such user", "user_id")
    if caller.user_id != found[1]:
        check_sandbox(context, "A manager pays for others")
    return found
