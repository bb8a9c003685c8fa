"""What payouts can be made from, as the providers say."""

import asyncio
import time
from collections.abc import Iterable

from copeck.kernel.money import Money
from payments_gateway.domain.provider import SilentProviderError
from payments_gateway.handlers.context import Context

_TIMEOUT_S = 5.0


async def provider_balance(context: Context, provider: str, shop: str, currency: str) -> Money | None:
    """Ask a provider for its balance in a currency; None where it has no such call.

    SilentProviderError where it has one and does not answer in time.
    """
    known, contract = context.providers.get(provider), context.shops.get(provider, shop)
    if known is None or known.payouts is None or contract is None:
        return None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await known.payouts.balance(contract, currency=currency)
    except TimeoutError as error:
        raise SilentProviderError(f"{provider} did not say in time what it can pay out") from error


async def refresh(context: Context, keys: Iterable[tuple[str, str, str]]) -> None:
    """Ask for those balances (provider, shop, currency) that were not asked for lately.

    Nothing is held back by a provider's silence: it refuses by itself what it has no money for.
    """
    for key in keys:
        if context.balances.fresh(key, time.monotonic()):
            continue
        try:
            balance = await provider_balance(context, *key)
        except SilentProviderError:
            balance = None
        context.balances.learn(key, balance, time.monotonic())
