"""The state machine of an order as one table: `(status, event) -> status`. What is not in it is forbidden.

The guards (did the machine say so? is the deadline over?) live in `decisions.py`; they choose the event, the table
alone chooses the next status.
"""

from enum import StrEnum


class Status(StrEnum):
    """Where an order stands; the names are the customer's."""

    CREATED = "created"
    PENDING = "pending"
    PAID = "paid"
    NOT_PAID = "not_paid"
    MAKE_PENDING = "make_pending"
    SUCCESSFUL = "successful"
    FAILED = "failed"


class Event(StrEnum):
    """What can happen to an order."""

    INVOICE_ISSUED = "invoice_issued"
    INVOICE_REFUSED = "invoice_refused"
    INVOICE_PAID = "invoice_paid"
    INVOICE_EXPIRED = "invoice_expired"
    INVOICE_CANCELED = "invoice_canceled"
    CANCELLATION_ASKED = "cancellation_asked"
    BREW_COMMANDED = "brew_commanded"
    BREW_REFUSED = "brew_refused"
    BREW_ACCEPTED = "brew_accepted"
    BREW_STARTED = "brew_started"
    BREW_DONE = "brew_done"
    BREW_ASSUMED_DONE = "brew_assumed_done"
    BREW_FAILED = "brew_failed"
    BREW_REJECTED = "brew_rejected"
    REVOCATION_ASKED = "revocation_asked"
    BREW_REVOKED = "brew_revoked"
    NO_ANSWER = "no_answer"
    PAYMENT_CAME_LATE = "payment_came_late"
    REFUND_CHANGED = "refund_changed"


class Reason(StrEnum):
    """Why an order ended as it did; pages and reports have a text for each."""

    EXPIRED = "expired"
    CANCELED = "canceled"
    INVOICE_REFUSED = "invoice_refused"
    PAYMENT_LATE = "payment_late"
    STOPPED = "stopped"
    MACHINE_REJECTED = "machine_rejected"
    BREW_FAILED = "brew_failed"
    NO_ANSWER = "no_answer"
    DEADLINE = "deadline"
    REFUNDED = "refunded"


UNPAID = frozenset({Status.CREATED, Status.PENDING})
"""Statuses of an order that waits for its money."""

UNDER_WAY = frozenset({Status.CREATED, Status.PENDING, Status.PAID, Status.MAKE_PENDING})
"""Statuses that something will still change."""

ENDED = frozenset({Status.NOT_PAID, Status.SUCCESSFUL, Status.FAILED})
"""Statuses that are final, but for what happens to the money."""

_S, _E = Status, Event

TRANSITIONS: dict[tuple[Status, Event], Status] = {
    (_S.CREATED, _E.INVOICE_ISSUED): _S.PENDING,
    (_S.CREATED, _E.INVOICE_REFUSED): _S.NOT_PAID,
    # Events carry whole states: `paid` may be the first of the invoice that arrives.
    (_S.CREATED, _E.INVOICE_PAID): _S.PAID,
    (_S.CREATED, _E.INVOICE_EXPIRED): _S.NOT_PAID,
    (_S.CREATED, _E.INVOICE_CANCELED): _S.NOT_PAID,
    (_S.CREATED, _E.CANCELLATION_ASKED): _S.CREATED,
    (_S.PENDING, _E.INVOICE_PAID): _S.PAID,
    (_S.PENDING, _E.INVOICE_EXPIRED): _S.NOT_PAID,
    (_S.PENDING, _E.INVOICE_CANCELED): _S.NOT_PAID,
    (_S.PENDING, _E.CANCELLATION_ASKED): _S.PENDING,
    # Whatever we had thought of the invoice: who has paid gets the coffee or the money.
    (_S.NOT_PAID, _E.INVOICE_PAID): _S.PAID,
    (_S.PAID, _E.BREW_COMMANDED): _S.MAKE_PENDING,
    (_S.PAID, _E.BREW_REFUSED): _S.FAILED,
    (_S.MAKE_PENDING, _E.BREW_ACCEPTED): _S.MAKE_PENDING,
    (_S.MAKE_PENDING, _E.BREW_STARTED): _S.MAKE_PENDING,
    (_S.MAKE_PENDING, _E.REVOCATION_ASKED): _S.MAKE_PENDING,
    (_S.MAKE_PENDING, _E.BREW_DONE): _S.SUCCESSFUL,
    (_S.MAKE_PENDING, _E.BREW_ASSUMED_DONE): _S.SUCCESSFUL,
    (_S.MAKE_PENDING, _E.BREW_FAILED): _S.FAILED,
    (_S.MAKE_PENDING, _E.BREW_REJECTED): _S.FAILED,
    (_S.MAKE_PENDING, _E.BREW_REVOKED): _S.FAILED,
    (_S.MAKE_PENDING, _E.NO_ANSWER): _S.FAILED,
    **{(status, _E.PAYMENT_CAME_LATE): status for status in Status},
    **{(status, _E.REFUND_CHANGED): status for status in Status},
}


def target(status: Status, event: Event) -> Status | None:
    """Return the next status, or None when the event is forbidden in this status."""
    return TRANSITIONS.get((status, event))
