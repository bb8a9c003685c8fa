"""Settings of the process, read from the environment (prefix ``SANDBOX_MACHINES_``) or given by the command."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the process needs to run."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_MACHINES_", extra="ignore")

    host: str = "127.0.0.1"
    port: int = 8092
    public_url: str = Field(default="", description="Address that browsers use for this process; that of the request.")
    shop_url: str = Field(default="http://127.0.0.1:8080", description="Where the buyers' pages are: links lead there.")
    data_dir: Path = Path("build/sandbox/machines")
    mqtt_url: str = Field(default="mqtt://127.0.0.1:1883", description="Broker of machines that name none.")
    mqtt_ca_file: Path | None = Field(default=None, description="Whom to believe for mqtts://.")
    mail_port: int = Field(default=0, ge=0, le=65535, description="SMTP port of the mail sink; 0 is none.")
    tmetr_token: SecretStr = SecretStr("tmetr_test_token")
    heartbeat_s: float = Field(default=30.0, gt=0)
    brew_ms: int = Field(default=3_000, ge=0, le=600_000, description="How long a cup takes.")
    ack_retry_s: float = Field(default=3.0, gt=0, description="When an unconfirmed report is sent again.")
    ack_retry_cap_s: float = Field(default=30.0, gt=0)
    reconnect_s: float = Field(default=0.5, gt=0, description="First pause before connecting again.")
    reconnect_cap_s: float = Field(default=10.0, gt=0)
    connects_at_once: int = Field(default=100, ge=1, le=2000)
    queue_max: int = Field(default=4, ge=0, le=100, description="Cups that wait while one is brewed.")
