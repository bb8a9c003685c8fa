"""What a provider's list says of a payout, compared with what we know of its try. Pure."""

from enum import StrEnum

from payments_gateway.domain.attempts import FINISHED
from payments_gateway.domain.models import Operation, OperationStatus
from payments_gateway.domain.provider import AttemptStatus, Shop, Transaction


class Compared(StrEnum):
    """How the provider's word and ours go together."""

    SAME = "same"
    ENDED = "ended"
    """It has ended there, and is open here: it can be asked about now."""
    PAID_AFTER_ALL = "paid_after_all"
    PENDING_THERE = "pending_there"
    """It has failed here, or was never sent by our word, and is under way there: it may still be paid."""
    NOT_PAID = "not_paid"
    PAID_TWICE = "paid_twice"
    OTHER_AMOUNT = "other_amount"
    STRANGER = "stranger"


_OPEN = frozenset({OperationStatus.CALLING, OperationStatus.PENDING, OperationStatus.UNKNOWN})


def compare(shop: Shop, operation: Operation | None, told: Transaction) -> Compared:
    """Compare a payout of a shop's list with the operation that its reference names."""
    paid = told.status is AttemptStatus.SUCCEEDED
    if operation is None or (operation.provider, operation.shop) != (shop.provider, shop.shop):
        return Compared.STRANGER if paid else Compared.SAME
    if operation.status in _OPEN:
        return Compared.ENDED if told.status in FINISHED else Compared.SAME
    if paid and told.amount != operation.amount:
        return Compared.OTHER_AMOUNT
    if operation.status is not OperationStatus.SUCCEEDED and operation.reported == "completed":
        # Reported as paid by another try's transfer: one of its own is the second.
        return Compared.PAID_TWICE if paid and told.transaction_id != operation.result_transaction_id else Compared.SAME
    if operation.status is not OperationStatus.SUCCEEDED:
        if told.status is AttemptStatus.PENDING:
            return Compared.PENDING_THERE
        return Compared.PAID_AFTER_ALL if paid else Compared.SAME
    named = operation.result_transaction_id in (None, told.transaction_id)
    if paid:
        return Compared.SAME if named else Compared.PAID_TWICE
    # Another transaction of the same reference may have failed before the one that paid.
    return Compared.NOT_PAID if named and told.status in FINISHED else Compared.SAME
