"""A merchant's own shop: its contract with a provider, under which its customers pay it and not us. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from copeck.kernel.errors import DomainError
from payments_gateway.domain.invoices import Invoice
from payments_gateway.domain.provider import Shop

PURPOSE = "merchant-shop"
"""What the key is made for under which secrets are sealed."""
SECRET_CHARS_MIN = 32
_NAME = re.compile(r"m-[0-9a-f]{32}-[0-9]{1,6}", re.ASCII)
_SHOWN_CHARS = 4


class MerchantWithoutShopError(DomainError):
    """An invoice is to be paid at a merchant's own shop, and the merchant has none."""

    type = "merchant-without-shop"
    title = "The seller cannot take payments at this moment"
    status = 409


class PublicIdTakenError(DomainError):
    """Another shop has this contract already: whose payments are whose could not be told apart."""

    type = "public-id-taken"
    title = "Another shop has this public id"
    status = 409


class MerchantShopsOffError(DomainError):
    """This installation has no secret to seal merchants' credentials under."""

    type = "merchant-shops-off"
    title = "Merchants' own shops are not set up here"
    status = 503


@dataclass(frozen=True, slots=True)
class MerchantShop:
    """A merchant's shop as it is stored; `retired_at` is set when it takes no new payments."""

    shop: str
    merchant_id: UUID
    provider: str
    public_id: str
    secret_sealed: bytes
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str
    retired_at: datetime | None = None

    @property
    def belongs_to(self) -> str:
        """What the sealed secret belongs to: it cannot be moved to another row."""
        return f"{self.provider}:{self.shop}:{self.public_id}"


def name_of(merchant_id: UUID, number: int) -> str:
    """Return the name of a merchant's n-th shop."""
    return f"m-{merchant_id.hex}-{number}"


def is_merchants(shop: str) -> bool:
    """Tell whether a shop's name is one of a merchant's own."""
    return _NAME.fullmatch(shop) is not None


def masked(secret: str) -> str:
    """Return what may be shown of a secret: enough to recognise it, too little to use it."""
    return f"••••{secret[-_SHOWN_CHARS:]}" if len(secret) >= 4 * _SHOWN_CHARS else "••••"


def takes(shop: Shop, invoice: Invoice) -> bool:
    """Tell whether what a shop says of an invoice counts: a merchant can sign whatever it likes for its own shop."""
    return shop.merchant == invoice.own_shop_of
