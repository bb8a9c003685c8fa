"""Faults on demand: each switch is a probability with a seed, or is armed once for a chosen operation.

A probability is decided by hashing (seed, switch, subject), not by drawing in turn, so the same payments meet the
same faults however the requests interleave.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

_SCALE = 2**64


class Switch(StrEnum):
    """What can go wrong."""

    DUPLICATE = "duplicate"
    REORDER = "reorder"
    DELAY = "delay"
    DROP = "drop"
    LOSE_ANSWER = "lose_answer"
    FORGED = "forged"
    WRONG_AMOUNT = "wrong_amount"
    LATE_SUCCESS = "late_success"
    DECLINE = "decline"
    ERROR_BEFORE = "error_before"
    ERROR_AFTER_SUCCESS = "error_after_success"
    TIMEOUT_AFTER_SUCCESS = "timeout_after_success"
    TOO_MANY = "too_many"


Probability = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[int, Field(ge=0, le=86_400_000)]


class Options(BaseModel):
    """How far each fault goes."""

    model_config = ConfigDict(extra="forbid")

    delay_ms: tuple[Milliseconds, Milliseconds] = (100, 2_000)
    reorder_window_ms: Milliseconds = 1_000
    duplicate_delay_ms: tuple[Milliseconds, Milliseconds] = (0, 500)
    late_success_ms: tuple[Milliseconds, Milliseconds] = (1_000, 3_000)
    timeout_ms: Milliseconds = 60_000
    wrong_amount_minor: int = Field(default=-100, description="Added to the amount asked for.")
    wrong_amount_hidden_from_check: bool = Field(default=False, description="Check is told the amount asked for.")
    decline_code: int = Field(default=5051, ge=1000, le=9999)
    forged_with: Literal["wrong_secret", "no_signature", "stale_signature"] = "wrong_secret"


class Armed(BaseModel):
    """A fault armed for the next operation that fits; it goes off ``count`` times."""

    model_config = ConfigDict(extra="forbid")

    switch: Switch
    operation: str | None = Field(default=None, description="charge, refund, pay, fail … ; any when left out.")
    invoice_id: str | None = None
    public_id: str | None = None
    count: int = Field(default=1, ge=1, le=1_000_000)


class Chaos(BaseModel):
    """The body of ``PUT /sandbox/chaos``: everything that is switched on."""

    model_config = ConfigDict(extra="forbid")

    seed: int = 0
    probabilities: dict[Switch, Probability] = Field(default_factory=dict)
    operations: dict[Switch, list[str]] = Field(
        default_factory=dict, description="Limits a switch to these operations; all of them when left out."
    )
    options: Options = Field(default_factory=Options)
    once: list[Armed] = Field(default_factory=list, max_length=10_000)
    _on_used: Callable[[], None] | None = PrivateAttr(default=None)

    def watch(self, on_used: Callable[[], None]) -> None:
        """Call this each time an armed fault goes off."""
        self._on_used = on_used

    def _share(self, switch: str, subject: str) -> float:
        digest = hashlib.blake2b(f"{self.seed}|{switch}|{subject}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / _SCALE

    def strikes(
        self, switch: Switch, operation: str, subject: str, *, invoice_id: str | None = None, public_id: str = ""
    ) -> bool:
        """Decide one fault for one subject. An armed fault that fits goes off first, and is used up by it."""
        for armed in self.once:
            fits = armed.operation in (None, operation) and armed.public_id in (None, public_id)
            if armed.switch == switch and fits and armed.invoice_id in (None, invoice_id):
                armed.count -= 1
                if armed.count < 1:
                    self.once.remove(armed)
                if self._on_used is not None:
                    self._on_used()
                return True
        probability = self.probabilities.get(switch, 0.0)
        if probability <= 0 or operation not in self.operations.get(switch, [operation]):
            return False
        return self._share(f"{switch}/{operation}", subject) < probability

    def between(self, bounds: tuple[int, int], subject: str) -> int:
        """A repeatable number of milliseconds within the bounds."""
        low, high = min(bounds), max(bounds)
        return low + int(self._share("between", subject) * (high - low))
