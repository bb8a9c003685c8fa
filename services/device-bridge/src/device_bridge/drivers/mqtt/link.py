"""One connection to one broker, made again whenever it breaks."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import aiomqtt
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from copeck.messaging.backoff import Backoff
from copeck.observability.metrics import Counter, Gauge
from device_bridge.drivers.mqtt.profiles import Profile

log = logging.getLogger(__name__)

CONNECTED = Gauge("copeck_mqtt_connected", "1 while the broker of machines is connected", ["broker"])
PUBLISHED = Counter(
    "copeck_mqtt_published_total", "Messages to machines, by what became of them", ["broker", "outcome"]
)

SESSION_EXPIRY_S = 3600
KEEPALIVE_S = 30
_TIMEOUT_S = 10.0
_IN_FLIGHT_MAX = 500
_WAITING_MAX = 10_000
_HEARD_MAX = 50_000
_EXPIRY_S_MAX = 2**32 - 1
_REFUSED = 0x80
_NOBODY = 0x10
_STEADY_S = 5.0
# paho's words for a message that it did not even begin to write; this client is thrown away with its queue then.
_NOTHING_WRITTEN = frozenset({4, 15})


class NotSentError(Exception):
    """Certainly nothing was sent."""


class NotConnectedError(NotSentError):
    """The broker is not there."""


class NotTakenError(NotSentError):
    """The broker is there and refused a message, or has nobody to hand it to."""


class OutcomeUnknownError(Exception):
    """A message was written, and the broker did not say that it has it."""


@dataclass(frozen=True, slots=True)
class Login:
    """Where a broker is and who we are there: a password inside the URL, or a certificate's files."""

    url: str
    client_id: str
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    @property
    def secure(self) -> bool:
        """The connection is encrypted."""
        return urlsplit(self.url).scheme in ("mqtts", "ssl", "tls")

    def options(self) -> dict[str, Any]:
        """Return how aiomqtt is told."""
        parts = urlsplit(self.url)
        options: dict[str, Any] = {
            "hostname": parts.hostname or "127.0.0.1",
            "port": parts.port or (8883 if self.secure else 1883),
            "username": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password else None,
            "identifier": self.client_id,
        }
        if self.secure:
            options["tls_context"] = self._tls()
        return options

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.certificate_file:
            context.load_cert_chain(self.certificate_file, self.key_file or None)
        return context


class Publish(Protocol):
    """Says something to a machine."""

    async def __call__(self, broker: str, topic: str, payload: bytes, *, expires_in_s: float | None = None) -> None:
        """Publish at a broker; NotSentError and OutcomeUnknownError as in `link.py`."""


class _Client(aiomqtt.Client):
    """Hands on what a broker's receipt says: aiomqtt takes every receipt for a yes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._receipts: dict[int, asyncio.Future[int]] = {}

    async def publish_and_read(
        self, topic: str, payload: bytes, *, quality: int, properties: Properties | None, timeout_s: float
    ) -> int:
        """Publish, and return the code of the broker's receipt; MqttError as `publish` raises it."""
        info = self._client.publish(topic, payload, quality, properties=properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(info.rc, "Could not publish message")
        if info.is_published():
            return 0
        # Receipts are read by the loop, so none can have come before this line.
        receipt: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._receipts[info.mid] = receipt
        try:
            async with asyncio.timeout(timeout_s):
                return await receipt
        except TimeoutError:
            raise aiomqtt.MqttError("Operation timed out") from None
        finally:
            self._receipts.pop(info.mid, None)

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        receipt = self._receipts.get(mid)
        if receipt is not None and not receipt.done():
            receipt.set_result(reason_code.value)
        super()._on_publish(client, userdata, mid, reason_code, properties)


class Link:
    """Connects, subscribes, hands on what is heard, and publishes; `on_message` is called in the event loop."""

    def __init__(self, profile: Profile, login: Login, on_message: Callable[[Profile, aiomqtt.Message], None]) -> None:
        self._profile = profile
        self._login = login
        self._on_message = on_message
        self._client: _Client | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._up = asyncio.Event()

    @property
    def connected(self) -> bool:
        """The broker is there and has our subscriptions."""
        return self._client is not None

    async def wait_connected(self, timeout_s: float) -> None:
        """Wait until the broker is there; NotConnectedError when it is not in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._up.wait()
        except TimeoutError:
            raise NotConnectedError(self._profile.name) from None

    async def run(self) -> None:
        """Keep connected until `stop`."""
        backoff, failures = Backoff(first_s=0.2, cap_s=10.0), 0
        while not self._stopping.is_set():
            self._serving = asyncio.create_task(self._serve())
            started = asyncio.get_running_loop().time()
            try:
                await self._serving
            except (aiomqtt.MqttError, OSError, ValueError) as error:
                if asyncio.get_running_loop().time() - started > _STEADY_S:
                    failures = 0
                delay_s = backoff.delay_s(failures)
                failures += 1
                log.warning("broker %s: %s; again in %.1f s", self._profile.name, error, delay_s)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay_s):
                        await self._stopping.wait()
            except asyncio.CancelledError:
                if not self._stopping.is_set():
                    self._serving.cancel()
                    raise

    async def stop(self) -> None:
        """Disconnect, and do not come back."""
        self._stopping.set()
        if self._serving is not None:
            self._serving.cancel()

    async def _serve(self) -> None:
        name = self._profile.name
        try:
            async with self._new_client() as client:
                await self._subscribe(client)
                self._client = client
                self._up.set()
                CONNECTED.labels(name).set(1)
                log.info("broker %s is connected", name)
                async for message in client.messages:
                    self._on_message(self._profile, message)
        finally:
            self._client = None
            self._up.clear()
            CONNECTED.labels(name).set(0)

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        wanted = self._profile.subscriptions
        answers: list[Any] = list(await client.subscribe(list(wanted)))
        for (topic, _), code in zip(wanted, answers, strict=True):
            if int(getattr(code, "value", code)) < _REFUSED:
                continue
            if not topic.startswith("$CONTROL"):
                raise aiomqtt.MqttError(f"the subscription to {topic} was refused")
            log.warning("broker %s has no accounts that could be made from here", self._profile.name)

    def _new_client(self) -> _Client:
        options: dict[str, Any] = {
            "keepalive": KEEPALIVE_S,
            "timeout": _TIMEOUT_S,
            "max_inflight_messages": _IN_FLIGHT_MAX,
            "max_queued_outgoing_messages": _WAITING_MAX,
            "max_queued_incoming_messages": _HEARD_MAX,
            **self._login.options(),
        }
        if self._profile.modern:
            # The session outlives a restart of ours: reports that come meanwhile wait at the broker.
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            options |= {"protocol": aiomqtt.ProtocolVersion.V5, "clean_start": False, "properties": properties}
        else:
            options |= {"protocol": aiomqtt.ProtocolVersion.V311, "clean_session": False}
        return _Client(**options)

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        quality: int = 1,
        expires_in_s: float | None = None,
        timeout_s: float = 5.0,
        needs_reader: bool = False,
    ) -> None:
        """Publish, and wait for the broker's receipt.

        NotSentError: nothing was sent. OutcomeUnknownError: it may have been. A message that expires while the broker
        keeps it for a machine that is away is thrown away there, if the broker can do that. `needs_reader`: it counts
        as not sent when the broker says that nobody is subscribed to it, neither now nor by a session that it keeps.
        """
        client = self._client
        if client is None:
            PUBLISHED.labels(self._profile.name, "not_connected").inc()
            raise NotConnectedError(self._profile.name)
        properties = None
        if expires_in_s is not None and self._profile.modern:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = max(1, min(int(expires_in_s), _EXPIRY_S_MAX))
        try:
            code = await client.publish_and_read(
                topic, payload, quality=quality, properties=properties, timeout_s=timeout_s
            )
        except (aiomqtt.MqttError, OSError, ValueError) as error:
            if isinstance(error, aiomqtt.MqttCodeError) and error.rc in _NOTHING_WRITTEN:
                PUBLISHED.labels(self._profile.name, "not_connected").inc()
                raise NotConnectedError(self._profile.name) from error
            PUBLISHED.labels(self._profile.name, "unknown").inc()
            raise OutcomeUnknownError(str(error)) from error
        if code >= _REFUSED:
            PUBLISHED.labels(self._profile.name, "refused").inc()
            raise NotTakenError(f"broker {self._profile.name} refused it with 0x{code:02x}")
        if code == _NOBODY and needs_reader:
            PUBLISHED.labels(self._profile.name, "unread").inc()
            raise NotTakenError(f"broker {self._profile.name} has nobody to hand it to")
        PUBLISHED.labels(self._profile.name, "published").inc()
