"""Decisions about a brew command: when it is sent, what a machine's report means, what time alone decides (I-10).

Before the money goes back, a machine that may have the command is asked to forget it: its answer, or its silence until
`revoke_by`, decides. Only where nothing was ever sent, or the machine itself said that it did not make the drink, the
money goes back at once.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from device_bridge.domain.brewing import FINAL, BrewEvent, BrewState, brew_target
from device_bridge.domain.decisions import apply, fail
from device_bridge.domain.drivers import NOT_TAKEN, DriverPolicy
from device_bridge.domain.machine import Event, Reason, Status
from device_bridge.domain.model import BrewCommand, Order
from device_bridge.domain.outcomes import (
    Applied,
    CountBrew,
    Effect,
    Illegal,
    Limits,
    OpenIncident,
    Outcome,
    Stale,
    TellBuyer,
    WakeSender,
)

REVOCATION_REPEATED_AFTER = timedelta(seconds=2)
RETRY_AFTER = timedelta(seconds=1)
NOT_REACHED = "unreachable"
"""The code of a command whose last sending did not get as far as where its machine could have taken it."""
IN_FLIGHT = timedelta(seconds=20)
"""How long a call may still be under way, and its answer not be noted: calls have 15 s."""


def move(command: BrewCommand, event: BrewEvent, now: datetime, **changes: Any) -> BrewCommand | None:
    """Take one step of the table; None when it changes nothing. What is final is neither sent nor waited for."""
    state = brew_target(command.state, event)
    if state is None:
        return None
    if state in FINAL:
        changes |= {"finished_at": now, "next_send_at": None, "decide_at": None}
    return replace(command, state=state, **changes)


def sending(command: BrewCommand, now: datetime, policy: DriverPolicy) -> BrewCommand | None:
    """Return the command as it is once it is handed on now; None when it is not to be sent any more.

    What the machine recognises is sent again until it is accepted; anything else is handed on once, and the note that
    it was is committed before the call: after a crash nobody knows, and it is not tried again.
    """
    if command.next_send_at is None or command.next_send_at > now or command.state in FINAL:
        return None
    if command.state is BrewState.REVOKING:
        return replace(command, next_send_at=now + REVOCATION_REPEATED_AFTER)
    if now >= command.expires_at:
        return None
    again = now + timedelta(seconds=policy.resend_after_s) if policy.repeatable else None
    decide_at = command.decide_at
    if not policy.revocable and decide_at is not None:
        # Nobody can take it back once it is under way: the money must not go back before the call has come to an end.
        decide_at = max(decide_at, now + IN_FLIGHT)
    count = command.sent_count + 1
    return move(command, BrewEvent.SENT, now, sent_count=count, next_send_at=again, decide_at=decide_at, last_code="")


def sending_by_worker(command: BrewCommand, now: datetime, policy: DriverPolicy) -> BrewCommand | None:
    """The same for a worker that was given the command as a task, whatever moment the task arrives at.

    A task may come twice: what is not recognised by the machine has no next sending once it was claimed.
    """
    if command.next_send_at is None:
        return None
    return sending(replace(command, next_send_at=now), now, policy)


def wait_for_worker(command: BrewCommand, now: datetime, repeated_after: timedelta) -> BrewCommand:
    """Return the command as it is while a task for it is on its way; a lost task is sent again."""
    return replace(command, next_send_at=now + repeated_after)


def give_sending_up(command: BrewCommand) -> BrewCommand:
    """Return the command as it is when it is too late to send it; its deadline decides."""
    return replace(command, next_send_at=None)


def unreachable(command: BrewCommand, code: str, now: datetime) -> BrewCommand | None:
    """Try again soon what was certainly not handed on; a machine that was not there to take it is no outage of ours."""
    if command.state not in (BrewState.SENT, BrewState.REVOKING):
        return None
    ours = command.state is BrewState.SENT and code != NOT_TAKEN
    return replace(command, next_send_at=now + RETRY_AFTER, last_code=NOT_REACHED if ours else command.last_code)


def reported(
    order: Order,
    command: BrewCommand,
    event: BrewEvent,
    code: str,
    now: datetime,
    policy: DriverPolicy,
    limits: Limits,
    refund_id: UUID,
) -> Outcome:
    """Follow what the machine said of its command."""
    moved = move(command, event, now, last_code=code)
    if moved is None:
        return _out_of_turn(order, command, event, code, policy)
    match event:
        case BrewEvent.ACCEPTED:
            return _accepted(order, moved, now, policy)
        case BrewEvent.STARTED:
            return _started(order, moved, now, limits)
        case BrewEvent.DONE:
            return _made(order, command, moved, Event.BREW_DONE, code, now)
        case BrewEvent.FAILED:
            counted = (CountBrew(False),)
            return _with(fail(order, Event.BREW_FAILED, Reason.BREW_FAILED.value, now, refund_id, counted), moved)
        case BrewEvent.REJECTED:
            # Refused after we took it back: the reason is ours then.
            reason = command.will_be or Reason.MACHINE_REJECTED.value
            more = _counted(reason, command)
            return _with(fail(order, Event.BREW_REJECTED, reason, now, refund_id, more), moved)
        case _:
            more = _counted(command.will_be, command)
            return _with(fail(order, Event.BREW_REVOKED, command.will_be, now, refund_id, more), moved)


def _accepted(order: Order, moved: BrewCommand, now: datetime, policy: DriverPolicy) -> Outcome:
    if moved.state is BrewState.REVOKING:
        return Applied(order, command=moved)
    decide_at = moved.brew_by
    if not policy.completion_signal and policy.deadline_policy == "assume_success":
        decide_at = min(decide_at, now + timedelta(seconds=policy.assumed_after_s))
    waiting = replace(moved, accepted_at=now, next_send_at=None, decide_at=decide_at)
    return _with(apply(order, Event.BREW_ACCEPTED, now), waiting)


def _started(order: Order, moved: BrewCommand, now: datetime, limits: Limits) -> Outcome:
    if moved.state is not BrewState.REVOKING:
        waiting = replace(moved, accepted_at=moved.accepted_at or now, next_send_at=None, decide_at=moved.brew_by)
        return _with(apply(order, Event.BREW_STARTED, now), waiting)
    # It is at it and cannot stop: its last word is worth waiting for, but not for ever.
    grace = timedelta(seconds=limits.brewing_grace_s)
    latest = moved.brew_by + timedelta(seconds=limits.revoke_timeout_s) + grace
    revoke_by = max(moved.revoke_by or now, min(now + grace, latest))
    waiting = replace(moved, next_send_at=None, revoke_by=revoke_by, decide_at=revoke_by)
    return _with(apply(order, Event.BREW_STARTED, now), waiting)


def _made(
    order: Order, command: BrewCommand, moved: BrewCommand | None, event: Event, code: str, now: datetime
) -> Outcome:
    """End an order whose cup was made; if somebody gave its money back meanwhile, a manager has to know."""
    effects: tuple[Effect, ...] = (CountBrew(True), TellBuyer("receipt"))
    if order.money_returns:
        effects = (*effects, _done_after_refund(command, BrewEvent.DONE.value, code))
    return _with(apply(order, event, now, effects), moved)


def _done_after_refund(command: BrewCommand, said: str, code: str) -> OpenIncident:
    detail = {"command_id": str(command.id), "command_state": command.state.value, "said": said, "code": code}
    return OpenIncident("done_after_refund", detail)


def _out_of_turn(order: Order, command: BrewCommand, event: BrewEvent, code: str, policy: DriverPolicy) -> Outcome:
    """A report that changes nothing; a cup that was made although its money went back is an incident.

    Of a machine that never says `done`, its consent is all that will ever be heard of such a cup.
    """
    last_word = BrewEvent.DONE if policy.completion_signal else BrewEvent.ACCEPTED
    if event in (BrewEvent.DONE, last_word) and order.status is Status.FAILED:
        return Applied(order, effects=(_done_after_refund(command, event.value, code),))
    return Stale(f"{event.value} changes nothing in {command.state.value}")


def due(
    order: Order, command: BrewCommand, now: datetime, policy: DriverPolicy, limits: Limits, refund_id: UUID
) -> Outcome:
    """Do what time alone does: assume success where the model's policy says so, revoke, or give up."""
    if command.decide_at is None or command.decide_at > now:
        return Stale("nothing is due")
    if command.state in (BrewState.QUEUED, BrewState.SENT):
        return revoke(order, command, Reason.NO_ANSWER, now, policy, limits, refund_id)
    if command.state is BrewState.REVOKING:
        return _give_up(order, command, BrewEvent.NO_ANSWER, command.will_be, now, refund_id)
    if not policy.completion_signal and policy.deadline_policy == "assume_success":
        assumed = move(command, BrewEvent.ASSUMED_DONE, now)
        return _made(order, command, assumed, Event.BREW_ASSUMED_DONE, "", now)
    return revoke(order, command, Reason.DEADLINE, now, policy, limits, refund_id)


def revoke(
    order: Order,
    command: BrewCommand,
    reason: Reason,
    now: datetime,
    policy: DriverPolicy,
    limits: Limits,
    refund_id: UUID,
) -> Outcome:
    """Take a command back for a reason: ask the machine where it may have it, give up at once where it has not."""
    if command.state in FINAL or command.state is BrewState.REVOKING:
        return Stale(f"the command is {command.state.value}")
    if command.state is BrewState.QUEUED:
        return _give_up(order, command, BrewEvent.WITHDRAWN, reason.value, now, refund_id)
    if not policy.revocable:
        return _give_up(order, command, BrewEvent.NO_ANSWER, reason.value, now, refund_id)
    revoke_by = now + timedelta(seconds=limits.revoke_timeout_s)
    moved = move(
        command,
        BrewEvent.REVOCATION_ASKED,
        now,
        will_be=reason.value,
        revoke_by=revoke_by,
        decide_at=revoke_by,
        next_send_at=now,
    )
    return _with(apply(order, Event.REVOCATION_ASKED, now, (WakeSender(),)), moved)


def _give_up(
    order: Order, command: BrewCommand, event: BrewEvent, reason: str, now: datetime, refund_id: UUID
) -> Outcome:
    moved = move(command, event, now)
    return _with(fail(order, Event.NO_ANSWER, reason, now, refund_id, _counted(reason, command)), moved)


def _counted(reason: str, command: BrewCommand) -> tuple[Effect, ...]:
    """Count a failure against the machine, unless people took the order back or the fault was on the way to it."""
    ours = (Reason.REFUNDED.value, Reason.STOPPED.value, Reason.CANCELED.value)
    return () if reason in ours or command.last_code == NOT_REACHED else (CountBrew(False),)


def _with(outcome: Outcome, command: BrewCommand | None) -> Outcome:
    if isinstance(outcome, Applied) and command is not None:
        return replace(outcome, command=command)
    return outcome if not isinstance(outcome, Applied) else Illegal("the command does not allow this")
