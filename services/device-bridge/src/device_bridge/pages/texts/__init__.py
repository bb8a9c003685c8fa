"""The texts of the buyers' pages and e-mails, in Russian and English."""

from device_bridge.pages.texts.english import EN
from device_bridge.pages.texts.russian import RU

TEXTS: dict[str, dict[str, str]] = {"ru": RU, "en": EN}
