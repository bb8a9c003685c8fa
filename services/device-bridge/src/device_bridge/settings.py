"""What this service is told."""

import hashlib
import hmac
from typing import ClassVar

from pydantic import Field, SecretStr

from copeck.kernel.settings import Settings

SECRET_CHARS_MIN = 32


class DevicesSettings(Settings):
    """Settings of `device-bridge`, beside those that every service has."""

    service: ClassVar[str] = "devices"

    device_secret: SecretStr = SecretStr("")
    """What the keys of machines and of buyers' links are derived from; at least 32 characters, and no default."""
    mqtt_url: str = ""
    """`mqtt://user:password@host:port` or `mqtts://…`; without it no machine is spoken to over MQTT."""
    mqtt_client_id: str = Field(default="device-bridge", min_length=1, max_length=64)
    """Under which name the brokers keep what comes while the service restarts; one process has it."""
    mqtt_ca_file: str = ""
    """Whom to believe for `mqtts://`; the system's authorities when empty."""
    mqtt_yandex_url: str = ""
    """The registry at Yandex IoT Core, `mqtts://<registry>:<password>@mqtt.cloud.yandex.net:8883`; none when empty."""
    mqtt_yandex_certificate_file: str = ""
    """The registry's certificate, instead of a password in the URL."""
    mqtt_yandex_key_file: str = ""
    mqtt_yandex_ca_file: str = ""
    tmetr_url: str = ""
    """The Tmetr telemetry's API; none when empty."""
    tmetr_token: SecretStr = SecretStr("")
    tmetr_heartbeats_s: float = Field(default=30.0, gt=0, le=60)
    """How often the telemetry is asked which machines are alive; less than the 90 s after which one counts as off."""
    tmetr_prices_s: float = Field(default=300.0, gt=0, le=86_400)
    """How often the telemetry is asked for prices."""
    heartbeat_flush_s: float = Field(default=0.5, gt=0, le=5)
    """Heartbeats that come within this time are written by one statement."""
    reports_concurrency: int = Field(default=2, ge=1, le=64)
    """How many batches of our own broker's reports are worked on at once; the fewer, the more share a commit."""
    accept_timeout_s: float = Field(default=60.0, gt=0, le=600)
    """How long a machine may take to accept a command; never longer than the merchant's time for brewing."""
    revoke_timeout_s: float = Field(default=10.0, gt=0, le=120)
    """How long the answer to a revocation is waited for before the money goes back."""
    brewing_grace_s: float = Field(default=60.0, ge=0, le=600)
    """How much longer is waited when the answer to a revocation is that the machine is brewing."""
    timer_poll_s: float = Field(default=0.5, gt=0, le=60)
    """How often the service looks for commands to send again and for deadlines."""
    catch_up_interval_s: float = Field(default=15.0, gt=0, le=3600)
    """How often the State Storage is asked for invoices whose events never came."""
    catch_up_after_s: float = Field(default=10.0, ge=0, le=3600)
    """How old a change has to be before its event counts as missed."""
    retention_days: int = Field(default=30, ge=2, le=365)
    """How long answers under idempotency keys and ids of applied messages are kept."""
    consumer_prefetch: int = Field(default=64, ge=1, le=1000)
    consumer_concurrency: int = Field(default=8, ge=1, le=64)
    sender_concurrency: int = Field(default=64, ge=1, le=1000)
    """How many commands may be on their way to machines at once, through our broker and through each foreign one."""
    smtp_url: str = ""
    """`smtp://host:port` (plain), `submission://user:password@host` (STARTTLS) or `smtps://…`; without it no receipt
    is e-mailed, and they wait."""
    mail_from: str = "Copeck <no-reply@copeck.example>"
    """Who the e-mails are from."""
    mail_timeout_s: float = Field(default=5.0, gt=0, le=8)
    """How long the mail server may take for each step."""
    receipt_tries_max: int = Field(default=8, ge=1, le=50)
    """How often an e-mail is tried before it is given up."""
    worker_concurrency: int = Field(default=2, ge=1, le=30)

    def secret(self) -> str:
        """Return the secret; ValueError when nobody set one that deserves the name."""
        secret = self.device_secret.get_secret_value()
        if len(secret) < SECRET_CHARS_MIN:
            raise ValueError(f"COPECK_DEVICE_SECRET needs at least {SECRET_CHARS_MIN} characters")
        return secret

    @property
    def buyer_link_key(self) -> SecretStr:
        """The key of buyers' links to their orders."""
        return SecretStr(hmac.new(self.secret().encode(), b"links of buyers", hashlib.sha256).hexdigest())

    def pay_url(self, invoice_id: object) -> str:
        """Return where the payer opens an invoice."""
        return f"{self.public_url.rstrip('/')}/pay/{invoice_id}"

    def order_url(self, order_id: object) -> str:
        """Return the page of an order."""
        return f"{self.public_url.rstrip('/')}/m/orders/{order_id}"
