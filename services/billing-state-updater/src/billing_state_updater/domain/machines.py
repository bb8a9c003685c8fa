"""The state machines as data: (status, event) -> status. What is not in a table is forbidden.

`None` stands for an aggregate that does not exist yet. `arch/states.md` is generated from these tables, and
`tests/unit/test_machines.py` asserts every pair, forbidden ones too, against expectations written by hand.
"""

from typing import Final

Table = dict[tuple[str | None, str], str]

INVOICE_STATUSES: Final = (
    "issued",
    "pending",
    "authorized",
    "paid",
    "partially_refunded",
    "refunded",
    "canceled",
    "expired",
    "voided",
    "disputed",
    "charged_back",
)
OPEN: Final = frozenset({"issued", "pending"})
CLOSED: Final = tuple(status for status in INVOICE_STATUSES if status not in OPEN)

INVOICE: Final[Table] = {
    (None, "issued"): "issued",
    # An attempt of the payer. A failed one does not end the invoice: the payer may try again until it expires.
    ("issued", "attempt_started"): "pending",
    ("pending", "attempt_started"): "pending",
    ("issued", "attempt_failed"): "pending",
    ("pending", "attempt_failed"): "pending",
    ("issued", "attempt_unknown"): "pending",
    ("pending", "attempt_unknown"): "pending",
    # Held money.
    ("issued", "authorized"): "authorized",
    ("pending", "authorized"): "authorized",
    ("authorized", "capture_requested"): "authorized",
    ("authorized", "void_requested"): "authorized",
    ("authorized", "voided"): "voided",
    # Money.
    ("issued", "paid"): "paid",
    ("pending", "paid"): "paid",
    ("authorized", "paid"): "paid",
    # The end of an invoice that nobody paid.
    ("issued", "canceled"): "canceled",
    ("pending", "canceled"): "canceled",
    ("issued", "expired"): "expired",
    ("pending", "expired"): "expired",
    # Money that comes after the end is accepted only where the product's policy says so.
    ("canceled", "late_accepted"): "paid",
    ("expired", "late_accepted"): "paid",
    ("voided", "late_accepted"): "paid",
    # Money that goes back.
    ("paid", "refund_requested"): "paid",
    ("partially_refunded", "refund_requested"): "partially_refunded",
    ("paid", "partially_refunded"): "partially_refunded",
    ("partially_refunded", "partially_refunded"): "partially_refunded",
    ("paid", "refunded"): "refunded",
    ("partially_refunded", "refunded"): "refunded",
    # A dispute at the payer's bank.
    ("paid", "dispute_opened"): "disputed",
    ("partially_refunded", "dispute_opened"): "disputed",
    ("disputed", "dispute_won"): "paid",
    ("disputed", "dispute_won_partly_refunded"): "partially_refunded",
    ("disputed", "dispute_won_refunded"): "refunded",
    ("disputed", "charged_back"): "charged_back",
    # What is recorded without changing the invoice.
    **{(status, "attempt_noted"): status for status in CLOSED},
    **{(status, "hold_release_requested"): status for status in INVOICE_STATUSES},
    **{(status, "late_payment_received"): status for status in INVOICE_STATUSES},
    **{(status, "refund_noted"): status for status in INVOICE_STATUSES},
}

PAYMENT_STATUSES: Final = ("created", "pending", "authorized", "succeeded", "failed", "canceled", "unknown")

# The event is the status that the provider reports. A provider's word that money was taken is never ignored, also
# after it said the contrary, nor that it is held after a failure; every other word after an end is old news. A hold
# that was given up does not come back: what is said of it then was said before.
PAYMENT: Final[Table] = {
    **{
        (status, report): report
        for status in ("created", "unknown")
        for report in ("pending", "authorized", "succeeded", "failed", "canceled")
    },
    ("created", "unknown"): "unknown",
    ("pending", "authorized"): "authorized",
    ("pending", "succeeded"): "succeeded",
    ("pending", "failed"): "failed",
    ("pending", "canceled"): "canceled",
    ("pending", "unknown"): "unknown",
    ("authorized", "succeeded"): "succeeded",
    ("authorized", "failed"): "failed",
    ("authorized", "canceled"): "canceled",
    ("authorized", "unknown"): "unknown",
    ("failed", "authorized"): "authorized",
    ("failed", "succeeded"): "succeeded",
    ("canceled", "succeeded"): "succeeded",
}

REFUND_STATUSES: Final = ("requested", "pending", "succeeded", "failed", "unknown")

REFUND: Final[Table] = {
    ("requested", "pending"): "pending",
    ("requested", "succeeded"): "succeeded",
    ("requested", "failed"): "failed",
    ("requested", "unknown"): "unknown",
    ("pending", "succeeded"): "succeeded",
    ("pending", "failed"): "failed",
    ("pending", "unknown"): "unknown",
    ("unknown", "pending"): "pending",
    ("unknown", "succeeded"): "succeeded",
    ("unknown", "failed"): "failed",
    # Money that left after all is booked, whatever was said before.
    ("failed", "succeeded"): "succeeded",
}

PAYOUT_STATUSES: Final = ("draft", "awaiting_approval", "pending", "processing", "completed", "failed", "canceled")

PAYOUT: Final[Table] = {
    (None, "drafted"): "draft",
    (None, "approval_requested"): "awaiting_approval",
    (None, "requested"): "pending",
    ("draft", "approval_requested"): "awaiting_approval",
    ("draft", "submitted"): "pending",
    ("awaiting_approval", "approved"): "pending",
    ("draft", "canceled"): "canceled",
    ("awaiting_approval", "canceled"): "canceled",
    ("pending", "canceled"): "canceled",
    ("awaiting_approval", "funds_lacking"): "failed",
    ("pending", "funds_lacking"): "failed",
    ("pending", "started"): "processing",
    ("pending", "completed"): "completed",
    ("pending", "failed"): "failed",
    ("pending", "outcome_unknown"): "processing",
    ("processing", "completed"): "completed",
    ("processing", "failed"): "failed",
    ("processing", "outcome_unknown"): "processing",
    ("failed", "retried"): "pending",
    ("failed", "approval_requested"): "awaiting_approval",
    # Money that left after all is booked, whatever was said before.
    ("failed", "completed"): "completed",
    ("canceled", "completed"): "completed",
}

MACHINES: Final = {"invoice": INVOICE, "payment": PAYMENT, "refund": REFUND, "payout": PAYOUT}
"""Every machine by its name, for documents and for tests that walk them whole."""
