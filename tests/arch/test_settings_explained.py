"""`.env.example` explains every setting that a service reads, and names none that nobody reads."""

import importlib
import re
from pathlib import Path

import pytest

from copeck.kernel.settings import Settings

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
NAMED = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", EXAMPLE, re.MULTILINE))
PACKAGES = [path.parent.name for path in sorted(ROOT.glob("services/*/src/*/settings.py"))]


def settings_of(package: str) -> list[type[Settings]]:
    module = importlib.import_module(f"{package}.settings")
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Settings) and value.__module__ == module.__name__
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_setting_is_explained(package: str) -> None:
    fields = {name for settings in settings_of(package) for name in settings.model_fields}
    assert fields
    missing = sorted(f"COPECK_{name.upper()}" for name in fields if f"COPECK_{name.upper()}" not in NAMED)
    assert missing == []


def test_no_setting_is_explained_that_nobody_reads() -> None:
    folders = ("deploy", "shared/src", "services", "sandbox")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".yml"}]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    fields = {f"COPECK_{n.upper()}" for package in PACKAGES for s in settings_of(package) for n in s.model_fields}
    unread = sorted(n for n in NAMED if n.startswith("COPECK_") and n not in fields and n not in text)
    assert unread == []


@pytest.mark.parametrize(
    "name",
    [
        "TRANSACTION_FEE", "GATEWAY_TIMEOUT_SECONDS", "GATEWAY_MAX_ATTEMPTS", "GATEWAY_BACKOFF_BASE_SECONDS",
        "GATEWAY_BACKOFF_MAX_SECONDS", "GATEWAY_BACKOFF_JITTER_SECONDS", "WORKER_POLL_INTERVAL_SECONDS",
        "WORKER_PROCESSING_TIMEOUT_SECONDS",
        "TMETR_TOKEN", "TMETR_HOST", "ORDER_EXPIRATION_MINUTES", "CELERY_BROKER_URL",
        "DATABASE_URL", "PAYMENT_GATEWAY_URL", "AUTO_CREATE_TABLES", "DJANGO_ALLOWED_HOSTS", "TIME_ZONE", "SECRET_KEY",
    ],
)  # fmt: skip
def test_settings_of_the_replaced_systems_have_their_new_name(name: str) -> None:
    assert re.search(rf"^#\s+(.*, )?{name}\b", EXAMPLE, re.MULTILINE)
