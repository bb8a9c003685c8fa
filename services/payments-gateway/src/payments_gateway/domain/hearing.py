"""Taking in what a provider says of a payment, whoever heard it: a callback, the janitor, an operation's answer. Pure.

A statement is (transaction, status). The first time it is heard it moves our attempt and becomes a report to the
updater; every further time it has no effect, because it is kept for ever.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from payments_gateway.domain.attempts import FINISHED, advance
from payments_gateway.domain.invoices import Invoice
from payments_gateway.domain.models import Attempt
from payments_gateway.domain.provider import AttemptStatus, Shop

STATEMENTS = frozenset(
    {AttemptStatus.AUTHORIZED, AttemptStatus.SUCCEEDED, AttemptStatus.FAILED, AttemptStatus.CANCELED}
)
"""Statuses that are statements; others say only that a transaction is under way."""

_MAY_HOLD = frozenset({AttemptStatus.PENDING, AttemptStatus.UNKNOWN, AttemptStatus.AUTHORIZED})

TransactionKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Statement:
    """What a provider says of one transaction of an invoice."""

    transaction_id: str
    status: AttemptStatus
    amount: Money
    payment_id: UUID | None = None
    method: str = ""
    failure_code: str = ""
    failure_reason: str = ""
    decline: str | None = None


@dataclass(slots=True)
class Known:
    """An invoice with its attempts and the statements heard of them; what is heard next is added to it."""

    invoice: Invoice
    attempts: dict[UUID, Attempt] = field(default_factory=dict)
    heard: set[tuple[TransactionKey, str]] = field(default_factory=set)

    def bound_to(self, shop: Shop, transaction_id: str) -> Attempt | None:
        """Return the attempt that a transaction belongs to."""
        key = (shop.provider, shop.shop, transaction_id)
        return next((item for item in self.attempts.values() if _key(item) == key), None)


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of a statement. `news` is false when it was heard before; `report` says that the updater is told.

    `open` says that the janitor has to ask about the attempt from now on: it is new, or it had ended and holds money.
    """

    attempt: Attempt
    news: bool
    report: bool
    bound: bool
    open: bool


def hear(known: Known, shop: Shop, said: Statement, now: datetime) -> Heard:
    """Take a statement in: find or make its attempt, and move it. `known` is changed, for the next statement."""
    attempt, bound, created = _attempt_of(known, shop, said, now)
    fact = ((shop.provider, shop.shop, said.transaction_id), said.status.value)
    is_statement = said.status in STATEMENTS
    if is_statement and fact in known.heard:
        return Heard(attempt, news=False, report=False, bound=bound, open=created)
    status = advance(attempt.status, said.status)
    moved = status is said.status
    changed = replace(
        attempt,
        status=status,
        method=said.method or attempt.method,
        failure_code=said.failure_code if moved else attempt.failure_code,
        failure_reason=said.failure_reason if moved else attempt.failure_reason,
        decline=said.decline if moved else attempt.decline,
    )
    if is_statement:
        known.heard.add(fact)
    known.attempts[changed.payment_id] = changed
    # That a payment has begun is told once; later news of a transaction under way is none.
    report = is_statement or (attempt.status is AttemptStatus.CREATED and status is AttemptStatus.PENDING)
    # Nobody asks any more about what has failed: a hold that is told after that would be captured or released never.
    opened = created or (attempt.status in FINISHED and status not in FINISHED)
    return Heard(changed, news=is_statement or changed != attempt, report=report, bound=bound, open=opened)


def _attempt_of(known: Known, shop: Shop, said: Statement, now: datetime) -> tuple[Attempt, bool, bool]:
    """Return the attempt of a transaction: the bound one, else the free one that it names, else a new one.

    A widget may try several cards under one of our attempts: the second transaction gets an attempt of its own. So does
    one that holds money, or may come to, and names an attempt which was given up: of that one no hold is believed, and
    nobody would end it.
    """
    attempt = known.bound_to(shop, said.transaction_id)
    if attempt is not None:
        return attempt, False, False
    named = known.attempts.get(said.payment_id) if said.payment_id else None
    if (
        named is not None
        and named.transaction_id is None
        and not (named.status is AttemptStatus.CANCELED and said.status in _MAY_HOLD)
        and (named.provider, named.shop) == (shop.provider, shop.shop)
    ):
        return replace(named, transaction_id=said.transaction_id), True, False
    attempt = replace(new_attempt(shop, known.invoice, said.amount, now), transaction_id=said.transaction_id)
    return attempt, True, True


def new_attempt(shop: Shop, invoice: Invoice, amount: Money, now: datetime) -> Attempt:
    """Make an attempt that nobody has reported yet."""
    return Attempt(
        payment_id=new_id(),
        invoice_id=invoice.invoice_id,
        account=invoice.account,
        provider=shop.provider,
        shop=shop.shop,
        amount=amount,
        status=AttemptStatus.CREATED,
        created_at=now,
    )


def _key(attempt: Attempt) -> TransactionKey | None:
    if attempt.transaction_id is None:
        return None
    return attempt.provider, attempt.shop, attempt.transaction_id
