"""What commands do to a payout. Its source is debited when it becomes `pending`, and again at each retry."""

from billing_state_updater.domain import books
from billing_state_updater.domain.aggregates import Changes, Payout
from billing_state_updater.domain.outcomes import Applied, Duplicate, Illegal, Outcome, Poison, Stale, Step, Transfer
from copeck.contracts import commands, events

_TERMS = (
    "account",
    "amount_minor",
    "commission_minor",
    "currency",
    "provider",
    "shop",
    "recipient",
    "description",
    "references",
)
_CANCELABLE = frozenset({"draft", "awaiting_approval", "pending"})
_UNDERWAY = frozenset({"pending", "processing"})
_ENDED = frozenset({"failed", "canceled"})
_SOURCES = frozenset({"wallet", "merchant", "house"})


def request(payout: Payout, command: commands.PayoutRequest, balance: books.Balance) -> Outcome:
    """Make a payout: a draft, one that waits for approval, or one that goes at once."""
    terms: Changes = {name: getattr(command, name) for name in _TERMS}
    terms |= {"requested_by": command.actor, "needs_approval": command.needs_approval}
    if payout.version:
        same = all(getattr(payout, name) == terms[name] for name in _TERMS)
        return Duplicate() if same else Illegal("already_requested", "a payout with this id and other terms exists")
    if not books.is_account(command.account) or books.family(command.account) not in _SOURCES:
        return Illegal("unknown_source", f"{command.account} cannot be the source of a payout")
    if command.draft:
        return Applied((Step("drafted", terms, events.PayoutDrafted),))
    if command.needs_approval:
        return _wait(_with(payout, terms), terms, balance)
    return _go(_with(payout, terms), Step("requested", terms | {"attempt": 1}, events.PayoutPending), balance)


def _with(payout: Payout, terms: Changes) -> Payout:
    return Payout(id=payout.id, **{name: terms[name] for name in _TERMS})


def _debit(payout: Payout) -> tuple[Transfer, ...]:
    transfers = [
        Transfer(payout.account, books.PAYOUTS_IN_TRANSIT, payout.amount_minor, payout.currency, "payout"),
    ]
    if payout.commission_minor:
        transfers.append(
            Transfer(payout.account, books.COMMISSION, payout.commission_minor, payout.currency, "commission")
        )
    return tuple(transfers)


def _credit(payout: Payout) -> tuple[Transfer, ...]:
    return tuple(
        Transfer(transfer.credit, transfer.debit, transfer.amount_minor, transfer.currency, f"{transfer.kind}_reversal")
        for transfer in reversed(_debit(payout))
    )


def _go(payout: Payout, step: Step, balance: books.Balance) -> Outcome:
    """Debit the source and send the payout on its way; where the source is short, it fails with nothing debited."""
    return _lacking(payout, step) if _short(payout, balance) else Applied((step,), _debit(payout))


def _wait(payout: Payout, changes: Changes, balance: books.Balance) -> Outcome:
    """Let the payout wait for a second person; where the source is short already, nobody is asked and it fails."""
    step = Step("approval_requested", changes, events.PayoutApprovalRequested)
    return _lacking(payout, step) if _short(payout, balance) else Applied((step,))


def _lacking(payout: Payout, step: Step) -> Outcome:
    """Take a step and fail; it is announced only as the failure: nobody may begin to execute or approve it."""
    changes: Changes = {"last_error": "insufficient_funds", "attempt": payout.attempt}
    return Applied((Step(step.event, step.changes), Step("funds_lacking", changes, events.PayoutFailed)))


def _short(payout: Payout, balance: books.Balance) -> bool:
    if not books.is_materialised(payout.account):
        return False
    return balance(payout.account, payout.currency) < payout.amount_minor + payout.commission_minor


def submit(payout: Payout, balance: books.Balance) -> Outcome:
    """Send a draft on its way, by the second person where it needs one."""
    if payout.status != "draft":
        return Illegal("not_a_draft", f"a payout that is {payout.status} cannot be submitted")
    if payout.needs_approval:
        return _wait(payout, {}, balance)
    return _go(payout, Step("submitted", {"attempt": payout.attempt + 1}, events.PayoutPending), balance)


def approve(payout: Payout, command: commands.PayoutApprove, balance: books.Balance) -> Outcome:
    """Approve a payout that somebody else asked for."""
    if payout.status != "awaiting_approval":
        return Illegal("not_awaiting_approval", f"a payout that is {payout.status} cannot be approved")
    if not command.actor or command.actor == payout.requested_by:
        return Illegal("own_payout", "a payout is approved by somebody else than the one who asked for it")
    changes: Changes = {"approved_by": command.actor, "attempt": payout.attempt + 1}
    return _go(payout, Step("approved", changes, events.PayoutPending), balance)


def cancel(payout: Payout, command: commands.PayoutCancel) -> Outcome:
    """Call a payout off; what was debited goes back."""
    if payout.status == "canceled":
        return Duplicate()
    if payout.status not in _CANCELABLE:
        return Illegal("not_cancelable", f"a payout that is {payout.status} cannot be canceled")
    transfers = _credit(payout) if payout.status == "pending" else ()
    return Applied((Step("canceled", {"last_error": command.reason}, events.PayoutCanceled),), transfers)


def retry(payout: Payout, balance: books.Balance) -> Outcome:
    """Try a failed payout again; refused while the source is short or the outcome is not known.

    One that needs a second person and failed before anybody approved it waits for that person now.
    """
    if payout.outcome_unknown:
        return Illegal("outcome_unknown", "the provider has not said yet what became of the last try")
    if payout.status != "failed":
        return Illegal("not_failed", f"a payout that is {payout.status} cannot be retried")
    if _short(payout, balance):
        return Illegal("insufficient_funds", f"{payout.account} has less than the payout and its commission")
    changes: Changes = {"last_error": "", "transaction": ""}
    if payout.needs_approval and not payout.approved_by:
        return _wait(payout, changes, balance)
    return Applied((Step("retried", {"attempt": payout.attempt + 1} | changes, events.PayoutPending),), _debit(payout))


def report(payout: Payout, command: commands.PayoutReport, balance: books.Balance) -> Outcome:
    """Take the word of the one who executes the payout."""
    if not payout.version:
        return Poison("the payout is not known")
    if command.attempt != payout.attempt:
        if command.status == "completed":
            return Poison(f"attempt {command.attempt} was paid out, and the payout is at attempt {payout.attempt}")
        return Stale(f"the payout is at attempt {payout.attempt}")
    if command.status == "completed" and payout.status in _ENDED:
        return _completed(payout, command, _gone(payout, balance))
    if payout.status not in _UNDERWAY:
        same = payout.status == command.status
        return Duplicate() if same else Stale(f"the payout is {payout.status}")
    if command.status == "processing":
        return _processing(payout, command)
    if command.status == "unknown":
        if payout.outcome_unknown:
            return Duplicate()
        changes: Changes = {"outcome_unknown": True, "last_error": command.failure_code or "outcome_unknown"}
        return Applied((Step("outcome_unknown", changes, events.PayoutProcessing),))
    if command.status == "completed":
        return _completed(payout, command, ())
    lost: Changes = {
        "outcome_unknown": False,
        "transaction": command.transaction or payout.transaction,
        "last_error": command.failure_code or "failed",
    }
    return Applied((Step("failed", lost, events.PayoutFailed),), _credit(payout))


def _completed(payout: Payout, command: commands.PayoutReport, before: tuple[Transfer, ...]) -> Outcome:
    done: Changes = {
        "outcome_unknown": False,
        "last_error": "",
        "transaction": command.transaction or payout.transaction,
    }
    paid = Transfer(
        books.PAYOUTS_IN_TRANSIT,
        books.provider_account(payout.provider, payout.shop),
        payout.amount_minor,
        payout.currency,
        "payout_settlement",
    )
    return Applied((Step("completed", done, events.PayoutCompleted),), (*before, paid))


def _gone(payout: Payout, balance: books.Balance) -> tuple[Transfer, ...]:
    """Debit the source of a payout that was given back and was made after all; what a wallet lacks is our loss.

    The commission is taken where the whole is there: a customer does not pay for our mistake by halves.
    """
    if books.affordable(_debit(payout), balance):
        return _debit(payout)
    return books.taken_back(
        payout.account, books.PAYOUTS_IN_TRANSIT, payout.amount_minor, payout.currency, "payout", balance
    )


def _processing(payout: Payout, command: commands.PayoutReport) -> Outcome:
    if payout.status == "processing":
        return Duplicate()
    changes: Changes = {"transaction": command.transaction or payout.transaction}
    return Applied((Step("started", changes, events.PayoutProcessing),))
