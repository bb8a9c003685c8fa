"""The state machine of a subscription as one table: `(status, event) -> status`. What is not in it is forbidden.

The guards (is the period really over? is this invoice's period the running one?) live in `decisions.py`; they choose
the event, the table alone chooses the next status.
"""

from enum import StrEnum


class Status(StrEnum):
    """Where a subscription stands."""

    INCOMPLETE = "incomplete"
    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    PAUSED = "paused"
    CANCELED = "canceled"
    EXPIRED = "expired"


class Event(StrEnum):
    """What can happen to a subscription."""

    TRIAL_STARTED = "trial_started"
    PERIOD_PAID = "period_paid"
    UNWANTED_PAYMENT = "unwanted_payment"
    INVOICE_LAPSED = "invoice_lapsed"
    PERIOD_ENDED = "period_ended"
    CANCELLATION_DUE = "cancellation_due"
    DEADLINE_PASSED = "deadline_passed"
    CANCELED_NOW = "canceled_now"
    CANCELLATION_SCHEDULED = "cancellation_scheduled"
    CANCELLATION_UNDONE = "cancellation_undone"
    PAUSED = "paused"
    RESUMED = "resumed"
    EXTENDED = "extended"
    PRICE_CHANGED = "price_changed"
    RUNNING_PERIOD_REFUNDED = "running_period_refunded"
    FUTURE_PERIOD_REFUNDED = "future_period_refunded"
    PAST_PERIOD_REFUNDED = "past_period_refunded"


LIVE = frozenset({Status.INCOMPLETE, Status.TRIALING, Status.ACTIVE, Status.PAST_DUE, Status.PAUSED})
"""Statuses of a subscription that is not over; a customer has at most one of them per product."""

ENDED = frozenset({Status.CANCELED, Status.EXPIRED})
"""Statuses of a subscription that is over, unless money accepted late brings it back."""

RUNNING = frozenset({Status.TRIALING, Status.ACTIVE})
"""Statuses in which a period is running and the customer has access."""

_S, _E = Status, Event

TRANSITIONS: dict[tuple[Status, Event], Status] = {
    (_S.INCOMPLETE, _E.TRIAL_STARTED): _S.TRIALING,
    (_S.INCOMPLETE, _E.PERIOD_PAID): _S.ACTIVE,
    (_S.INCOMPLETE, _E.DEADLINE_PASSED): _S.EXPIRED,
    (_S.INCOMPLETE, _E.CANCELED_NOW): _S.CANCELED,
    (_S.INCOMPLETE, _E.PRICE_CHANGED): _S.INCOMPLETE,
    (_S.TRIALING, _E.PERIOD_PAID): _S.ACTIVE,
    (_S.TRIALING, _E.PERIOD_ENDED): _S.PAST_DUE,
    (_S.TRIALING, _E.CANCELLATION_DUE): _S.CANCELED,
    (_S.TRIALING, _E.CANCELED_NOW): _S.CANCELED,
    (_S.TRIALING, _E.CANCELLATION_SCHEDULED): _S.TRIALING,
    (_S.TRIALING, _E.CANCELLATION_UNDONE): _S.TRIALING,
    (_S.TRIALING, _E.EXTENDED): _S.TRIALING,
    (_S.TRIALING, _E.PRICE_CHANGED): _S.TRIALING,
    (_S.ACTIVE, _E.PERIOD_PAID): _S.ACTIVE,
    (_S.ACTIVE, _E.PERIOD_ENDED): _S.PAST_DUE,
    (_S.ACTIVE, _E.CANCELLATION_DUE): _S.CANCELED,
    (_S.ACTIVE, _E.CANCELED_NOW): _S.CANCELED,
    (_S.ACTIVE, _E.CANCELLATION_SCHEDULED): _S.ACTIVE,
    (_S.ACTIVE, _E.CANCELLATION_UNDONE): _S.ACTIVE,
    (_S.ACTIVE, _E.PAUSED): _S.PAUSED,
    (_S.ACTIVE, _E.EXTENDED): _S.ACTIVE,
    (_S.ACTIVE, _E.PRICE_CHANGED): _S.ACTIVE,
    (_S.ACTIVE, _E.RUNNING_PERIOD_REFUNDED): _S.CANCELED,
    (_S.ACTIVE, _E.FUTURE_PERIOD_REFUNDED): _S.ACTIVE,
    (_S.PAST_DUE, _E.PERIOD_PAID): _S.ACTIVE,
    (_S.PAST_DUE, _E.DEADLINE_PASSED): _S.EXPIRED,
    (_S.PAST_DUE, _E.CANCELED_NOW): _S.CANCELED,
    (_S.PAST_DUE, _E.EXTENDED): _S.ACTIVE,
    (_S.PAST_DUE, _E.PRICE_CHANGED): _S.PAST_DUE,
    # A payment that was already under way when the customer paused: the customer paid, so the pause ends.
    (_S.PAUSED, _E.PERIOD_PAID): _S.ACTIVE,
    (_S.PAUSED, _E.CANCELED_NOW): _S.CANCELED,
    (_S.PAUSED, _E.RESUMED): _S.ACTIVE,
    (_S.PAUSED, _E.PRICE_CHANGED): _S.PAUSED,
    (_S.PAUSED, _E.RUNNING_PERIOD_REFUNDED): _S.CANCELED,
    (_S.PAUSED, _E.FUTURE_PERIOD_REFUNDED): _S.PAUSED,
    # The guard lets this one through only when the product accepts late money; else it is an unwanted payment.
    (_S.CANCELED, _E.PERIOD_PAID): _S.ACTIVE,
    # The invoice outlived the subscription by a moment, or late money was accepted: who paid gets the period.
    (_S.EXPIRED, _E.PERIOD_PAID): _S.ACTIVE,
    **{(status, _E.UNWANTED_PAYMENT): status for status in Status},
    **{(status, _E.INVOICE_LAPSED): status for status in Status},
    **{(status, _E.PAST_PERIOD_REFUNDED): status for status in Status},
}


def target(status: Status, event: Event) -> Status | None:
    """Return the next status, or None when the event is forbidden in this status."""
    return TRANSITIONS.get((status, event))
