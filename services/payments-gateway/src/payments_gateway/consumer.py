"""The bus edge: the queue `gateway.events`, one message, one call."""

from copeck.contracts.envelope import Envelope
from copeck.messaging.consumer import Consumer
from copeck.messaging.deadletters import Reasons
from payments_gateway import tables
from payments_gateway.handlers import events
from payments_gateway.handlers.context import Context

QUEUE = "gateway.events"


def make_consumer(context: Context) -> Consumer:
    """Build the consumer of the updater's events."""

    async def handle(envelope: Envelope) -> None:
        await events.handle(context, envelope)

    return Consumer(
        context.settings.broker_url,
        QUEUE,
        handle,
        reasons=Reasons(context.database, tables.dead_letter_reasons),
        name="gateway-events",
    )
