"""Faults on demand: each switch is a probability with a seed, or is armed for the next command that fits.

A probability is decided by hashing (seed, switch, subject), not by drawing in turn, so the same commands meet the same
faults however messages interleave.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_SCALE = 2**64


class Switch(StrEnum):
    """What can go wrong."""

    OFFLINE = "offline"
    SLOW = "slow"
    FAILED_BREW = "failed_brew"
    REFUSED = "refused"
    LOST_ACK = "lost_ack"
    DUPLICATE_ACK = "duplicate_ack"
    MUTE = "mute"
    REBOOT = "reboot"
    REBOOT_AFTER_CUP = "reboot_after_cup"
    CLOCK_OFF = "clock_off"
    STALE_SESSION = "stale_session"
    ERROR_BEFORE = "error_before"
    ERROR_AFTER_SUCCESS = "error_after_success"
    TIMEOUT_AFTER_SUCCESS = "timeout_after_success"
    TOO_MANY = "too_many"


Probability = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[int, Field(ge=0, le=86_400_000)]


class Options(BaseModel):
    """How far each fault goes."""

    model_config = ConfigDict(extra="forbid")

    offline_ms: tuple[Milliseconds, Milliseconds] = (2_000, 8_000)
    reboot_ms: tuple[Milliseconds, Milliseconds] = (1_000, 4_000)
    stale_ms: tuple[Milliseconds, Milliseconds] = (2_000, 8_000)
    slow_ms: tuple[Milliseconds, Milliseconds] = (5_000, 20_000)
    timeout_ms: Milliseconds = 60_000
    clock_off_s: int = Field(default=3_600, ge=-86_400, le=86_400)
    failed_code: str = Field(default="no_water", max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    refused_code: str = Field(default="no_cups", max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")


class Armed(BaseModel):
    """A fault armed for the next command that fits; it goes off ``count`` times."""

    model_config = ConfigDict(extra="forbid")

    switch: Switch
    device: str | None = None
    order_id: str | None = None
    count: int = Field(default=1, ge=1, le=1_000_000)


class Chaos(BaseModel):
    """The body of ``PUT /control/chaos``: everything that is switched on."""

    model_config = ConfigDict(extra="forbid")

    seed: int = 0
    probabilities: dict[Switch, Probability] = Field(default_factory=dict)
    options: Options = Field(default_factory=Options)
    once: list[Armed] = Field(default_factory=list, max_length=10_000)

    def _share(self, switch: str, subject: str) -> float:
        digest = hashlib.blake2b(f"{self.seed}|{switch}|{subject}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / _SCALE

    def strikes(self, switch: Switch, subject: str, *, device: str, order_id: str = "") -> bool:
        """Decide one fault for one subject. An armed fault that fits goes off first, and is used up by it."""
        for armed in self.once:
            fits = armed.device in (None, device) and armed.order_id in (None, order_id)
            if armed.switch == switch and fits:
                armed.count -= 1
                if armed.count < 1:
                    self.once.remove(armed)
                return True
        probability = self.probabilities.get(switch, 0.0)
        return probability > 0 and self._share(switch, subject) < probability

    def between(self, bounds: tuple[int, int], subject: str) -> int:
        """A repeatable number of milliseconds within the bounds."""
        low, high = min(bounds), max(bounds)
        return low + int(self._share("between", subject) * (high - low))

    def sign(self, subject: str) -> int:
        """Plus or minus one, repeatably."""
        return 1 if self._share("sign", subject) < 0.5 else -1
