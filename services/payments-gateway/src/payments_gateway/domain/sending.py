"""Whether money may be sent now: what is looked at before a provider is called for the first time. Pure."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random

from copeck.kernel.money import Money
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus

BALANCE_SHORT = "provider_balance_short"
NO_SHOP = "the shop is not configured"
SUPERSEDED = "superseded"
_BALANCE_KEPT_S = 1.0
_PUT_OFF_LEAST_S, _PUT_OFF_MOST_S = 1.0, 60.0
_jitter = Random()  # noqa: S311 - spreads retries, guards nothing


@dataclass(frozen=True, slots=True)
class PayoutState:
    """Where a payout stands by the updater's word."""

    status: str
    attempt: int


class Start(StrEnum):
    """What to do with a payout that was not sent yet."""

    GO = "go"
    ANNOUNCE = "announce"
    WAIT = "wait"
    SUPERSEDED = "superseded"


def start_of(operation: Operation, state: PayoutState | None) -> Start:
    """Decide whether a payout may be sent: only once the updater says that it is under way, so that nobody cancels it.

    A payout that is `pending` can still be called off. The updater is told `processing` first; when it has taken that,
    no cancel is accepted any more, and only then is money sent. A cancel that came first makes the report stale.
    """
    if state is None or operation.payout_attempt is None or state.attempt < operation.payout_attempt:
        return Start.WAIT
    if state.attempt > operation.payout_attempt:
        return Start.SUPERSEDED
    if state.status == "processing":
        return Start.GO
    if state.status == "pending":
        return Start.WAIT if operation.reported else Start.ANNOUNCE
    return Start.SUPERSEDED


def sends_first(operation: Operation) -> bool:
    """Tell whether the next try is certainly the first call."""
    return operation.status is OperationStatus.READY and operation.kind is not OperationKind.STATUS_QUERY


def repeatable(operation: Operation, now: datetime, keys_remembered: timedelta, settles_after: timedelta) -> bool:
    """Tell whether a call that the provider knows nothing of may be made again, under the same key.

    While the provider remembers the key, a repeat has no second effect. Near the end of that memory and after it only
    the question by reference protects, and it sees nothing of a call still under way: the last one must be over.
    """
    first, last = operation.first_sent_at, operation.updated_at
    if first is None or now < first + keys_remembered - settles_after:
        return True
    return last is not None and now >= last + settles_after


def refund_repeatable(operation: Operation, now: datetime, keys_remembered: timedelta) -> bool:
    """Tell whether a refund's call may be made again although nobody knows whether an earlier one was executed.

    While the provider remembers the key, it answers with the refund that it made then. One that it has named needs no
    such call: it can be asked about.
    """
    sent_at = operation.first_sent_at or operation.created_at
    return operation.result_transaction_id is None and now < sent_at + keys_remembered


def put_off_s(operation: Operation, now: datetime, cap_s: float, random: Random = _jitter) -> float:
    """Return when to look again at an operation that waits for others: seldomer the longer it has waited."""
    age_s = (now - operation.created_at).total_seconds()
    longest_s = min(cap_s, max(_PUT_OFF_LEAST_S, min(age_s / 4, _PUT_OFF_MOST_S)))
    return random.uniform(longest_s / 2, longest_s)


@dataclass(slots=True)
class Balances:
    """What providers said that payouts can be made from, less what was sent since; believed for a second."""

    _known: dict[tuple[str, str, str], tuple[float, Money | None]] = field(default_factory=dict)

    def fresh(self, key: tuple[str, str, str], monotonic_s: float) -> bool:
        """Tell whether a balance (provider, shop, currency) was asked for lately."""
        known = self._known.get(key)
        return known is not None and monotonic_s - known[0] < _BALANCE_KEPT_S

    def learn(self, key: tuple[str, str, str], balance: Money | None, monotonic_s: float) -> None:
        """Keep what the provider said; None: it does not say, and nothing is held back."""
        self._known[key] = (monotonic_s, balance)

    def enough(self, key: tuple[str, str, str], amount: Money) -> bool:
        """Tell whether an amount could be sent now."""
        _, left = self._known.get(key, (0.0, None))
        return left is None or not left < amount

    def take(self, key: tuple[str, str, str], amount: Money) -> bool:
        """Count an amount as sent; False when there is too little."""
        if not self.enough(key, amount):
            return False
        at, left = self._known.get(key, (0.0, None))
        if left is not None:
            self._known[key] = (at, left - amount)
        return True
