"""Acknowledging deliveries of one channel: what is done in the same turn is told to the broker in one frame."""

import asyncio

from aiormq.abc import AbstractChannel


class Acknowledgements:
    """The deliveries of one channel that are not settled yet.

    A quorum queue keeps every acknowledgement in its log, so that one for many is cheaper than many. It may only name
    a tag before which nothing is open; what is done behind an open delivery is acknowledged by itself.
    """

    def __init__(self) -> None:
        self._open: dict[int, None] = {}
        self._done: list[tuple[AbstractChannel, int]] = []
        self._sending: asyncio.Task[None] | None = None

    def taken(self, tag: int) -> None:
        """Note a delivery, in the order of arrival."""
        self._open[tag] = None

    def rejected(self, tag: int) -> None:
        """Note that a delivery was settled in another way."""
        self._open.pop(tag, None)

    async def done(self, channel: AbstractChannel, tag: int) -> None:
        """Have a delivery acknowledged; returns once the broker was told, raises when it could not be."""
        self._open.pop(tag, None)
        self._done.append((channel, tag))
        if self._sending is None:
            self._sending = asyncio.ensure_future(self._send())
        await asyncio.shield(self._sending)

    async def _send(self) -> None:
        # Whoever is done in this turn of the loop goes along.
        await asyncio.sleep(0)
        done, self._done, self._sending = self._done, [], None
        lowest = next(iter(self._open), None)
        together = [(channel, tag) for channel, tag in done if lowest is None or tag < lowest]
        if together:
            channel, tag = max(together, key=lambda pair: pair[1])
            await channel.basic_ack(tag, multiple=True)
        for channel, tag in done:
            if lowest is not None and tag > lowest:
                await channel.basic_ack(tag)
