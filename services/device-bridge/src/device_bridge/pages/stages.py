"""Which of its stages a buyer sees an order in, from the order and its brew command as of one moment. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from device_bridge.domain.brewing import BrewState
from device_bridge.domain.machine import Reason, Status

Tone = Literal["wait", "good", "bad"]


class Stage(StrEnum):
    """What the buyer is told; each has a title and a text in both languages."""

    PREPARING = "preparing"
    TO_PAY = "to_pay"
    PAID = "paid"
    SENT = "sent"
    ACCEPTED = "accepted"
    BREWING = "brewing"
    CHECKING = "checking"
    READY = "ready"
    REFUNDING = "refunding"
    RETURNING = "returning"
    REFUNDED = "refunded"
    REFUND_TROUBLE = "refund_trouble"
    EXPIRED = "expired"
    CANCELED = "canceled"
    NOT_SOLD = "not_sold"
    LATE_REFUNDING = "late_refunding"
    LATE_REFUNDED = "late_refunded"


@dataclass(frozen=True, slots=True)
class Look:
    """How a stage looks: its colour, how many of the four steps are done, and whether anything will still change."""

    tone: Tone
    step: int
    final: bool = False


LOOKS: dict[Stage, Look] = {
    Stage.PREPARING: Look("wait", 0),
    Stage.TO_PAY: Look("wait", 0),
    Stage.PAID: Look("wait", 1),
    Stage.SENT: Look("wait", 1),
    Stage.ACCEPTED: Look("wait", 2),
    Stage.BREWING: Look("wait", 2),
    Stage.CHECKING: Look("wait", 2),
    Stage.READY: Look("good", 4, final=True),
    Stage.REFUNDING: Look("bad", 1),
    Stage.RETURNING: Look("wait", 4),
    Stage.REFUNDED: Look("good", 1, final=True),
    # A person works on it, so the page goes on watching.
    Stage.REFUND_TROUBLE: Look("bad", 1),
    Stage.EXPIRED: Look("bad", 0, final=True),
    Stage.CANCELED: Look("bad", 0, final=True),
    Stage.NOT_SOLD: Look("bad", 0, final=True),
    Stage.LATE_REFUNDING: Look("bad", 0),
    Stage.LATE_REFUNDED: Look("good", 0, final=True),
}

_UNPAID: dict[str, Stage] = {
    Reason.EXPIRED: Stage.EXPIRED,
    Reason.CANCELED: Stage.CANCELED,
    Reason.PAYMENT_LATE: Stage.LATE_REFUNDING,
}
_BREWING: dict[str, Stage] = {
    BrewState.ACCEPTED: Stage.ACCEPTED,
    BrewState.STARTED: Stage.BREWING,
    BrewState.REVOKING: Stage.CHECKING,
}


def stage_of(status: str, reason: str, brew_state: str | None, refund_status: str | None) -> Stage:
    """Return the stage of an order. The order's own status is what counts: the command only says how far it is."""
    if status == Status.CREATED:
        return Stage.PREPARING
    if status == Status.PENDING:
        return Stage.TO_PAY
    if status == Status.PAID:
        return Stage.PAID
    if status == Status.MAKE_PENDING:
        return _BREWING.get(brew_state or "", Stage.SENT)
    if status == Status.NOT_PAID:
        return _not_paid(reason, refund_status)
    if refund_status == "succeeded":
        return Stage.REFUNDED
    if refund_status == "failed":
        return Stage.REFUND_TROUBLE
    if status == Status.SUCCESSFUL:
        return Stage.RETURNING if refund_status else Stage.READY
    return Stage.REFUNDING


def _not_paid(reason: str, refund_status: str | None) -> Stage:
    """Nothing was paid in time; money that came all the same is on its way back, or back."""
    if refund_status == "succeeded":
        return Stage.LATE_REFUNDED
    if refund_status == "failed":
        return Stage.REFUND_TROUBLE
    if refund_status:
        return Stage.LATE_REFUNDING
    return _UNPAID.get(reason, Stage.NOT_SOLD)
