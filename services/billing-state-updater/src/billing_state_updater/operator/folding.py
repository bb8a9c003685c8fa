"""Does an account's kept balance follow from its transfers, each balance on the way included?"""

from collections import Counter
from collections.abc import Iterable, Iterator

from billing_state_updater.domain import books


def problems(name: str, moves: Iterable[tuple[int, int | None]], stored: int | None) -> Iterator[str]:
    """Look for an order of the transfers that leads from zero to the kept balance over every stored balance.

    Transfers of one account may be committed by two shards, so no clock orders them; but each stores the balance after
    it. Seen as steps from balance to balance they must form one path from zero: every balance is left as often as it
    is reached (but for both ends), and all steps hang together.
    """
    degrees: Counter[int] = Counter()
    neighbours: dict[int, int] = {0: 0}
    total, lowest = 0, 0
    for delta, after in moves:
        total += delta
        if after is None:
            yield "a transfer does not say the balance after it"
            return
        lowest = min(lowest, after)
        degrees[after - delta] += 1
        degrees[after] -= 1
        _join(neighbours, after - delta, after)
    if stored is None:
        yield f"has transfers of {total} in all and no kept balance"
    elif stored != total:
        yield f"keeps {stored}, its transfers add up to {total}"
    if lowest < 0 and books.is_wallet(name):
        yield f"was at {lowest}"
    degrees[0] -= 1
    degrees[total] += 1
    root = _root(neighbours, 0)
    if any(degrees.values()) or any(_root(neighbours, node) != root for node in neighbours):
        yield "the balances stored with its transfers follow from no order of them"


def _join(neighbours: dict[int, int], one: int, other: int) -> None:
    neighbours[_root(neighbours, one)] = _root(neighbours, other)


def _root(neighbours: dict[int, int], node: int) -> int:
    while (parent := neighbours.setdefault(node, node)) != node:
        # Halving the path keeps a million steps as quick as the first.
        neighbours[node] = neighbours.setdefault(parent, parent)
        node = neighbours[node]
    return node
