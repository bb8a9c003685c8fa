"""The bus edge: one queue of events, each message to its one handler."""

from copeck.contracts.envelope import Envelope
from copeck.kernel.errors import DomainError
from copeck.messaging.consumer import Consumer
from copeck.messaging.deadletters import Reasons
from device_bridge import tables
from device_bridge.handlers.context import Context
from device_bridge.handlers.together import PaidCoffees

EVENTS_QUEUE = "devices.events"


class WrongSenderError(DomainError):
    """Somebody sent what only another service may send; the broker verified who it was."""

    type = "wrong-sender"
    title = "The sender may not send this"


def check_sender(envelope: Envelope) -> None:
    """Require the broker-verified user of a message to be one that the registry lets send it."""
    if envelope.sender not in envelope.entry.senders:
        raise WrongSenderError(f"{envelope.type} came from {envelope.sender!r}")


def consumer(context: Context) -> Consumer:
    """Return the consumer of the queue, ready to run."""
    settings = context.settings

    payments = PaidCoffees(context, settings.consumer_concurrency)

    async def on_event(envelope: Envelope) -> None:
        check_sender(envelope)
        await payments.handle(envelope)

    return Consumer(
        settings.broker_url,
        EVENTS_QUEUE,
        on_event,
        prefetch=settings.consumer_prefetch,
        # Payments that arrive together share a commit, so all events that are in hand may be under way.
        concurrency=settings.consumer_prefetch,
        reasons=Reasons(context.database, tables.dead_letter_reasons),
        name=f"devices:{EVENTS_QUEUE}",
    )
