"""Which brokers this service is told of."""

from device_bridge.drivers.mqtt.link import Login
from device_bridge.settings import DevicesSettings

OWN = "own"


def logins(settings: DevicesSettings) -> dict[str, Login]:
    """Return how to log in at each broker that the settings name, by its profile."""
    found = {}
    if settings.mqtt_url:
        found[OWN] = Login(settings.mqtt_url, settings.mqtt_client_id, ca_file=settings.mqtt_ca_file)
    if settings.mqtt_yandex_url:
        found["yandex"] = Login(
            settings.mqtt_yandex_url,
            settings.mqtt_client_id,
            ca_file=settings.mqtt_yandex_ca_file,
            certificate_file=settings.mqtt_yandex_certificate_file,
            key_file=settings.mqtt_yandex_key_file,
        )
    return found
