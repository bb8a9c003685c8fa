"""Acknowledging many deliveries in one frame never settles one that is still open."""

import asyncio
from typing import Any, cast

from aiormq.abc import AbstractChannel
from hypothesis import given
from hypothesis import strategies as st

from copeck.messaging.acknowledgements import Acknowledgements


class Channel:
    """What a broker makes of acknowledgements: `multiple` settles everything up to a tag."""

    def __init__(self) -> None:
        self.unsettled: set[int] = set()
        self.frames = 0

    async def basic_ack(self, tag: int, multiple: bool = False, **_: Any) -> None:
        self.frames += 1
        self.unsettled -= {other for other in self.unsettled if other == tag or (multiple and other < tag)}


@given(
    order=st.permutations(range(1, 9)),
    groups=st.lists(st.integers(1, 4), min_size=8, max_size=8),
    left=st.integers(0, 3),
)
def test_only_what_is_done_is_settled(order: list[int], groups: list[int], left: int) -> None:
    """In whatever order and company they end, exactly those that are done are settled."""

    async def run() -> None:
        channel, acknowledgements = Channel(), Acknowledgements()
        for tag in range(1, 9):
            channel.unsettled.add(tag)
            acknowledgements.taken(tag)
        ending = order[: len(order) - left]
        while ending:
            size = groups.pop()
            together, ending = ending[:size], ending[size:]
            await asyncio.gather(*(acknowledgements.done(cast("AbstractChannel", channel), tag) for tag in together))
            assert channel.unsettled >= set(ending) | set(order[len(order) - left :])
            assert not channel.unsettled & set(together)

    asyncio.run(run())


def test_what_ends_together_is_one_frame() -> None:
    async def run() -> int:
        channel, acknowledgements = Channel(), Acknowledgements()
        for tag in range(1, 65):
            channel.unsettled.add(tag)
            acknowledgements.taken(tag)
        acknowledgements.rejected(5)
        channel.unsettled.discard(5)
        tags = [tag for tag in range(1, 65) if tag != 5]
        await asyncio.gather(*(acknowledgements.done(cast("AbstractChannel", channel), tag) for tag in tags))
        assert not channel.unsettled
        return channel.frames

    assert asyncio.run(run()) == 1
