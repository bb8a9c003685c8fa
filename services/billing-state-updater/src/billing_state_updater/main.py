"""Composition of the updater and its commands: `python -m billing_state_updater --help`."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import psycopg
import typer

from billing_state_updater import handlers, metrics
from billing_state_updater.consumer import Lane, Shard, ShardConsumer
from billing_state_updater.outbox import Outbox
from billing_state_updater.settings import UpdaterSettings
from billing_state_updater.store import shards as store
from billing_state_updater.store.arrays import register
from billing_state_updater.transport import EventPublisher
from copeck.contracts.registry import EVENTS_EXCHANGE, SHARDS, UPDATER
from copeck.kernel.memory import calm_collector
from copeck.messaging.errors import BrokerUnavailableError
from copeck.observability.health import Health, HealthServer
from copeck.observability.logs import configure_logging, get_logger
from copeck.observability.metrics import render

log = get_logger(__name__)
MONTHS_AHEAD, WEEKS_AHEAD = 13, 9
app = typer.Typer(help="The single writer of the State Storage.", no_args_is_help=True, add_completion=False)


class Updater:
    """One process of the state updater: leases shards, applies their commands, publishes the events."""

    def __init__(self, settings: UpdaterSettings) -> None:
        self.settings = settings
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(3).hex()}"
        self.publisher = EventPublisher(settings.broker_url, UPDATER, EVENTS_EXCHANGE, UPDATER)
        self.outbox = Outbox(self.publisher)
        self.lanes = [Lane(str(n), self._connect, self.outbox, settings.batch_max) for n in range(settings.lanes)]
        self.consumer = ShardConsumer(settings.broker_url, self.lanes, settings.prefetch)
        self.health = Health()
        self.health.add("database", self._check_database)
        self.health.add("broker", self._check_broker)
        self._control: handlers.Connection | None = None
        self._stop = asyncio.Event()

    async def _connect(self) -> handlers.Connection:
        connection = await psycopg.AsyncConnection.connect(
            self.settings.database_url,
            autocommit=True,
            connect_timeout=5,
            application_name="state-updater",
            options="-c statement_timeout=20000 -c lock_timeout=10000 "
            "-c idle_in_transaction_session_timeout=20000 -c timezone=UTC",
            keepalives_idle=10,
            tcp_user_timeout=20000,
        )
        register(connection)
        # Every statement of the hot path is prepared by name; the plan for unknown values is the one to keep, since
        # a plan made anew for each batch's arrays costs more than it gains.
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        return connection

    async def _check_database(self) -> None:
        if self._control is None or self._control.closed:
            raise ConnectionError("no connection")
        await self._control.execute("SELECT 1")

    async def _check_broker(self) -> None:
        owned = self.consumer.owned
        if owned and all(shard.channel is None or shard.channel.is_closed for shard in owned.values()):
            raise ConnectionError("no shard is subscribed")

    def stop(self) -> None:
        """Begin a graceful stop: no new deliveries, finish what is in memory, publish, give the leases back."""
        self._stop.set()

    async def run(self) -> None:
        """Work until `stop`; then drain."""
        background = [asyncio.create_task(lane.run()) for lane in self.lanes]
        background.append(asyncio.create_task(self.outbox.run()))
        background.append(asyncio.create_task(self.outbox.sweep(self._connect)))
        background.append(asyncio.create_task(self._maintain()))
        for task in background:
            task.add_done_callback(self._ended)
        try:
            while not self._stop.is_set():
                await self._tick()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), min(1.0, self.settings.lease_s / 4))
            await self._drain()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await self.consumer.close()
            await self.publisher.close()

    async def _maintain(self) -> None:
        """Keep partitions ahead of the calendar; a failure is only logged: the default partition takes what is late."""
        while True:
            try:
                connection = await self._connect()
                async with connection:
                    changed = await store.maintain_partitions(
                        connection, MONTHS_AHEAD, WEEKS_AHEAD, self.settings.messages_kept_days
                    )
                if changed:
                    log.info("partitions were made or dropped", count=changed)
            except (psycopg.Error, OSError) as error:
                log.warning("partitions could not be looked after", reason=str(error)[:300])
            await asyncio.sleep(self.settings.partition_interval_s)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """End the process when a part of it ended by itself: the supervisor starts a whole one."""
        if not task.cancelled() and task.exception() is not None:
            log.critical("a part of the updater ended", exc_info=task.exception())
            self._stop.set()

    async def _tick(self) -> None:
        """Keep leases, take or give shards, subscribe what is not subscribed; any failure is tried again later."""
        try:
            if self._control is None or self._control.closed:
                self._control = await self._connect()
            await self._share(self._control)
            positions = self.outbox.to_save()
            if positions:
                await store.advance(self._control, positions)
                self.outbox.saved(positions)
        except (psycopg.Error, OSError) as error:
            log.warning("the database is not reached", reason=str(error)[:300])
            if self._control is not None:
                await self._control.close()
            return
        try:
            for number in list(self.consumer.owned):
                await self.consumer.subscribe(number)
        except BrokerUnavailableError as error:
            log.warning("the broker is not reached", reason=repr(error)[:300])
        metrics.shards_owned.set(len(self.consumer.owned))
        metrics.outbox_lag.set(self.outbox.lag)
        metrics.waiting.set(sum(len(shard.waiting) for shard in self.consumer.owned.values()))

    async def _share(self, control: handlers.Connection) -> None:
        """Hold a fair share of the shards: all of them alone, half of them with one other."""
        lease_s = self.settings.lease_s
        living = await store.heartbeat(control, self.owner, lease_s)
        owned = self.consumer.owned
        for number in [number for number, shard in owned.items() if shard.lost]:
            await self._let_go(number)
        kept = await store.renew(control, self.owner, list(self.consumer.owned), lease_s)
        for number in set(self.consumer.owned) - kept:
            await self._let_go(number)
        share = -(-SHARDS // max(1, living))
        surplus = sorted(self.consumer.owned)[share:]
        for number in surplus:
            await self._let_go(number)
        await store.release(control, self.owner, surplus)
        room = share - len(self.consumer.owned)
        if room <= 0:
            return
        held = list(self.consumer.owned)
        for number, epoch in (await store.acquire(control, self.owner, held, room, lease_s)).items():
            published, written = (await store.positions(control, [number]))[number]
            self.outbox.take(number, published, written)
            self.consumer.lane_of(number).shards.setdefault(number, Shard(number, epoch))
            log.info("a shard was leased", shard=number, epoch=epoch)

    async def _let_go(self, number: int) -> None:
        await self.consumer.give_up(number)
        self.outbox.drop(number)
        log.info("a shard was given up", shard=number)

    async def _drain(self) -> None:
        self.health.stop()
        log.info("stopping: finishing what is in memory")
        await self.consumer.pause()
        deadline = asyncio.get_running_loop().time() + self.settings.drain_timeout_s
        for lane in self.lanes:
            await lane.finish(deadline)
        await self.outbox.drain(deadline)
        try:
            if self._control is not None and not self._control.closed:
                if positions := self.outbox.to_save():
                    await store.advance(self._control, positions)
                await store.release(self._control, self.owner, list(self.consumer.owned))
                await store.leave(self._control, self.owner)
                await self._control.close()
        except (psycopg.Error, OSError) as error:
            log.warning("the leases were not given back and will run out", reason=str(error)[:300])


def _run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    calm_collector()
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())


@app.command()
def serve() -> None:
    """Apply commands until SIGTERM or SIGINT, then drain and stop."""
    settings = UpdaterSettings()
    configure_logging(settings.service, settings.log_level, settings.log_format)

    async def main() -> None:
        updater = Updater(settings)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, updater.stop)
        server = HealthServer(updater.health, render, settings.metrics_port, settings.listen_host)
        await server.start()
        try:
            await updater.run()
        finally:
            await server.stop()

    _run(main)


@app.command()
def partitions(
    database_url: str = typer.Option(..., help="The migrator's URL"), months: int = 13, weeks: int = 9
) -> None:
    """Make the partitions of the coming months and weeks; run it now and then, as the migrator."""
    with psycopg.connect(database_url, connect_timeout=5) as connection:
        connection.execute("SET ROLE copeck_owner")
        row = connection.execute(
            "SELECT state.make_partitions((now() AT TIME ZONE 'UTC')::date, %s, %s)", (months, weeks)
        ).fetchone()
        typer.echo(f"made {row[0] if row else 0} partitions")


def run() -> None:
    """Run the command line."""
    app()
