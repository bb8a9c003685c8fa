"""Settings from the environment: `COPECK_<NAME>`, and `COPECK_<NAME>_FILE` for what must not be in it."""

import os
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

_FILE_BYTES_MAX = 1 << 20


class FileSettingsSource(PydanticBaseSettingsSource):
    """Reads `COPECK_<NAME>_FILE`: the path of a file that holds the value, as secrets are mounted in containers."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the file's text without the trailing newline, or nothing when no file is named."""
        prefix = self.config.get("env_prefix") or ""
        path = os.environ.get(f"{prefix}{field_name}_FILE".upper())
        if not path:
            return None, field_name, False
        text = Path(path).read_text(encoding="utf-8")
        if len(text) > _FILE_BYTES_MAX:
            raise ValueError(f"{path} is larger than {_FILE_BYTES_MAX} bytes")
        return text.rstrip("\n"), field_name, self.field_is_complex(field)

    def __call__(self) -> dict[str, Any]:
        """Return every value that a file gives."""
        values: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, is_complex = self.get_field_value(field, name)
            if value is not None:
                values[key] = self.prepare_field_value(name, field, value, is_complex)
        return values


class Settings(BaseSettings):
    """What every service is told; a service adds its own fields in its `settings.py`."""

    model_config = SettingsConfigDict(env_prefix="COPECK_", extra="ignore", frozen=True)

    service: ClassVar[str] = "copeck"

    environment: Literal["sandbox", "production"] = "sandbox"
    database_url: str = ""
    database_pool_size: int = 10
    broker_url: str = ""
    celery_broker_url: str = ""
    redis_url: str = ""
    jwks_url: str = ""
    public_url: str = "http://127.0.0.1:8080"
    listen_host: str = "127.0.0.1"
    listen_port: int = 8000
    metrics_port: int = 0
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["ecs", "console"] = "ecs"
    request_body_bytes_max: int = 64 * 1024
    request_timeout_s: float = 35.0
    trusted_hosts: tuple[str, ...] = ("*",)
    trusted_proxies: str = "127.0.0.1"
    """Whose X-Forwarded-For is believed: addresses or networks, by commas; `*` where only nginx can call."""
    rate_limit_factor: int = 1
    """Multiplies every rate limit: for tests that buy thousands of times from one address."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order: what the caller says, then files, then the environment."""
        return init_settings, FileSettingsSource(settings_cls), env_settings
