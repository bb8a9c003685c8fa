"""I-10: brewed once, or refunded in full; before the money goes back, the machine is asked."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from device_bridge.domain import brews
from device_bridge.domain.brewing import BrewEvent, BrewState
from device_bridge.domain.drivers import NOT_TAKEN, DriverPolicy
from device_bridge.domain.machine import Event, Reason, Status
from device_bridge.domain.model import BrewCommand, Order, RefundStatus
from device_bridge.domain.outcomes import Applied, CountBrew, OpenIncident, Outcome, RefundInvoice, Stale, TellBuyer
from tests.support.cups import DOUBTFUL, LIMITS, NOW, REFUND_ID, SILENT, TALKATIVE, brewing

pytestmark = pytest.mark.unit

REFUND = RefundInvoice


class Cup:
    """An order and its command, led from decision to decision."""

    def __init__(self, policy: DriverPolicy = TALKATIVE) -> None:
        self.policy = policy
        self.order, self.command = brewing()
        self.effects: list[object] = []
        self.events: list[Event] = []

    def _take(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Applied):
            self.order = outcome.order
            self.command = outcome.command or self.command
            self.effects += outcome.effects
            self.events += [step.event for step in outcome.steps]
        return outcome

    def send(self, after_s: float = 0) -> BrewCommand | None:
        sent = brews.sending(self.command, at(after_s), self.policy)
        if sent is not None:
            self.command = sent
        return sent

    def says(self, event: str, after_s: float = 1, code: str = "") -> Outcome:
        return self._take(
            brews.reported(
                self.order, self.command, BrewEvent(event), code, at(after_s), self.policy, LIMITS, REFUND_ID
            )
        )

    def time(self, after_s: float) -> Outcome:
        return self._take(brews.due(self.order, self.command, at(after_s), self.policy, LIMITS, REFUND_ID))

    def refunds(self) -> list[str]:
        return [effect.reason for effect in self.effects if isinstance(effect, RefundInvoice)]

    def ends(self) -> tuple[str, str, str]:
        return self.order.status.value, self.order.reason, self.command.state.value


def at(after_s: float) -> datetime:
    return NOW + timedelta(seconds=after_s)


def test_brewed() -> None:
    cup = Cup()
    cup.send()
    for word in ("accepted", "started", "done"):
        cup.says(word)
    assert cup.ends() == ("successful", "", "done")
    assert cup.refunds() == []
    assert CountBrew(True) in cup.effects
    assert TellBuyer("receipt") in cup.effects
    assert (cup.command.finished_at, cup.command.next_send_at, cup.command.decide_at) == (at(1), None, None)


def test_done_is_enough() -> None:
    cup = Cup()
    cup.send()
    cup.says("done")
    assert cup.ends() == ("successful", "", "done")


@pytest.mark.parametrize(("word", "reason"), [("failed", "brew_failed"), ("rejected", "machine_rejected")])
def test_a_machine_that_did_not_make_it_is_not_asked_again(word: str, reason: str) -> None:
    """Defect: a failed make was never refunded."""
    cup = Cup()
    cup.send()
    cup.says(word, code="no_water")
    assert cup.ends() == ("failed", reason, word)
    assert cup.refunds() == [reason]
    assert CountBrew(False) in cup.effects
    assert cup.command.last_code == "no_water"


def test_the_same_command_is_sent_until_it_is_accepted() -> None:
    cup = Cup()
    command_id = cup.command.id
    assert cup.send() is not None
    assert cup.send(after_s=4) is None, "not yet"
    assert cup.send(after_s=5) is not None
    assert (cup.command.id, cup.command.sent_count) == (command_id, 2)
    cup.says("accepted", after_s=6)
    assert cup.command.next_send_at is None
    assert cup.send(after_s=60) is None


def test_nothing_is_sent_after_its_expiry() -> None:
    cup = Cup()
    assert cup.send(after_s=60) is None
    assert cup.send(after_s=59.9) is not None


def test_nothing_was_ever_sent() -> None:
    cup = Cup()
    cup.time(60)
    assert cup.ends() == ("failed", "no_answer", "expired")
    assert cup.refunds() == ["no_answer"]


def test_no_answer_means_that_the_machine_is_asked_first() -> None:
    cup = Cup()
    cup.send()
    assert isinstance(cup.time(59), Stale)
    cup.time(60)
    assert cup.command.state is BrewState.REVOKING
    assert cup.order.status is Status.MAKE_PENDING
    assert cup.refunds() == []
    assert (cup.command.next_send_at, cup.command.revoke_by) == (at(60), at(70))
    assert cup.send(after_s=60) is not None, "the revocation is sent, again and again"
    assert cup.command.next_send_at == at(62)
    assert isinstance(cup.time(69), Stale)
    cup.time(70)
    assert cup.ends() == ("failed", "no_answer", "expired")
    assert cup.refunds() == ["no_answer"]


def test_an_accepted_command_has_until_its_deadline() -> None:
    cup = Cup()
    cup.send()
    cup.says("accepted")
    assert cup.command.decide_at == at(180)
    assert isinstance(cup.time(179), Stale)
    cup.time(180)
    assert (cup.command.state, cup.command.will_be) == (BrewState.REVOKING, "deadline")


@pytest.mark.parametrize(
    ("word", "expected", "refunds"),
    [
        ("revoked", ("failed", "deadline", "revoked"), ["deadline"]),
        ("done", ("successful", "", "done"), []),
        ("failed", ("failed", "brew_failed", "failed"), ["brew_failed"]),
        ("rejected", ("failed", "deadline", "rejected"), ["deadline"]),
    ],
)
def test_the_answer_to_a_revocation_decides(word: str, expected: tuple[str, str, str], refunds: list[str]) -> None:
    cup = Cup()
    cup.send()
    cup.says("accepted")
    cup.time(180)
    cup.says(word, after_s=181)
    assert cup.ends() == expected
    assert cup.refunds() == refunds


def test_a_machine_that_is_at_it_gets_some_time_more_but_not_for_ever() -> None:
    cup = Cup()
    cup.send()
    cup.says("accepted")
    cup.time(180)
    cup.says("started", after_s=185)
    assert cup.command.revoke_by == at(245)
    cup.says("started", after_s=240)
    assert cup.command.revoke_by == at(250), "180 + 10 + 60 at the latest"
    assert isinstance(cup.time(249), Stale)
    cup.time(250)
    assert cup.ends() == ("failed", "deadline", "expired")


@pytest.mark.parametrize("end", ["no_answer", "revoked", "rejected", "failed"])
def test_done_after_the_refund_is_an_incident(end: str) -> None:
    cup = Cup()
    cup.send()
    if end == "no_answer":
        cup.time(60)
        cup.time(70)
    elif end == "revoked":
        cup.time(60)
        cup.says("revoked", after_s=61)
    else:
        cup.says(end)
    before = cup.order
    assert before.status is Status.FAILED
    outcome = cup.says("done", after_s=300)
    assert isinstance(outcome, Applied)
    assert cup.order == before
    assert [effect.kind for effect in cup.effects if isinstance(effect, OpenIncident)] == ["done_after_refund"]
    assert len(cup.refunds()) == 1


def test_a_rejected_repeat_says_nothing_of_the_cup() -> None:
    """A machine that rebooted in the middle rejects the repeat as expired; the cup may have been made all the same."""
    cup = Cup()
    cup.send()
    cup.says("started")
    assert isinstance(cup.says("rejected", code="expired"), Stale)
    assert cup.order.status is Status.MAKE_PENDING


@pytest.mark.parametrize("word", ["failed", "started", "accepted", "revoked", "rejected"])
def test_nothing_undoes_a_cup(word: str) -> None:
    cup = Cup()
    cup.send()
    cup.says("done")
    assert isinstance(cup.says(word), Stale)
    assert cup.refunds() == []


@pytest.mark.parametrize(
    ("refund_status", "incidents"),
    [(None, []), ("requested", ["done_after_refund"]), ("succeeded", ["done_after_refund"]), ("failed", [])],
)
@pytest.mark.parametrize("policy", [TALKATIVE, SILENT])
def test_a_cup_that_somebody_else_gave_the_money_of_back(
    policy: DriverPolicy, refund_status: RefundStatus | None, incidents: list[str]
) -> None:
    """Defect: the cup and the money were both given away, and nobody was told."""
    cup = Cup(policy)
    cup.send()
    cup.says("accepted")
    cup.order = replace(cup.order, refund_status=refund_status, refund_id=REFUND_ID)
    if policy is SILENT:
        cup.time(46)
    else:
        cup.says("done", after_s=2)
    assert cup.ends() == ("successful", "", "done")
    assert [effect.kind for effect in cup.effects if isinstance(effect, OpenIncident)] == incidents
    assert cup.refunds() == []


# Models that do not say when they have done it.


def test_a_silent_machine_has_done_it_by_its_policy() -> None:
    """Defect: `successful` was never set, for no report of the machine existed."""
    cup = Cup(SILENT)
    cup.send()
    cup.says("accepted", after_s=2)
    assert cup.command.decide_at == at(47)
    assert isinstance(cup.time(46), Stale)
    cup.time(47)
    assert cup.ends() == ("successful", "", "done")
    assert cup.events[-1] is Event.BREW_ASSUMED_DONE


def test_an_assumption_is_never_later_than_the_deadline() -> None:
    cup = Cup(replace(SILENT, assumed_after_s=3600))
    cup.send()
    cup.says("accepted")
    assert cup.command.decide_at == at(180)


def test_a_model_that_deserves_no_trust_is_refunded_at_the_deadline() -> None:
    cup = Cup(DOUBTFUL)
    cup.send()
    cup.says("accepted")
    cup.time(180)
    assert cup.ends() == ("failed", "deadline", "expired")
    assert cup.refunds() == ["deadline"]


def test_what_the_machine_would_not_recognise_is_handed_on_once() -> None:
    cup = Cup(SILENT)
    assert cup.send() is not None
    assert cup.command.next_send_at is None
    assert cup.send(after_s=30) is None
    cup.time(60)
    assert cup.ends() == ("failed", "no_answer", "expired")


@pytest.mark.parametrize(("sent_s", "decided_s"), [(0, 60), (39, 60), (41, 61), (59.9, 79.9)])
def test_the_deadline_waits_for_a_call_that_cannot_be_taken_back(sent_s: float, decided_s: float) -> None:
    """Defect: the money went back while the call was under way, and the machine made the cup."""
    cup = Cup(SILENT)
    assert cup.send(after_s=sent_s) is not None
    assert cup.command.decide_at == at(decided_s)
    assert isinstance(cup.time(decided_s - 0.1), Stale)
    cup.time(decided_s)
    assert cup.refunds() == ["no_answer"]


def test_a_machine_that_can_be_asked_does_not_move_the_deadline() -> None:
    cup = Cup()
    cup.send(after_s=59)
    assert cup.command.decide_at == at(60)


@pytest.mark.parametrize(("policy", "incidents"), [(SILENT, ["accepted"]), (DOUBTFUL, ["accepted"]), (TALKATIVE, [])])
def test_a_consent_after_the_refund_is_an_incident_where_nothing_more_is_ever_said(
    policy: DriverPolicy, incidents: list[str]
) -> None:
    cup = Cup(policy)
    cup.send()
    cup.time(60)
    cup.time(70)
    assert cup.order.status is Status.FAILED
    cup.says("accepted", after_s=71)
    opened = [effect for effect in cup.effects if isinstance(effect, OpenIncident)]
    assert [(one.kind, one.detail["said"]) for one in opened] == [("done_after_refund", said) for said in incidents]
    assert cup.refunds() == ["no_answer"]


def test_what_was_certainly_not_handed_on_is_tried_again() -> None:
    cup = Cup(SILENT)
    cup.send()
    again = brews.unreachable(cup.command, "broker", at(1))
    assert again is not None
    cup.command = again
    assert cup.send(after_s=2) is not None
    assert cup.command.last_code == ""


def test_what_never_reached_the_machine_is_not_its_failure() -> None:
    """Defect: an outage of ours stopped machines that had done nothing wrong."""
    cup = Cup()
    cup.send()
    again = brews.unreachable(cup.command, "broker", at(1))
    assert again is not None
    cup.command = again
    cup.time(60)
    cup.time(71)
    assert cup.ends() == ("failed", "no_answer", "expired")
    assert cup.refunds() == ["no_answer"]
    assert CountBrew(False) not in cup.effects


def test_a_machine_that_is_not_there_to_take_a_frame_fails() -> None:
    """It has to stop selling: nothing else tells that it is unplugged."""
    cup = Cup(SILENT)
    cup.send()
    again = brews.unreachable(cup.command, NOT_TAKEN, at(1))
    assert again is not None
    cup.command = again
    cup.time(60)
    assert cup.order.status is Status.FAILED
    assert CountBrew(False) in cup.effects


def test_a_task_that_comes_twice_sends_once() -> None:
    cup = Cup(SILENT)
    waiting = brews.wait_for_worker(cup.command, NOW, timedelta(seconds=20))
    first = brews.sending_by_worker(waiting, at(3), SILENT)
    assert first is not None
    assert brews.sending_by_worker(first, at(4), SILENT) is None


# Orders that people take back.


def take_back(order: Order, command: BrewCommand, policy: DriverPolicy = TALKATIVE) -> Outcome:
    return brews.revoke(order, command, Reason.REFUNDED, NOW, policy, LIMITS, REFUND_ID)


def test_a_refund_by_somebody_else_takes_the_command_back() -> None:
    cup = Cup()
    cup.send()
    cup.order = replace(cup.order, refund_status="requested", refund_id=REFUND_ID)
    outcome = take_back(cup.order, cup.command)
    assert isinstance(outcome, Applied)
    assert outcome.command is not None
    revoked = brews.reported(outcome.order, outcome.command, BrewEvent.REVOKED, "", at(1), TALKATIVE, LIMITS, REFUND_ID)
    assert isinstance(revoked, Applied)
    assert (revoked.order.status, revoked.order.reason) == (Status.FAILED, "refunded")
    assert revoked.effects == (), "no second refund, and no fault of the machine"


def test_a_revocation_is_asked_for_once() -> None:
    cup = Cup()
    cup.send()
    outcome = take_back(cup.order, cup.command)
    assert isinstance(outcome, Applied)
    assert outcome.command is not None
    assert isinstance(take_back(outcome.order, outcome.command), Stale)
