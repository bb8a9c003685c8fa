"""The only place that lists the models of machines: one line each."""

from collections.abc import Callable
from dataclasses import dataclass, field

from device_bridge.domain.drivers import Driver, DriverPolicy, Way
from device_bridge.drivers import frame, mqtt, tmetr
from device_bridge.drivers.mqtt.driver import Publisher
from device_bridge.drivers.mqtt.link import NotConnectedError
from device_bridge.settings import DevicesSettings


class _Nowhere:
    """What drivers publish through in a process that holds no connection to a broker."""

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
        """Nothing is sent."""
        raise NotConnectedError(broker)


@dataclass(frozen=True, slots=True)
class Parts:
    """What drivers are made of."""

    publisher: Publisher
    telemetry: tmetr.TmetrClient | None


@dataclass(frozen=True, slots=True)
class Line:
    """A model: what it can do, stated once, and how its driver is made."""

    policy: DriverPolicy
    make: Callable[[Parts], Driver]


REGISTRY: dict[str, Line] = {
    "mqtt-v1": Line(mqtt.POLICY, lambda parts: mqtt.MqttDriver(parts.publisher)),
    "mqtt-yandex": Line(mqtt.POLICY, lambda parts: mqtt.MqttDriver(parts.publisher, "yandex")),
    "frame-v1": Line(frame.POLICY, lambda parts: frame.FrameDriver(parts.publisher)),
    "frame-v1-silent": Line(frame.SILENT_POLICY, lambda parts: frame.FrameDriver(parts.publisher, frame.SILENT_POLICY)),
    "tmetr": Line(tmetr.POLICY, lambda parts: tmetr.TmetrDriver(parts.telemetry)),
}

MODELS: frozenset[str] = frozenset(REGISTRY)
"""Models that a device may have."""
FOREIGN_BROKERS: dict[str, tuple[str, ...]] = {"yandex": ("mqtt-yandex", "frame-v1", "frame-v1-silent")}
"""Models whose machines may be known to a foreign broker, by the id in their address."""
FOREIGN_WAYS: tuple[Way, ...] = (Way("yandex", ("mqtt-yandex",)),)
"""Brokers that are somebody else's, and may be slow when ours is not."""


def policy_of(model: str) -> DriverPolicy:
    """Return what a model can do; KeyError for one that nobody wrote a driver for."""
    return REGISTRY[model].policy


@dataclass(slots=True)
class RegisteredDrivers:
    """The drivers of a process, each made when it is first asked for."""

    parts: Parts
    _made: dict[str, Driver] = field(default_factory=dict)

    def policy(self, model: str) -> DriverPolicy:
        """Return what a model can do; KeyError as above."""
        return policy_of(model)

    def driver(self, model: str) -> Driver:
        """Return the driver of a model; KeyError as above."""
        made = self._made.get(model)
        if made is None:
            made = self._made[model] = REGISTRY[model].make(self.parts)
        return made

    async def close(self) -> None:
        """Close what drivers keep open in this event loop."""
        if self.parts.telemetry is not None:
            await self.parts.telemetry.close()


def telemetry_of(settings: DevicesSettings) -> tmetr.TmetrClient | None:
    """Return the telemetry's client, if there is a telemetry."""
    if not settings.tmetr_url:
        return None
    return tmetr.TmetrClient(settings.tmetr_url, settings.tmetr_token.get_secret_value())


def build_drivers(settings: DevicesSettings, publisher: Publisher | None) -> RegisteredDrivers:
    """Return the drivers of a process; without a publisher those that need a broker answer that it is not there."""
    return RegisteredDrivers(Parts(publisher or _Nowhere(), telemetry_of(settings)))
