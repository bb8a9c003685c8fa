"""Refusals that a buyer, a merchant or a manager may see; each has a page of its own and a stable slug."""

from typing import ClassVar
from uuid import UUID

from copeck.kernel.errors import DomainError


class DeviceUnknown(DomainError):
    """No machine has this code."""

    type: ClassVar[str] = "device-unknown"
    title: ClassVar[str] = "There is no such machine"
    status: ClassVar[int] = 404


class DrinkUnknown(DomainError):
    """The machine has no such drink in this size."""

    type: ClassVar[str] = "drink-unknown"
    title: ClassVar[str] = "The machine has no such drink"
    status: ClassVar[int] = 404


class MerchantInactive(DomainError):
    """The machine's owner does not sell at present."""

    type: ClassVar[str] = "merchant-inactive"
    title: ClassVar[str] = "This machine does not sell now"


class DeviceStopped(DomainError):
    """Somebody stopped the machine, or it stopped by itself after too many failures."""

    type: ClassVar[str] = "device-stopped"
    title: ClassVar[str] = "This machine was stopped"


class DeviceOff(DomainError):
    """The machine has not been heard of."""

    type: ClassVar[str] = "device-off"
    title: ClassVar[str] = "This machine is off"


class DeviceInError(DomainError):
    """The machine reports an error."""

    type: ClassVar[str] = "device-in-error"
    title: ClassVar[str] = "This machine is out of order"


class DeviceSoldOut(DomainError):
    """The machine has nothing left to make a drink of."""

    type: ClassVar[str] = "device-sold-out"
    title: ClassVar[str] = "This machine is sold out"


class DrinkSoldOut(DomainError):
    """The machine cannot make this drink now."""

    type: ClassVar[str] = "drink-sold-out"
    title: ClassVar[str] = "This drink is sold out"


class DrinkUnavailable(DomainError):
    """The drink was taken off sale."""

    type: ClassVar[str] = "drink-unavailable"
    title: ClassVar[str] = "This drink is not on sale"


class PriceUnknown(DomainError):
    """Nobody knows what the drink costs, and no price is invented."""

    type: ClassVar[str] = "price-unknown"
    title: ClassVar[str] = "The price of this drink is not known"


class PriceChanged(DomainError):
    """The price is another one than the buyer was shown."""

    type: ClassVar[str] = "price-changed"
    title: ClassVar[str] = "The price has changed"


class LinkStale(DomainError):
    """The machine showed this link too long ago, or its clock is wrong."""

    type: ClassVar[str] = "link-stale"
    title: ClassVar[str] = "This link is too old"
    status: ClassVar[int] = 410


class LinkForged(DomainError):
    """The link was not signed by the machine."""

    type: ClassVar[str] = "link-forged"
    title: ClassVar[str] = "This link was not made by the machine"
    status: ClassVar[int] = 403


class LinkReplayed(DomainError):
    """The link has made an order already; whoever holds that order's secret may see it."""

    type: ClassVar[str] = "link-replayed"
    title: ClassVar[str] = "This link was used already"

    def __init__(self, order_id: UUID) -> None:
        super().__init__("An order was made from this link already. Choose the drink at the machine again.")
        self.order_id = order_id


class OrderExpired(DomainError):
    """The time to pay is over."""

    type: ClassVar[str] = "order-expired"
    title: ClassVar[str] = "The time to pay is over"


class OrderNotFound(DomainError):
    """No such order, or not the caller's."""

    type: ClassVar[str] = "order-not-found"
    title: ClassVar[str] = "There is no such order"
    status: ClassVar[int] = 404


class NotAllowedNow(DomainError):
    """The order's status forbids what was asked."""

    type: ClassVar[str] = "not-allowed-now"
    title: ClassVar[str] = "The order does not allow this now"


class ForeignCommand(DomainError):
    """A machine reported on a command that was given to another one."""

    type: ClassVar[str] = "foreign-command"
    title: ClassVar[str] = "The command was given to another machine"
    status: ClassVar[int] = 403
