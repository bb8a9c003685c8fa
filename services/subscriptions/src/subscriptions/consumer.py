"""The bus edge: two queues, each message to its one handler."""

from copeck.contracts.envelope import Envelope
from copeck.kernel.errors import DomainError
from copeck.messaging.consumer import Consumer
from copeck.messaging.deadletters import Reasons
from subscriptions import tables
from subscriptions.handlers import subscriptions
from subscriptions.handlers.context import Context
from subscriptions.handlers.together import PaidInvoices

EVENTS_QUEUE = "subscriptions.events"
COMMANDS_QUEUE = "subscriptions.commands"


class WrongSenderError(DomainError):
    """Somebody sent what only another service may send; the broker verified who it was."""

    type = "wrong-sender"
    title = "The sender may not send this"


def check_sender(envelope: Envelope) -> None:
    """Require the broker-verified user of a message to be one that the registry lets send it."""
    if envelope.sender not in envelope.entry.senders:
        raise WrongSenderError(f"{envelope.type} came from {envelope.sender!r}")


def consumers(context: Context) -> list[Consumer]:
    """Return the consumers of both queues, ready to run."""
    settings = context.settings
    reasons = Reasons(context.database, tables.dead_letter_reasons)
    payments = PaidInvoices(context, settings.consumer_concurrency)

    async def on_event(envelope: Envelope) -> None:
        check_sender(envelope)
        await payments.handle(envelope)

    async def on_command(envelope: Envelope) -> None:
        check_sender(envelope)
        await subscriptions.create_by_command(context, envelope)

    # Payments that arrive together share a commit, so all events that are in hand may be under way.
    queues = (
        (EVENTS_QUEUE, on_event, settings.consumer_prefetch),
        (COMMANDS_QUEUE, on_command, settings.consumer_concurrency),
    )
    return [
        Consumer(
            settings.broker_url,
            queue,
            handler,
            prefetch=settings.consumer_prefetch,
            concurrency=concurrency,
            reasons=reasons,
            name=f"subscriptions:{queue}",
        )
        for queue, handler, concurrency in queues
    ]
