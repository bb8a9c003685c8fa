"""Who may send each message and who consumes it: the bus's only source of truth, topology and rights come from it."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, get_args

from copeck.contracts import commands, events
from copeck.contracts.base import Command, ContractError, InvoiceKind, Message

SHARDS = 16
"""Queues of commands; 32 is the ceiling of one broker node. Changing it means draining all of them first."""

COMMANDS_EXCHANGE = "billing.commands"
EVENTS_EXCHANGE = "billing.events"

AUTH, SUBSCRIPTIONS, UPDATER = "auth", "subscriptions", "state-updater"
GATEWAY, DEVICES, REMINDERS, OPERATOR = "gateway", "devices", "reminders", "operator"
SERVICES = (AUTH, SUBSCRIPTIONS, UPDATER, GATEWAY, DEVICES, REMINDERS)


@dataclass(frozen=True, slots=True)
class Entry:
    """One message type: its model, who may send it, who consumes it."""

    model: type[Message]
    kind: Literal["command", "event"]
    senders: tuple[str, ...]
    consumers: tuple[str, ...]

    @property
    def exchange(self) -> str:
        """Return the exchange that the message is published to."""
        return COMMANDS_EXCHANGE if self.kind == "command" else EVENTS_EXCHANGE

    @property
    def sharded(self) -> bool:
        """Tell whether the message goes to a shard of the state updater."""
        return self.kind == "command" and self.consumers == (UPDATER,)


_SENDERS: dict[str, tuple[str, ...]] = {
    "invoice.issue": (SUBSCRIPTIONS, GATEWAY, DEVICES),
    "invoice.cancel": (SUBSCRIPTIONS, GATEWAY, DEVICES),
    "invoice.expire": (REMINDERS,),
    "invoice.capture": (SUBSCRIPTIONS,),
    "invoice.refund": (SUBSCRIPTIONS, GATEWAY, DEVICES),
    "payment.report": (GATEWAY,),
    "refund.report": (GATEWAY,),
    "dispute.report": (GATEWAY,),
    "wallet.open": (GATEWAY, DEVICES),
    "wallet.pay": (GATEWAY,),
    "ledger.correct": (GATEWAY,),
    "settlement.report": (GATEWAY,),
    "payout.request": (GATEWAY,),
    "payout.submit": (GATEWAY,),
    "payout.approve": (GATEWAY,),
    "payout.cancel": (GATEWAY,),
    "payout.retry": (GATEWAY,),
    "payout.report": (GATEWAY,),
    "subscription.create": (SUBSCRIPTIONS,),
}

INVOICE_KINDS: tuple[str, ...] = get_args(InvoiceKind)
"""An invoice's events say its kind in their routing key, so that a service is not sent what is another's."""

KINDS_CONSUMED: dict[str, tuple[str, ...]] = {
    SUBSCRIPTIONS: ("subscription",),
    GATEWAY: INVOICE_KINDS,
    DEVICES: ("coffee",),
}
"""Whose invoices a service hears of."""

# The sender of each family of events and its consumers. A queue is bound only once somebody consumes it: one that
# nobody empties would fill up and then refuse the events of all the others. What nobody consumes is not sent at all:
# balances, and what became of a payout, are read from the views.
_EVENT_ROUTES: dict[str, tuple[str, tuple[str, ...]]] = {
    "invoice": (UPDATER, (SUBSCRIPTIONS, GATEWAY, DEVICES)),
    "command": (UPDATER, (SUBSCRIPTIONS, GATEWAY, DEVICES)),
    "refund": (UPDATER, ()),
    "wallet": (UPDATER, ()),
    "payout": (UPDATER, ()),
    "subscription": (SUBSCRIPTIONS, (GATEWAY,)),
    "user": (AUTH, (SUBSCRIPTIONS,)),
}

# The types that somebody consumes of a family whose other types nobody does.
_LISTENERS: dict[str, tuple[str, ...]] = {
    "refund.requested": (GATEWAY, DEVICES),
    "refund.pending": (DEVICES,),
    "refund.succeeded": (DEVICES,),
    "refund.failed": (SUBSCRIPTIONS, DEVICES),
    "payout.pending": (GATEWAY,),
    "payout.processing": (GATEWAY,),
}


def _entries() -> Iterable[tuple[str, Entry]]:
    for model in commands.ALL:
        consumers: tuple[str, ...] = (UPDATER,) if issubclass(model, Command) else (SUBSCRIPTIONS,)
        yield model.TYPE, Entry(model, "command", _SENDERS[model.TYPE], consumers)
    for model in events.ALL:
        sender, listeners = _EVENT_ROUTES[model.TYPE.split(".", 1)[0]]
        yield model.TYPE, Entry(model, "event", (sender,), _LISTENERS.get(model.TYPE, listeners))


REGISTRY: dict[str, Entry] = dict(_entries())
"""Every message by its type."""


def entry_of(type_name: str) -> Entry:
    """Return the entry of a type; ContractError when nobody declared it."""
    entry = REGISTRY.get(type_name)
    if entry is None:
        raise ContractError(f"the message type {type_name[:80]!r} is not in the registry")
    return entry


def shard_of(account: str) -> int:
    """Return the shard of an account: a stable hash, the same on every machine and in every release.

    Only the owner counts, so that `customer:<user>` and `wallet:<user>` keep their order with each other.
    """
    owner = account.partition(":")[2]
    return int.from_bytes(blake2b(owner.encode(), digest_size=2).digest()) % SHARDS


def shard_queue(shard: int) -> str:
    """Return the name of a shard's queue."""
    return f"{COMMANDS_EXCHANGE}.{shard:02d}"


def invoice_topic(type_name: str, kind: str) -> str:
    """Return the routing key of an event of an invoice."""
    return f"{type_name}.{kind}"


def routing_key(data: Message) -> str:
    """Return where a message goes: its type, then a command's shard or the kind of the invoice that an event is of."""
    if isinstance(data, Command):
        return f"{data.TYPE}.{shard_of(data.account):02d}"
    if isinstance(data, events.InvoiceEvent):
        return invoice_topic(data.TYPE, data.kind)
    return data.TYPE


def routing_keys(name: str) -> tuple[str, ...]:
    """Return every routing key that a message of the type may have."""
    entry = REGISTRY[name]
    if entry.sharded:
        return tuple(f"{name}.{shard:02d}" for shard in range(SHARDS))
    if issubclass(entry.model, events.InvoiceEvent):
        return tuple(invoice_topic(name, kind) for kind in INVOICE_KINDS)
    return (name,)
