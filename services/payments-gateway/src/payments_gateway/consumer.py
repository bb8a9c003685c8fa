"""The bus edge: the queue `gateway.events`, one message, one call."""

from copeck.messaging.consumer import Consumer
from copeck.messaging.deadletters import Reasons
from payments_gateway import tables
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.events import Events

QUEUE = "gateway.events"
PREFETCH = 200
# So many may share a commit.
CONCURRENCY = 64


def make_consumer(context: Context) -> Consumer:
    """Build the consumer of the updater's events."""

    return Consumer(
        context.settings.broker_url,
        QUEUE,
        Events(context).handle,
        prefetch=PREFETCH,
        concurrency=CONCURRENCY,
        reasons=Reasons(context.database, tables.dead_letter_reasons),
        name="gateway-events",
    )
