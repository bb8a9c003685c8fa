"""Which shop takes a payment: the first one that may sell the product."""

from collections.abc import Collection, Iterable

from payments_gateway.domain.provider import Shop


class Shops:
    """All shops of this installation, several a provider; no configuration is global."""

    def __init__(self, shops: Iterable[tuple[Shop, tuple[str, ...]]], without_page: Collection[str] = ()) -> None:
        self._shops = list(shops)
        self._paged = [item for item in self._shops if item[0].provider not in without_page]
        self._by_name = {(shop.provider, shop.shop): shop for shop, _ in self._shops}
        if len(self._by_name) != len(self._shops):
            raise ValueError("two shops have the same provider and name")

    def get(self, provider: str, shop: str) -> Shop | None:
        """Return a shop by its name."""
        return self._by_name.get((provider, shop))

    def route(self, product: str) -> Shop | None:
        """Return the shop whose page takes payments for a product: one that names it, else one that sells all."""
        named = next((shop for shop, products in self._paged if product in products), None)
        return named or next((shop for shop, products in self._paged if not products), None)

    def all(self) -> list[Shop]:
        """Return every shop."""
        return [shop for shop, _ in self._shops]

    def __len__(self) -> int:
        return len(self._shops)
