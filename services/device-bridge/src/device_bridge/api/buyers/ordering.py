"""Making, finding and canceling the order of somebody whom nobody knows but by the order's token."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

from fastapi import Request

from copeck.web.limits import check_limit, client_address
from copeck.web.wait import wait_until
from device_bridge.domain.contacts import Contact
from device_bridge.domain.errors import OrderNotFound
from device_bridge.domain.machine import Status
from device_bridge.domain.tokens import is_token_of, order_token
from device_bridge.handlers import orders as handlers
from device_bridge.handlers.context import BUYER, Context, Key, Work, in_transaction, once
from device_bridge.store import showing
from device_bridge.store.showing import ShownOrder

WAIT_FOR_INVOICE_S = 4.0
ORDERS_PER_ADDRESS = "12/minute"
ORDERS_PER_DEVICE = "40/minute"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a buyer asks for."""

    device_id: str
    drink_id: str
    size: str
    contact: Contact | None
    language: str
    shown_price_minor: int | None = None
    machine_order_id: str | None = None

    def digest(self) -> str:
        """Return what tells one choice from another under the same form."""
        address = self.contact.address if self.contact else ""
        parts = (self.device_id, self.drink_id, self.size, address, self.machine_order_id or "")
        return sha256("\n".join(parts).encode()).hexdigest()


def token_of(context: Context, order_id: UUID) -> str:
    """Return the secret that belongs to an order."""
    return order_token(context.settings.buyer_link_key.get_secret_value(), order_id)


def holds(context: Context, order_id: UUID, token: str | None) -> bool:
    """Tell whether a token is the order's."""
    return is_token_of(context.settings.buyer_link_key.get_secret_value(), order_id, token)


async def check_limits(request: Request, device_id: str) -> None:
    """Count an order that is asked for, for the caller's address and for the machine."""
    await check_limit(request, "coffee-order", ORDERS_PER_ADDRESS, f"ip:{client_address(request)}")
    await check_limit(request, "coffee-machine", ORDERS_PER_DEVICE, f"device:{device_id}")


def form_key(choice: Choice, key: str) -> Key:
    """Return the key of a form. Who goes back and changes it means another order, so the choice is a part of it."""
    digest = choice.digest()
    return Key(f"buyer:{choice.device_id}:{digest}", key, digest)


def caller_key(request: Request, device_id: str, key: str, digest: str) -> Key:
    """Return the key of a program: of its own address, for others may have thought of the same key."""
    return Key(f"buyer:{client_address(request)}:{device_id}", key, digest)


async def make(context: Context, choice: Choice, key: Key) -> UUID:
    """Make an order and return its id; under the same key, it is made once."""

    async def work(work: Work) -> tuple[int, dict[str, Any]]:
        order = await handlers.begin(
            work,
            choice.device_id,
            choice.drink_id,
            choice.size,
            receipt_address=choice.contact.address if choice.contact else None,
            language=choice.language,
            machine_order_id=choice.machine_order_id,
            expected_price_minor=choice.shown_price_minor,
        )
        return 201, {"order_id": str(order.id)}

    answer = await once(context, BUYER, key, work)
    return UUID(answer.body["order_id"])


async def find(context: Context, order_id: UUID, token: str | None) -> ShownOrder:
    """Return the order of who holds its token; OrderNotFound for everybody else, as for one that does not exist."""
    if not holds(context, order_id, token):
        raise OrderNotFound
    async with context.database.reading() as tx:
        found = await showing.order(tx, order_id)
    if found is None:
        raise OrderNotFound
    return found


async def until_invoiced(context: Context, order_id: UUID, timeout_s: float = WAIT_FOR_INVOICE_S) -> ShownOrder | None:
    """Wait until the order can be paid, or will never be; None when that takes longer."""

    async def probe() -> ShownOrder | None:
        async with context.database.reading() as tx:
            found = await showing.order(tx, order_id)
        return found if found is not None and found.status != Status.CREATED else None

    return await wait_until(probe, timeout_s)


async def cancel(context: Context, order_id: UUID, timeout_s: float = WAIT_FOR_INVOICE_S) -> None:
    """Ask for the end of an order that is not paid, and wait a little until it is there."""

    async def work(work: Work) -> None:
        await handlers.cancel_unpaid(work, order_id)

    await in_transaction(context, BUYER, work)

    async def probe() -> bool | None:
        async with context.database.reading() as tx:
            found = await showing.order(tx, order_id)
        return True if found is None or found.status not in (Status.CREATED, Status.PENDING) else None

    await wait_until(probe, timeout_s)
