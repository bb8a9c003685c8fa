"""Which shop takes a payment: the first one that may sell the product."""

from collections.abc import Iterable

from payments_gateway.domain.provider import Shop


class Shops:
    """All shops of this installation, several a provider; no configuration is global."""

    def __init__(self, shops: Iterable[tuple[Shop, tuple[str, ...]]]) -> None:
        self._shops = list(shops)
        self._by_name = {(shop.provider, shop.shop): shop for shop, _ in self._shops}
        if len(self._by_name) != len(self._shops):
            raise ValueError("two shops have the same provider and name")

    def get(self, provider: str, shop: str) -> Shop | None:
        """Return a shop by its name."""
        return self._by_name.get((provider, shop))

    def route(self, product: str) -> Shop | None:
        """Return the shop that takes payments for a product: one that names it, else one that sells everything."""
        named = next((shop for shop, products in self._shops if product in products), None)
        return named or next((shop for shop, products in self._shops if not products), None)

    def all(self) -> list[Shop]:
        """Return every shop."""
        return [shop for shop, _ in self._shops]

    def __len__(self) -> int:
        return len(self._shops)
