"""What a machine sells now, and whether a link that it showed may be followed: for pages and JSON alike."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from copeck.kernel.errors import DomainError
from copeck.kernel.money import Money
from device_bridge.domain import links, selling
from device_bridge.domain.errors import DeviceUnknown, DrinkUnknown, LinkForged
from device_bridge.domain.health import condition
from device_bridge.domain.model import SIZES, Device, Drink, MachineState, Merchant
from device_bridge.handlers.context import Context
from device_bridge.handlers.orders import reports_state
from device_bridge.store import devices

FORM_TIME = timedelta(minutes=5)
"""How much longer a signed link is good once its page is open: the buyer types an address meanwhile."""


@dataclass(frozen=True, slots=True)
class Line:
    """A drink in one size: its price, or why it is not sold."""

    drink: Drink
    price: Money | None
    refusal: DomainError | None


@dataclass(frozen=True, slots=True)
class Menu:
    """A machine as its buyer sees it. `refusal` says why the whole machine takes no money."""

    device: Device
    merchant: Merchant
    condition: MachineState
    lines: tuple[Line, ...]
    refusal: DomainError | None

    def line(self, drink_id: str, size: str) -> Line:
        """Return a line; DrinkUnknown when there is none."""
        for line in self.lines:
            if (line.drink.drink_id, line.drink.size) == (drink_id, size):
                return line
        raise DrinkUnknown

    def why_not(self, drink_id: str, size: str) -> DomainError | None:
        """Return why a drink takes no money now, for the machine's sake or its own; None when it does."""
        try:
            return self.refusal or self.line(drink_id, size).refusal
        except DrinkUnknown as unknown:
            return unknown

    def drinks(self) -> Iterator[tuple[str, list[Line]]]:
        """Yield the drinks by name, each with its sizes from small to large."""
        grouped: dict[str, list[Line]] = {}
        for line in self.lines:
            grouped.setdefault(line.drink.drink_id, []).append(line)
        for sizes in sorted(grouped.values(), key=_by_name):
            yield sizes[0].drink.name, sorted(sizes, key=lambda line: SIZES.index(line.drink.size))


def _by_name(sizes: list[Line]) -> tuple[str, str]:
    return sizes[0].drink.name.casefold(), sizes[0].drink.drink_id


@dataclass(frozen=True, slots=True)
class SignedLink:
    """What a machine's link says beside the drink: its own order id, when it was shown, and its signature."""

    order: str
    ts: int
    sig: str


async def menu_of(context: Context, device_id: str) -> Menu:
    """Read what a machine sells; DeviceUnknown when there is no such machine."""
    async with context.database.reading() as tx:
        shown = await devices.shown(tx, device_id)
    if shown is None:
        raise DeviceUnknown
    now = context.clock.now()
    reports = reports_state(context, shown.device.model)
    return Menu(
        device=shown.device,
        merchant=shown.merchant,
        condition=condition(shown.state, now, reports_state=reports),
        lines=tuple(_line(shown.device, shown.merchant, drink) for drink in shown.drinks),
        refusal=selling.refusal(shown.device, shown.merchant, shown.state, now, reports_state=reports),
    )


def _line(device: Device, merchant: Merchant, drink: Drink) -> Line:
    try:
        return Line(drink, selling.offer(device, merchant, drink).price, None)
    except DomainError as refusal:
        return Line(drink, None, refusal)


def signed_link(order: str | None, ts: int | None, sig: str | None) -> SignedLink | None:
    """Return the machine's link; None when nobody claims that it is one; LinkForged for half of one."""
    if order is None and ts is None and sig is None:
        return None
    if order is None or ts is None or sig is None:
        raise LinkForged
    return SignedLink(order, ts, sig)


def check_link(
    context: Context, device: Device, drink_id: str, size: str, link: SignedLink, *, is_form: bool = False
) -> None:
    """Refuse a link that the machine did not make, or not now; a form has a little more time than the link itself."""
    now = context.clock.now()
    if is_form:
        now = min(now, max(datetime.fromtimestamp(link.ts, UTC), now - FORM_TIME))
    key = context.device_key(device)
    links.verify(key, device=device.id, drink=drink_id, size=size, order=link.order, ts=link.ts, sig=link.sig, now=now)
