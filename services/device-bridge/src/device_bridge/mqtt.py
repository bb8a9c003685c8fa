"""The edge to machines: what they say over MQTT comes in here, and what they are told goes out.

aiomqtt acknowledges a message when it arrives, so a report is confirmed by the application, after its commit; a machine
repeats what was not confirmed. What is worked on, and in which order, `hearing.py` says.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import aiomqtt

from copeck.contracts.base import ContractError
from device_bridge.drivers.mqtt.brokers import OWN, logins
from device_bridge.drivers.mqtt.link import Link, NotConnectedError
from device_bridge.drivers.mqtt.profiles import CONTROL_RESPONSES, PROFILES, Profile
from device_bridge.hearing import HEARD, Hearing
from device_bridge.settings import DevicesSettings

if TYPE_CHECKING:
    from device_bridge.handlers.context import Context

log = logging.getLogger(__name__)


class MqttLoop:
    """The connections to brokers, and the work on what comes in. Handlers need `attach` before `run`."""

    def __init__(self, settings: DevicesSettings) -> None:
        self._settings = settings
        self._links: dict[str, Link] = {}
        self._control: Callable[[bytes], None] | None = None
        self._hearing = Hearing(settings, self.publish)
        self._stopping = asyncio.Event()
        for name, login in logins(settings).items():
            self._links[name] = Link(PROFILES[name], login, self._on_message)

    def attach(self, context: "Context") -> None:
        """Say with what handlers work."""
        self._hearing.attach(context)

    def on_control(self, heard: Callable[[bytes], None]) -> None:
        """Have the answers of our broker's accounts handed to a function."""
        self._control = heard

    async def run(self) -> None:
        """Keep connected and work until `stop`."""
        workers = [asyncio.create_task(work) for work in self._hearing.workers()]
        links = [asyncio.create_task(link.run()) for link in self._links.values()]
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait([stopped, *workers, *links], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                # A part that ended by itself has met a fault of code: the process should know.
                task.result()
        finally:
            for task in (stopped, *workers, *links):
                task.cancel()
            await asyncio.gather(stopped, *workers, *links, return_exceptions=True)

    async def stop(self) -> None:
        """Disconnect; what was not confirmed, machines say again."""
        for link in self._links.values():
            await link.stop()
        self._stopping.set()

    async def ping(self) -> None:
        """Return when the machines' broker is connected; NotConnectedError otherwise."""
        link = self._links.get(OWN)
        if link is not None and not link.connected:
            raise NotConnectedError(OWN)

    async def wait_connected(self, timeout_s: float = 10.0) -> None:
        """Wait until our own broker is there; NotConnectedError when it is not in time."""
        if OWN not in self._links:
            raise NotConnectedError(OWN)
        await self._links[OWN].wait_connected(timeout_s)

    async def publish(
        self,
        broker: str,
        topic: str,
        payload: bytes,
        *,
        expires_in_s: float | None = None,
        timeout_s: float = 5.0,
        needs_reader: bool = False,
    ) -> None:
        """Publish with quality of service 1; NotSentError and OutcomeUnknownError as in `link.py`."""
        link = self._links.get(broker)
        if link is None:
            raise NotConnectedError(broker)
        await link.publish(topic, payload, expires_in_s=expires_in_s, timeout_s=timeout_s, needs_reader=needs_reader)

    def _on_message(self, profile: Profile, message: aiomqtt.Message) -> None:
        topic = str(message.topic)
        payload = bytes(message.payload)
        if topic == CONTROL_RESPONSES:
            if self._control is not None:
                self._control(payload)
            return
        try:
            heard = profile.read_topic(topic)
        except ContractError as error:
            HEARD.labels(profile.name, "other", "ignored").inc()
            log.info("ignored: %s", error)
            return
        self._hearing.hear(profile, heard, payload)
