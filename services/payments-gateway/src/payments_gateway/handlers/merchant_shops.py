"""Merchants' own shops: managers put their credentials in, payments, refunds and callbacks find them.

Credentials are sealed in the database under a secret of the installation, and unsealed for each use: a change holds at
once in every process.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.errors import InvalidValueError, NotFoundError
from copeck.observability.logs import get_logger
from copeck.web.etag import check_if_match
from copeck.web.problems import Problem
from payments_gateway.domain.identifiers import to_uuid
from payments_gateway.domain.invoices import Invoice
from payments_gateway.domain.merchant_shops import (
    PURPOSE,
    SECRET_CHARS_MIN,
    MerchantShop,
    MerchantShopsOffError,
    MerchantWithoutShopError,
    PublicIdTakenError,
    is_merchants,
    name_of,
)
from payments_gateway.domain.provider import Shop
from payments_gateway.domain.sealing import UnsealableError, seal, unseal
from payments_gateway.handlers.context import Context
from payments_gateway.store import audit
from payments_gateway.store import merchant_shops as store
from payments_gateway.store import reconciled as reconciled_store

log = get_logger(__name__)

SUBJECT = "merchant_shop"
COMPARED_AT_ONCE_MAX = 50


@dataclass(frozen=True, slots=True)
class Shown:
    """A merchant's shop and its secret; the secret is nothing when it was sealed under another one than we have."""

    stored: MerchantShop
    secret: str | None


async def find_shop(context: Context, provider: str, shop: str, tx: AsyncConnection | None = None) -> Shop | None:
    """Return a shop by its name: one of ours, or a merchant's."""
    if (ours := context.shops.get(provider, shop)) is not None or not is_merchants(shop):
        return ours
    if tx is not None:
        return _unsealed(context, await store.by_name(tx, provider, shop))
    async with context.database.reading() as reading:
        return _unsealed(context, await store.by_name(reading, provider, shop))


async def shop_of_merchant(context: Context, invoice: Invoice, tx: AsyncConnection | None = None) -> Shop:
    """Return the shop at which an invoice of a merchant is paid; MerchantWithoutShopError when there is none."""
    merchant_id = to_uuid(invoice.own_shop_of)
    found: MerchantShop | None = None
    if merchant_id is not None:
        if tx is not None:
            found = await store.current(tx, merchant_id)
        else:
            async with context.database.reading() as reading:
                found = await store.current(reading, merchant_id)
    shop = _unsealed(context, found)
    if shop is None:
        raise MerchantWithoutShopError("the seller has no shop of its own to pay at")
    return shop


async def shops_to_compare(context: Context) -> list[Shop]:
    """Return the merchants' shops whose turn it is to have their lists compared.

    One that cannot be used has had its turn with that.
    """
    usable = []
    async with context.database.transaction() as tx:
        for item in await store.to_compare(tx, COMPARED_AT_ONCE_MAX):
            shop = _unsealed(context, item)
            if shop is not None:
                usable.append(shop)
            else:
                await reconciled_store.note_try(tx, item.provider, item.shop, context.clock.now())
    return usable


async def show(context: Context, merchant_id: UUID) -> Shown:
    """Return a merchant's shop; NotFoundError when there is none."""
    async with context.database.reading() as tx:
        found = await store.current(tx, merchant_id)
    if found is None:
        raise NotFoundError("this merchant has no shop of its own")
    shop = _unsealed(context, found)
    return Shown(found, shop.api_secret if shop else None)


async def put(
    context: Context, merchant_id: UUID, provider: str, public_id: str, secret: str, if_match: str | None, actor: str
) -> Shown:
    """Give a merchant a shop, or change it. One with another public id is another shop; the earlier takes refunds."""
    key, now = _key(context), context.clock.now()
    known = context.providers.get(provider)
    if known is None or not known.has_widget:
        raise InvalidValueError("no provider of this name has a page to pay on", "provider")
    if any((shop.provider, shop.public_id) == (provider, public_id) for shop in context.shops.all()):
        raise PublicIdTakenError("it is one of our own", "public_id")
    async with context.database.transaction() as tx:
        before = await store.of_merchant(tx, merchant_id)
        present = next((item for item in before if item.retired_at is None), None)
        _check_version(present, if_match)
        same = next((item for item in before if (item.provider, item.public_id) == (provider, public_id)), None)
        if present is not None and present is not same:
            await store.retire(tx, present.shop, actor, now)
        after = _changed(same, merchant_id, len(before) + 1, provider, public_id, actor, now)
        after = replace(after, secret_sealed=seal(key, PURPOSE, secret.encode(), after.belongs_to))
        if not await store.put(tx, after):
            raise PublicIdTakenError("another merchant has, or had, a shop with it", "public_id")
        detail = {"shop": after.shop, "provider": provider, "public_id": public_id, "version": after.version}
        await audit.note(tx, SUBJECT, str(merchant_id), "put", actor, detail, now)
    return Shown(after, secret)


async def remove(context: Context, merchant_id: UUID, if_match: str, actor: str) -> None:
    """Let a merchant's shop take no new payments; what was paid there can still be refunded."""
    now = context.clock.now()
    async with context.database.transaction() as tx:
        present = next((item for item in await store.of_merchant(tx, merchant_id) if item.retired_at is None), None)
        if present is None:
            raise NotFoundError("this merchant has no shop of its own")
        check_if_match(if_match, present.version)
        await store.retire(tx, present.shop, actor, now)
        await audit.note(tx, SUBJECT, str(merchant_id), "remove", actor, {"shop": present.shop}, now)


def _check_version(present: MerchantShop | None, if_match: str | None) -> None:
    """Have whoever changes a shop say which one was read; a new one needs no such word."""
    if present is None:
        return
    if not if_match:
        raise Problem(
            428, "precondition-required", "If-Match is required", "Read first, and send its ETag in If-Match",
            "If-Match",
        )  # fmt: skip
    check_if_match(if_match, present.version)


def _changed(
    same: MerchantShop | None,
    merchant_id: UUID,
    number: int,
    provider: str,
    public_id: str,
    actor: str,
    now: datetime,
) -> MerchantShop:
    if same is not None:
        return replace(same, version=same.version + 1, updated_at=now, updated_by=actor, retired_at=None)
    return MerchantShop(
        shop=name_of(merchant_id, number),
        merchant_id=merchant_id,
        provider=provider,
        public_id=public_id,
        secret_sealed=b"",
        version=1,
        created_at=now,
        updated_at=now,
        updated_by=actor,
    )


def _key(context: Context) -> str:
    secret = context.settings.merchant_shops_secret.get_secret_value()
    if len(secret) < SECRET_CHARS_MIN:
        raise MerchantShopsOffError("COPECK_MERCHANT_SHOPS_SECRET is not set")
    return secret


def _unsealed(context: Context, stored: MerchantShop | None) -> Shop | None:
    if stored is None:
        return None
    try:
        secret = unseal(_key(context), PURPOSE, stored.secret_sealed, stored.belongs_to)
    except (UnsealableError, MerchantShopsOffError) as error:
        log.error("a merchant's shop cannot be used", shop=stored.shop, reason=str(error))
        return None
    api_url, widget_url = context.settings.provider_urls(stored.provider)
    return Shop(
        provider=stored.provider,
        shop=stored.shop,
        public_id=stored.public_id,
        api_secret=secret.decode(),
        api_url=api_url,
        widget_url=widget_url,
        merchant=str(stored.merchant_id),
    )
