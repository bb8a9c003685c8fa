"""From a delivery to a command, or to a reason why it is none."""

from billing_state_updater.world import Delivery, Incoming, Quarantined
from copeck.contracts.base import Command, ContractError
from copeck.contracts.envelope import Envelope
from copeck.contracts.registry import OPERATOR, UPDATER, entry_of, shard_of
from copeck.kernel.ids import id_time

ORIGINAL_SENDER = "x-original-sender"
"""Set by an operator who sends a message again: the user whom the broker verified when it was first sent."""

# The inbox's partitions and a sane clock: an id from another age is no id of ours.
_AGE_DAYS_MAX = 400
_FUTURE_S_MAX = 86_400


def decode(delivery: Delivery, now_s: float) -> Incoming | Quarantined:
    """Read a delivery; `now_s` is the time as seconds since the epoch, against which ids are judged."""
    try:
        return _decode(delivery, now_s)
    except ContractError as error:
        return Quarantined(delivery, str(error))
    except ValueError as error:
        return Quarantined(delivery, f"the message cannot be read: {error}")


def _decode(delivery: Delivery, now_s: float) -> Incoming:
    envelope = Envelope.parse(delivery.headers, delivery.body, message_id=delivery.message_id, sender=delivery.sender)
    sender = _sender(delivery)
    entry = entry_of(envelope.type)
    if UPDATER not in entry.consumers or not isinstance(envelope.data, Command):
        raise ContractError(f"{envelope.type} is not for the state updater")
    if sender not in entry.senders:
        raise ContractError(f"{sender or 'nobody'} may not send {envelope.type}")
    if shard_of(envelope.data.account) != delivery.shard:
        raise ContractError(f"the account belongs to shard {shard_of(envelope.data.account)}")
    age_s = now_s - id_time(envelope.id).timestamp()
    if not -_FUTURE_S_MAX <= age_s <= _AGE_DAYS_MAX * 86_400:
        raise ContractError("the id's time is out of range")
    return Incoming(
        envelope.id,
        envelope.type,
        envelope.data,
        delivery.shard,
        envelope.correlation_id,
        envelope.traceparent,
        delivery,
    )


def _sender(delivery: Delivery) -> str:
    if delivery.sender == OPERATOR:
        original = delivery.headers.get(ORIGINAL_SENDER)
        if isinstance(original, str):
            return original
    return delivery.sender
