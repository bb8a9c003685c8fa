"""How the gateway's parts are put together, for the server, the worker and the tests alike."""

from copeck.storage.engine import Database
from payments_gateway.domain.routing import Shops
from payments_gateway.handlers.context import Context
from payments_gateway.providers.registry import PROVIDERS
from payments_gateway.settings import GatewaySettings
from payments_gateway.store.breaker import Breaker
from payments_gateway.store.wallet_cache import WalletCache


def make_context(settings: GatewaySettings, pool_size: int | None = None) -> Context:
    """Build the context from settings; refuses shops of providers that are not in the registry."""
    unknown = sorted({item.provider for item in settings.shops} - set(PROVIDERS))
    if unknown:
        raise ValueError(f"COPECK_SHOPS names providers that do not exist: {', '.join(unknown)}")
    size = pool_size or settings.database_pool_size
    database = Database(settings.database_url, size, application="gateway", ping_after_s=1.0)
    shops = Shops(settings.shop_list(), {code for code, provider in PROVIDERS.items() if not provider.has_widget})
    breaker = Breaker(settings.redis_url, settings.breaker_failures, settings.breaker_open_s)
    return Context(
        settings=settings,
        database=database,
        shops=shops,
        providers=PROVIDERS,
        breaker=breaker,
        wallet_cache=WalletCache(settings.redis_url),
    )
