"""Asking for payouts. Requests that arrive while a commit is under way share the next one."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts import commands
from copeck.contracts.envelope import Envelope
from copeck.kernel.errors import DomainError, InvalidValueError
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from copeck.storage.idempotency import Claim, StoredAnswer
from payments_gateway.domain import recipients
from payments_gateway.domain.commissions import CommissionKind, commission_minor, rule_for
from payments_gateway.domain.payouts import REQUESTED, Caller, needs_approval
from payments_gateway.domain.provider import Shop
from payments_gateway.domain.recipients import Recipient, RecipientKind
from payments_gateway.domain.switches import PAYOUTS, Stopped, Switch, provider_switch
from payments_gateway.handlers.context import SOURCE, Context
from payments_gateway.handlers.group import GroupCommit
from payments_gateway.store import commissions, payout_requests, switches
from payments_gateway.store.payout_requests import PayoutRequestRow

URL = "/payments/api/v1/payouts"


class NoPayoutShopError(DomainError):
    """No shop of this installation sends money to recipients of this kind."""

    type = "no-payout-shop"
    title = "There is no shop that makes this payout"
    status = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A payout that somebody asks for, checked as far as that needs no database."""

    caller: Caller
    key: str
    request_hash: str
    account: str
    amount: Money
    recipient: Recipient
    shop: Shop
    recipient_user_id: UUID | None = None
    description: str = ""
    draft: bool = False
    payout_id: UUID = field(default_factory=new_id)


def shop_for(context: Context, kind: RecipientKind, provider: str | None = None) -> Shop:
    """Return the first shop whose provider reaches recipients of a kind; in the sandbox a caller may name it."""
    if provider is not None and context.settings.environment != "sandbox":
        raise InvalidValueError("the provider is chosen by routing", "provider")
    for shop in context.shops.all():
        payouts = context.providers[shop.provider].payouts
        if provider in (None, shop.provider) and payouts is not None and payouts.pays(kind):
            return shop
    if provider is not None:
        raise InvalidValueError(f"{provider} does not pay out to recipients of the kind {kind.value}", "provider")
    raise NoPayoutShopError(f"no shop pays out to recipients of the kind {kind.value}")


def url_of(payout_id: UUID) -> str:
    """Return where a payout is seen."""
    return f"{URL}/{payout_id}"


async def check_stopped(tx: AsyncConnection, providers: Iterable[str]) -> None:
    """Refuse with the manager's reason while payouts, or one of the providers, are stopped."""
    stopped = await switches.stopped(tx, PAYOUTS, *map(provider_switch, sorted(set(providers))))
    if stopped is not None:
        raise Stopped(stopped)


def request_of(row: PayoutRequestRow, references: dict[str, str] | None = None) -> Envelope:
    """Return the command by which the updater is asked for a payout."""
    command = commands.PayoutRequest(
        account=row.account,
        payout_id=row.payout_id,
        actor=row.requested_by,
        amount_minor=row.amount_minor,
        commission_minor=row.commission_minor,
        currency=row.currency,
        provider=row.provider,
        shop=row.shop,
        recipient=row.recipient_masked,
        description=row.description,
        draft=row.draft,
        needs_approval=row.needs_approval,
        references=references or {},
    )
    return Envelope.new(command, source=SOURCE)


@dataclass(slots=True)
class Payouts:
    """Takes requests for payouts in."""

    context: Context
    _group: GroupCommit[Wanted, StoredAnswer | DomainError] = field(init=False)

    def __post_init__(self) -> None:
        self._group = GroupCommit("payouts", self._commit)

    async def request(self, wanted: Wanted) -> StoredAnswer:
        """Keep a request and its command; under one key once. The answer has the payout's id."""
        result = await self._group.submit(wanted)
        if isinstance(result, DomainError):
            raise result
        return result

    async def _commit(self, batch: list[Wanted]) -> list[StoredAnswer | DomainError]:
        context, now = self.context, self.context.clock.now()
        async with context.database.transaction() as tx:
            refused = await self._refused(tx, batch)
            charges = await self._commissions(tx, batch, refused)
            claims = [self._claim(wanted, charges[index]) for index, wanted in enumerate(batch)]
            known = await context.idempotency.answers(tx, [claims[index] for index in refused]) if refused else []
            results: dict[int, StoredAnswer | DomainError] = {
                index: answer or refused[index] for index, answer in zip(refused, known, strict=True)
            }
            free = [index for index in range(len(batch)) if index not in results]
            taken = await context.idempotency.claim_many(tx, [claims[index] for index in free])
            rows = []
            for index, answer in zip(free, taken, strict=True):
                if answer is None:
                    rows.append(self._row(batch[index], charges[index], now))
                results[index] = answer or StoredAnswer(claims[index].status, claims[index].body)
            await payout_requests.add(tx, rows)
            await context.outbox.add(tx, *(request_of(row) for row in rows))
        if rows:
            context.poke_relay()
        return [results[index] for index in range(len(batch))]

    async def _refused(self, tx: AsyncConnection, batch: list[Wanted]) -> dict[int, DomainError]:
        """Return those of a batch that stop switches refuse."""
        names = [PAYOUTS, *sorted({provider_switch(wanted.shop.provider) for wanted in batch})]
        stopped = {switch.name: switch for switch in await switches.stopped_of(tx, *names)}
        if not stopped:
            return {}
        found: dict[int, DomainError] = {}
        for index, wanted in enumerate(batch):
            switch: Switch | None = stopped.get(PAYOUTS) or stopped.get(provider_switch(wanted.shop.provider))
            if switch is not None:
                found[index] = Stopped(switch)
        return found

    async def _commissions(
        self, tx: AsyncConnection, batch: list[Wanted], refused: dict[int, DomainError]
    ) -> dict[int, int]:
        """Return what each payout costs: one from a wallet is a withdrawal, the others cost nothing."""
        found = dict.fromkeys(range(len(batch)), 0)
        withdrawn = any(wanted.account.startswith("wallet:") for wanted in batch)
        rules = await commissions.newest(tx) if withdrawn else {}
        rate = self.context.settings.transaction_fee_basis_points
        for index, wanted in enumerate(batch):
            if not wanted.account.startswith("wallet:"):
                continue
            rule = rule_for(rules, wanted.amount.currency, CommissionKind.WITHDRAWAL, rate)
            try:
                found[index] = commission_minor(rule, wanted.amount.minor)
            except DomainError as error:
                refused.setdefault(index, error)
        return found

    @staticmethod
    def _claim(wanted: Wanted, commission: int) -> Claim:
        amount = wanted.amount
        body: dict[str, Any] = {
            "id": str(wanted.payout_id),
            "status": REQUESTED,
            "source": wanted.account,
            "amount": {"value": amount.value, "currency": amount.currency},
            "commission": {"value": Money(commission, amount.currency).value, "currency": amount.currency},
            "recipient": wanted.recipient.masked,
            "last_error": None,
            "failure": None,
            "url": url_of(wanted.payout_id),
        }
        return Claim(f"{wanted.caller.user_id}:payouts", wanted.key, wanted.request_hash, 202, body)

    def _row(self, wanted: Wanted, commission: int, now: Any) -> PayoutRequestRow:
        payout_id = wanted.payout_id
        return PayoutRequestRow(
            payout_id=payout_id,
            origin="payout",
            account=wanted.account,
            user_id=wanted.caller.user_id,
            requested_by=wanted.caller.actor,
            amount_minor=wanted.amount.minor,
            commission_minor=commission,
            currency=wanted.amount.currency,
            provider=wanted.shop.provider,
            shop=wanted.shop.shop,
            recipient_kind=wanted.recipient.kind.value,
            recipient_masked=wanted.recipient.masked,
            recipient_sealed=recipients.seal(wanted.shop.api_secret, wanted.recipient, str(payout_id)),
            recipient_user_id=wanted.recipient_user_id,
            description=wanted.description,
            draft=wanted.draft,
            needs_approval=needs_approval(wanted.amount, self.context.settings.payout_approval_above),
            requested_at=now,
        )
