"""Who may pay whom out of what, who must agree, and what may still be done to a payout. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from copeck.kernel.errors import DomainError, InvalidValueError
from copeck.kernel.money import Money

HOUSE = "house:payouts"
OWN_WALLET = "wallet"
REQUESTED = "requested"
STATUSES = (REQUESTED, "draft", "awaiting_approval", "pending", "processing", "completed", "failed", "canceled")
CANCELED_BEFORE_SENDING = "canceled_before_sending"
FINAL = frozenset({"completed", "failed", "canceled"})
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_MERCHANT = re.compile(f"merchant:({_UUID})")


class NotYoursError(DomainError):
    """The caller's roles do not reach this far."""

    type: ClassVar[str] = "forbidden"
    title: ClassVar[str] = "This is not allowed"
    status: ClassVar[int] = 403


class OwnPayoutError(DomainError):
    """Whoever asked for a payout does not approve it."""

    type: ClassVar[str] = "own-payout"
    title: ClassVar[str] = "A payout is approved by somebody else than who asked for it"
    status: ClassVar[int] = 403


class PayoutStatusError(DomainError):
    """The payout stands where this cannot be done to it."""

    type: ClassVar[str] = "payout-status"
    title: ClassVar[str] = "The payout's status does not allow this"


class OutcomeUnknownError(DomainError):
    """Nobody knows yet whether the recipient was paid, so nobody may pay again."""

    type: ClassVar[str] = "payout-outcome-unknown"
    title: ClassVar[str] = "The provider has not said yet what became of the last try"


class PartOfBatchError(DomainError):
    """The payout waits with its whole batch."""

    type: ClassVar[str] = "part-of-batch"
    title: ClassVar[str] = "The payout waits with its batch"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    user_id: UUID
    roles: frozenset[str]

    @property
    def actor(self) -> str:
        """The caller in commands and in the audit: the person, whatever they logged in with."""
        return f"user:{self.user_id}"

    @property
    def is_manager(self) -> bool:
        """Tell whether the caller may move the house's money."""
        return "manager" in self.roles

    @property
    def sees_all(self) -> bool:
        """Tell whether the caller may see everybody's payouts."""
        return not self.roles.isdisjoint({"manager", "operator"})

    @property
    def merchant_account(self) -> str | None:
        """The balance that the caller has as a merchant."""
        return f"merchant:{self.user_id}" if "merchant" in self.roles else None

    @property
    def wallet_account(self) -> str:
        """The caller's wallet."""
        return f"wallet:{self.user_id}"

    def sees(self, account: str, recipient_user_id: UUID | None) -> bool:
        """Tell whether the caller may see a payout of an account to a person."""
        if self.sees_all or account in (self.merchant_account, self.wallet_account):
            return True
        return "recipient" in self.roles and recipient_user_id == self.user_id

    def commands(self, account: str) -> bool:
        """Tell whether the caller may change payouts of an account."""
        return self.is_manager or (account == self.merchant_account)

    def cancels(self, account: str) -> bool:
        """Tell whether the caller may call payouts of an account off: owners their own withdrawals, too."""
        return self.commands(account) or account == self.wallet_account


def source_account(source: str, caller: Caller) -> str:
    """Return the account that a payout is made from; NotYoursError when it is not the caller's to spend."""
    if source == OWN_WALLET:
        return caller.wallet_account
    if source != HOUSE and not _MERCHANT.fullmatch(source):
        raise InvalidValueError(f"a source is {HOUSE}, merchant:<id of its user> or {OWN_WALLET}", "source")
    if not caller.commands(source):
        raise NotYoursError("Managers pay out from every account, merchants from their own balance", "source")
    return source


def needs_approval(amount: Money, above: Mapping[str, int]) -> bool:
    """Tell whether a second manager must agree; in a currency that has no limit, always."""
    return amount.minor > above.get(amount.currency, 0)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a payout stands, as far as rules ask. `decided`: the updater has taken it in."""

    status: str
    decided: bool
    requested_by: str
    draft: bool
    needs_approval: bool
    outcome_unknown: bool = False
    in_waiting_batch: bool = False
    sent: bool = False
    """Whether the provider may have heard of the present attempt."""

    @property
    def expected(self) -> str:
        """The status, or while the updater has not decided what it will be if nothing is wrong.

        Commands on one account are taken in their order, so that whoever is quick is not sent away.
        """
        if self.status != REQUESTED or self.decided:
            return self.status
        if self.draft:
            return "draft"
        return "awaiting_approval" if self.needs_approval else "pending"


def check_submit(now: Standing) -> None:
    """Refuse unless the payout is a draft."""
    _needs(now, "submitted", "draft")


def check_approve(now: Standing, caller: Caller) -> None:
    """Refuse unless the payout waits for somebody's agreement, and the caller is not who asked for it."""
    if now.in_waiting_batch:
        raise PartOfBatchError("Approve the batch: its payouts do not ask one by one")
    if now.requested_by == caller.actor:
        raise OwnPayoutError("You asked for this payout: another manager approves it")
    _needs(now, "approved", "awaiting_approval")


def check_cancel(now: Standing, caller: Caller) -> bool:
    """Refuse once the payout has started: from then on only the provider's answer ends it.

    True when it is under way by the updater's word: a manager may stop that as long as its try was not sent, which is
    seen with the try locked.
    """
    if now.in_waiting_batch:
        raise PartOfBatchError("Cancel the batch: its payouts have not been sent yet")
    if now.expected == "pending" and now.sent:
        raise PayoutStatusError("The payout has been sent to the provider already")
    if now.expected == "processing" and caller.is_manager:
        return True
    _needs(now, "canceled", "draft", "awaiting_approval", "pending")
    return False


def check_retry(now: Standing) -> None:
    """Refuse unless the payout failed for certain."""
    if now.outcome_unknown:
        raise OutcomeUnknownError("It is being asked about; retry once it has failed")
    if not now.decided:
        raise PayoutStatusError("The payout was refused as it was asked for, so there is nothing to try again")
    _needs(now, "tried again", "failed")


def check_delete(now: Standing) -> bool:
    """Refuse unless the payout is a draft or canceled; True when it is to be canceled first."""
    if now.in_waiting_batch:
        raise PartOfBatchError("Cancel the batch first")
    _needs(now, "deleted", "draft", "canceled")
    return now.expected == "draft"


def _needs(now: Standing, done: str, *statuses: str) -> None:
    if now.expected not in statuses:
        raise PayoutStatusError(f"A payout that is {now.expected} cannot be {done}; it must be {' or '.join(statuses)}")


_WORDS = {
    "insufficient_funds": "The source had less than the payout and its commission; nothing was debited",
    "unknown_source": "The source cannot make payouts",
    "already_requested": "A payout with this id and other terms exists",
    "outcome_unknown": "The provider has not said what became of it; it is being asked",
    "insufficient_balance": "The provider's balance is too low",
    "batch_canceled": "The batch was canceled before it was sent",
    CANCELED_BEFORE_SENDING: "A manager stopped it before anything was sent to the provider",
    "rejected": "The provider refused",
    "declined": "The provider refused",
    "provider_unavailable": "It was tried as often as is allowed; the provider never took it",
    "recipient_unreadable": "The recipient's details cannot be read any more: ask for the payout anew",
    "recipient_not_supported": "The provider does not reach recipients of this kind",
    "recipient_blocked": "The provider does not pay this recipient",
    "payouts_not_supported": "The provider sends no money out",
    "failed": "The provider could not make it",
}


def words_of(code: str) -> str:
    """Say what a code of failure means to a clerk; the provider's own reason stands beside it."""
    # Numbers are a provider's own; its words for them stand beside.
    return _WORDS.get("rejected" if code.isdigit() else code, "The payout was refused" if code else "")
