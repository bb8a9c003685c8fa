"""Deposits, withdrawals and payments from the balance: requests that arrive while a commit is under way share the next.

One statement claims the idempotency keys with their answers, one a table keeps the rows, one fills the outbox.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.errors import DomainError, InvalidValueError
from copeck.kernel.ids import new_id
from copeck.storage.engine import fetch_together, pipelined
from copeck.storage.idempotency import StoredAnswer
from payments_gateway.domain.invoices import Invoice
from payments_gateway.domain.models import Attempt
from payments_gateway.domain.provider import AttemptStatus, Shop
from payments_gateway.domain.switches import Switch
from payments_gateway.domain.wallets import PaymentKind, wallet_of
from payments_gateway.handlers.charges import start_charges
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.group import GroupCommit
from payments_gateway.handlers.pay import NoShopError
from payments_gateway.handlers.wallet_judging import PRODUCT, Asked, Known, Prepared, bare_claim, judge
from payments_gateway.store import commissions, invoices, payout_requests, switches, wallet_payments


@dataclass(slots=True)
class WalletRequests:
    """Takes in what owners of wallets ask for."""

    context: Context
    _group: GroupCommit[Asked, StoredAnswer | DomainError] = field(init=False)
    _dropping: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._group = GroupCommit("wallet requests", self._commit)

    async def ask(self, asked: Asked) -> StoredAnswer:
        """Keep a request with its command; under one key once. The answer has the payment's id. Raises refusals."""
        result = await self._group.submit(asked)
        if isinstance(result, DomainError):
            raise result
        return result

    async def _commit(self, batch: list[Asked]) -> list[StoredAnswer | DomainError]:
        context, now = self.context, self.context.clock.now()
        async with context.database.transaction() as tx:
            known = await self._read(tx, batch)
            judged = [judge(asked, known, context.settings, now) for asked in batch]
            results, first = await self._claim(tx, batch, judged)
            async with pipelined(tx, commit=True):
                await wallet_payments.add(tx, [prepared.row for prepared in first])
                await payout_requests.add(tx, [one.payout for one in first if one.payout is not None])
                await context.outbox.add(tx, *(prepared.command for prepared in first))
                await start_charges(tx, [_charge(one, now) for one in first if one.asked.charged], now)
        if first:
            context.poke_relay()
            # Nobody waits for the cache: what it holds is a moment old at most anyway.
            dropping = asyncio.create_task(
                context.wallet_cache.drop([wallet_of(prepared.asked.user_id) for prepared in first])
            )
            self._dropping.add(dropping)
            dropping.add_done_callback(self._dropping.discard)
        return results

    async def _read(self, tx: AsyncConnection, batch: list[Asked]) -> Known:
        """Read what the batch is judged by; nothing of it is remembered, so that a switch works at once."""
        names = sorted({name for asked in batch for name in asked.switches})
        wanted = {asked.invoice_id for asked in batch if asked.invoice_id is not None}
        stopped, rules, found = await fetch_together(
            tx, switches.stopped_query(names), commissions.newest_query(), invoices.many_query(wanted)
        )
        known = {row.invoice_id: invoices.from_row(row) for row in found}
        return Known(
            {row.name: Switch(*row) for row in stopped},
            commissions.by_name(rules),
            known | await self._late_invoices(tx, wanted - set(known)),
        )

    async def _late_invoices(self, tx: AsyncConnection, missing: set[UUID]) -> dict[UUID, Invoice]:
        """Take invoices whose events are late from the State Storage."""
        if not missing or not await invoices.adopt(tx, missing, self.context.clock.now()):
            return {}
        return await invoices.get_many(tx, missing)

    async def _claim(
        self, tx: AsyncConnection, batch: list[Asked], judged: list[Prepared | DomainError]
    ) -> tuple[list[StoredAnswer | DomainError], list[Prepared]]:
        """Claim the keys; return every request's result, and the requests that are the first under their keys."""
        keys = self.context.idempotency
        refused = [index for index, one in enumerate(judged) if isinstance(one, DomainError)]
        results: list[StoredAnswer | DomainError | None] = [None] * len(batch)
        if refused:
            said = await keys.answers(tx, [bare_claim(batch[index]) for index in refused])
            for index, answer in zip(refused, said, strict=True):
                refusal = judged[index]
                results[index] = answer or (refusal if isinstance(refusal, DomainError) else None)
        good = [(index, one) for index, one in enumerate(judged) if isinstance(one, Prepared)]
        taken = await keys.claim_many(tx, [prepared.claim for _, prepared in good])
        first = []
        for (index, prepared), earlier in zip(good, taken, strict=True):
            if earlier is None:
                first.append(prepared)
            results[index] = earlier or StoredAnswer(prepared.claim.status, prepared.claim.body)
        return [result for result in results if result is not None], first


def _charge(prepared: Prepared, now: datetime) -> tuple[Attempt, str | None]:
    """Return the attempt by which a deposit without a page is paid; it begins once the invoice is issued."""
    asked, row = prepared.asked, prepared.row
    if asked.shop is None or asked.amount is None:
        raise TypeError("a deposit has a shop and an amount")
    attempt = Attempt(
        payment_id=new_id(),
        invoice_id=row.payment_id,
        account=row.account,
        provider=asked.shop.provider,
        shop=asked.shop.shop,
        amount=asked.amount,
        status=AttemptStatus.CREATED,
        created_at=now,
    )
    return attempt, asked.correlation_id


def deposit_shop(context: Context, provider: str | None) -> Shop:
    """Return the shop through which deposits come: by routing, or in the sandbox one that takes them without a page."""
    if provider is None:
        shop = context.shops.route(PRODUCT)
        if shop is None:
            raise NoShopError("no shop takes deposits")
        return shop
    if context.settings.environment != "sandbox":
        raise InvalidValueError("the provider is chosen by routing", "provider")
    for shop in context.shops.all():
        if shop.provider == provider and context.providers[provider].charges is not None:
            return shop
    raise InvalidValueError(f"there is no shop of {provider}", "provider")


def scope_of(user_id: UUID, kind: PaymentKind) -> str:
    """Return the scope of a user's idempotency keys: one for each kind, as routes are."""
    return f"{user_id}:{kind.value}"
