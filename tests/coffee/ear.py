"""Somebody who listens to commands (and to what machines report), and can say all of it again."""

import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

COMMANDS, REPORTS = "cm/v1/+/cmd/+", "cm/v1/+/ack/+"
_CONNECT_TIMEOUT_S = 15.0
_PUBLISH_TIMEOUT_S = 10.0
_HEARD_MAX = 200_000


@dataclass(frozen=True, slots=True)
class Captured:
    """A message as it was on the wire; `at` is the monotonic clock."""

    topic: str
    payload: bytes
    at: float


class Ear:
    """Subscribes under a name of its own with the device service's login; the broker keeps what it misses."""

    def __init__(self, mqtt_url: str, name: str, *topics: str) -> None:
        self._topics = topics or (COMMANDS,)
        self.heard: list[Captured] = []
        self._connected = threading.Event()
        address = urlsplit(mqtt_url)
        self._place = (address.hostname or "127.0.0.1", address.port or 1883)
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self._client.username_pw_set(unquote(address.username or ""), unquote(address.password or ""))
        self._client.reconnect_delay_set(1, 2)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message

    def start(self) -> None:
        """Connect and listen; TimeoutError when the broker is not there."""
        self._client.connect(*self._place)
        self._client.loop_start()
        if not self._connected.wait(_CONNECT_TIMEOUT_S):
            raise TimeoutError("the broker of machines does not answer")

    def stop(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, topic: str, payload: bytes) -> None:
        """Publish with quality of service 1, and wait for the broker's receipt."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(_PUBLISH_TIMEOUT_S)

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe([(topic, 1) for topic in self._topics])
        self._connected.set()

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if len(self.heard) < _HEARD_MAX:
            self.heard.append(Captured(message.topic, bytes(message.payload), time.monotonic()))
