"""What this service is told."""

from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from copeck.kernel.settings import Settings


class AuthSettings(Settings):
    """Settings of `auth`, beside those that every service has."""

    service: ClassVar[str] = "auth"

    signing_secret: SecretStr = SecretStr("")
    """Seals the private signing keys in the database; 32 characters or more, the same for all processes."""
    signing_algorithm: Literal["ES256", "EdDSA"] = "ES256"
    """The kind of the next signing key; the present ones stay what they are."""
    access_token_s: int = Field(default=600, ge=60, le=3600)
    internal_token_s: int = Field(default=60, ge=10, le=300)
    refresh_token_s: int = Field(default=30 * 24 * 3600, ge=3600)
    refresh_grace_s: float = Field(default=5.0, ge=0, le=10)
    """A refresh token used twice within this time is two tabs at once, and not theft."""
    session_s: int = Field(default=30 * 24 * 3600, ge=3600)
    session_idle_s: int = Field(default=14 * 24 * 3600, ge=600)
    cookie_secure: bool | None = None
    """Whether the session's cookie is for HTTPS only; unset: what COPECK_PUBLIC_URL says."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of further pages of ours, besides that of COPECK_PUBLIC_URL (the admin listener, say)."""
    password_memory_kib: int = Field(default=64 * 1024, ge=8)
    password_passes: int = Field(default=3, ge=1, le=10)
    password_concurrency: int = Field(default=2, ge=1, le=16)
    """How many passwords are hashed at once; each takes password_memory_kib and a core for about 0.1 s."""
    password_waiting_max: int = Field(default=64, ge=1)
    """How many more may wait for their turn; those beyond are told to come back."""
    lockout_failures: int = Field(default=10, ge=3)
    """Wrong passwords for one account from one address before it has to wait."""
    lockout_account_failures: int = Field(default=100, ge=10)
    """The same from all addresses together."""
    lockout_s: int = Field(default=900, ge=1)
    retention_days: int = Field(default=30, ge=1)
    """How long ended sessions and refresh tokens are kept: reuse can be noticed that long."""

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may use a session."""
        parts = urlsplit(self.public_url)
        return frozenset({f"{parts.scheme}://{parts.netloc}", *self.allowed_origins})

    @property
    def cookie_is_secure(self) -> bool:
        """Whether browsers may send the session's cookie over HTTPS only."""
        return self.public_url.startswith("https://") if self.cookie_secure is None else self.cookie_secure
