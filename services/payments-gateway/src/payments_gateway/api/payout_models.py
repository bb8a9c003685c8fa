"""What the API of payouts takes and gives."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from copeck.kernel.money import Money
from copeck.web.models import AnswerModel, StrictModel
from copeck.web.money import MoneyModel
from payments_gateway.domain import payouts as rules
from payments_gateway.domain.hindrances import Hindrance, hindrance_of
from payments_gateway.domain.payouts import Caller
from payments_gateway.domain.recipients import NAME_CHARS_MAX, RecipientKind
from payments_gateway.handlers.payout_commands import version_of
from payments_gateway.handlers.payouts import url_of
from payments_gateway.store.audit import AuditEntry
from payments_gateway.store.payouts import Event, Refusal, SeenPayout

StatusName = Literal[
    "requested", "draft", "awaiting_approval", "pending", "processing", "completed", "failed", "canceled"
]
Description = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
_SOURCE = r"^(house:payouts|wallet|merchant:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$"
Source = Annotated[
    str,
    Field(
        pattern=_SOURCE,
        max_length=60,
        examples=["house:payouts"],
        description="`house:payouts`, `merchant:<id of its user>`, or `wallet`: the caller's own.",
    ),
]
_Detail = Annotated[str | None, Field(max_length=200)]


LastError = Annotated[
    str | None, Field(description="A word for programs, such as `insufficient_funds`; `failure` explains it.")
]


class RecipientModel(StrictModel):
    """Where the money goes. Members that the kind does not have are refused, and so is a card's number."""

    kind: RecipientKind
    token: _Detail = Field(default=None, description="`card_token`: the token of a saved card.")
    phone: _Detail = Field(default=None, description="`sbp`: a phone number as +79001234567.")
    bank_id: _Detail = Field(default=None, description="`sbp`: the bank's id in the fast payment system.")
    account: _Detail = Field(default=None, description="`account`: 20 digits.")
    bic: _Detail = Field(default=None, description="`account`: 9 digits.")
    name: Annotated[str | None, Field(max_length=NAME_CHARS_MAX)] = Field(
        default=None, description="The holder's name; needed with an account."
    )


class PayoutCreate(StrictModel):
    """A payout to be made."""

    source: Source
    amount: MoneyModel
    recipient: RecipientModel
    recipient_user_id: UUID | None = Field(default=None, description="The user who is paid, who may then see it.")
    description: Description = ""
    draft: bool = Field(default=False, description="True: it waits to be submitted.")
    provider: Annotated[str | None, Field(pattern="^[a-z0-9_]{1,32}$")] = Field(
        default=None, description="Sandbox only; else the first shop that pays such recipients."
    )


class PayoutChange(StrictModel):
    """What may be changed of a payout."""

    description: Description


class CancelPayout(StrictModel):
    """Why a payout is called off."""

    reason: Description = ""


class FailureModel(AnswerModel):
    """Why a payout failed, or what stands in its way, for people."""

    code: str = Field(description="As `last_error`.")
    words: str = Field(description="What the code means.")
    reason: str = Field(description="What the provider or the updater said, as it was said; empty when nothing was.")


class RecipientShown(AnswerModel):
    """A recipient, masked."""

    kind: RecipientKind
    masked: str = Field(examples=["SBP +7******4567, bank 100000000004"])


class AcceptedPayout(AnswerModel):
    """A payout that was asked for. The same key gets the same answer; `url` tells how it goes on."""

    id: UUID
    status: StatusName
    source: str
    amount: MoneyModel
    commission: MoneyModel
    recipient: str
    last_error: LastError
    failure: FailureModel | None
    url: str


class CommandAnswer(AnswerModel):
    """Something that was asked for of a payout."""

    id: UUID
    command_id: UUID
    status: StatusName = Field(description="How the payout stands now.")
    last_error: LastError
    failure: FailureModel | None
    url: str


class StepModel(AnswerModel):
    """One step of a payout, one deed of a person, or `refused`: why the updater did not do what a deed asked for."""

    at: datetime
    event: str
    status: str | None = None
    actor: str | None = Field(default=None, description="Shown to managers, and to the merchant whose balance it is.")
    detail: dict[str, Any] = Field(default_factory=dict)


class PayoutModel(AnswerModel):
    """A payout as a clerk sees it."""

    id: UUID
    status: StatusName
    source: str
    amount: MoneyModel
    commission: MoneyModel = Field(description="Taken from the source beside the amount.")
    recipient: RecipientShown
    recipient_user_id: UUID | None
    description: str
    provider: str
    shop: str
    draft: bool
    needs_approval: bool
    attempts: int = Field(description="How many times the source was debited for it, or was too short for it.")
    tries: int = Field(description="How many times the provider was called in the last attempt.")
    last_error: LastError
    failure: FailureModel | None
    outcome_unknown: bool = Field(description="True: the provider has not said what became of it.")
    next_retry_at: datetime | None
    transaction: str = Field(description="The provider's id of the transfer.")
    batch_id: UUID | None
    batch_line: int | None
    requested_by: str | None
    approved_by: str | None
    requested_at: datetime
    updated_at: datetime
    version: int
    url: str


class PayoutHistoryModel(PayoutModel):
    """A payout with everything that happened to it, in the order of time."""

    history: list[StepModel]


def failure_of(found: SeenPayout) -> FailureModel | None:
    """Return why a payout failed, or what stands in its way: our word, what it means, and what was said."""
    if found.status not in rules.FINAL:
        hindrance = hindrance_of(found.failure_reason, outcome_unknown=found.outcome_unknown)
        if hindrance is not None:
            return shown_hindrance(hindrance)
    code = found.last_error
    if not code or found.status == "canceled":
        return None
    reason = found.refused_reason if found.state_version == 0 else found.failure_reason
    return FailureModel(code=code, words=rules.words_of(code), reason=(reason or "")[:500])


def shown_hindrance(hindrance: Hindrance) -> FailureModel:
    """Show what stands in the way of a payout or a payment that goes on by itself."""
    return FailureModel(code=hindrance.code, words=hindrance.words, reason=hindrance.reason[:500])


def money(minor: int, currency: str) -> MoneyModel:
    """Show minor units."""
    return MoneyModel.of(Money(minor, currency))


def values_of(found: SeenPayout, caller: Caller) -> dict[str, Any]:
    """Return the members of a payout; people are shown to those who command it."""
    people = caller.sees_all or caller.commands(found.account)
    failure = failure_of(found)
    return {
        "id": found.payout_id,
        "status": found.status,
        "source": found.account,
        "amount": money(found.amount_minor, found.currency),
        "commission": money(found.commission_minor, found.currency),
        "recipient": RecipientShown(kind=RecipientKind(found.recipient_kind), masked=found.recipient_masked),
        "last_error": failure.code if failure else None,
        "failure": failure,
        "attempts": found.attempt,
        "next_retry_at": found.next_at,
        "requested_by": found.requested_by if people else None,
        "approved_by": (found.approved_by or found.batch_approved_by or None) if people else None,
        "version": version_of(found),
        "url": url_of(found.payout_id),
        **{name: getattr(found, name) for name in _PLAIN},
    }


_PLAIN = (
    "recipient_user_id", "description", "provider", "shop", "draft", "needs_approval", "tries",
    "outcome_unknown", "transaction", "batch_id", "batch_line", "requested_at", "updated_at",
)  # fmt: skip


def commands_of(deeds: Iterable[AuditEntry]) -> dict[UUID, AuditEntry]:
    """Return the deeds that became commands of the updater, by their commands' ids."""
    return {UUID(deed.detail["command_id"]): deed for deed in deeds if "command_id" in deed.detail}


def history_of(
    found: SeenPayout,
    caller: Caller,
    events: list[Event],
    deeds: list[AuditEntry],
    refusals: Mapping[UUID, Refusal],
) -> list[StepModel]:
    """Put the steps of the State Storage, people's deeds and what the updater refused of them into one list."""
    people = caller.sees_all or caller.commands(found.account)
    steps = [
        StepModel(
            at=event.at,
            event=event.event,
            status=event.status,
            actor=event.actor or None if people else None,
            detail={name: event.changes[name] for name in _CHANGES if event.changes.get(name)},
        )
        for event in events
    ]
    if people:
        steps += [StepModel(at=deed.at, event=deed.action, actor=deed.actor, detail=deed.detail) for deed in deeds]
        # Whoever did not wait for the answer, or another clerk, finds here why nothing came of a deed.
        steps += [
            StepModel(at=said.at, event="refused", detail=_refused(command_id, deed, said))
            for command_id, deed in commands_of(deeds).items()
            if (said := refusals.get(command_id)) is not None
        ]
    steps.append(StepModel(at=found.requested_at, event="asked_for", actor=found.requested_by if people else None))
    return sorted(steps, key=lambda step: step.at)


def _refused(command_id: UUID, deed: AuditEntry, said: Refusal) -> dict[str, str]:
    return {
        "command_id": str(command_id),
        "asked_for": deed.action,
        "code": said.code,
        "reason": said.detail[:500],
    }


_CHANGES = ("attempt", "last_error", "transaction", "outcome_unknown")
