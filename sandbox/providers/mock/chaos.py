"""Faults on demand: each switch is a probability with a seed, or is armed for a few operations to come.

A probability is decided by hashing (seed, switch, subject), not by drawing in turn, so the same payments meet the
same faults however the requests interleave. The subject of a call is its idempotency key with the number of the try:
a call that met a fault can be repeated.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_SCALE = 2**64


class Switch(StrEnum):
    """What can go wrong."""

    ERROR_BEFORE = "error_before"
    ERROR_AFTER_SUCCESS = "error_after_success"
    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER_SUCCESS = "timeout_after_success"
    TOO_MANY = "too_many"
    DECLINE = "decline"
    DUPLICATE = "duplicate"


class Operation(StrEnum):
    """What can be asked of the gateway."""

    DEPOSIT = "deposit"
    WITHDRAW = "withdraw"
    FIND = "find"
    BALANCE = "balance"


Probability = Annotated[float, Field(ge=0, le=1)]


class Options(BaseModel):
    """How far each fault goes."""

    model_config = ConfigDict(extra="forbid")

    timeout_ms: int = Field(default=60_000, ge=0, le=600_000)
    error_statuses: list[int] = Field(default=[500, 503], min_length=1, max_length=10)
    decline_error: str = Field(default="declined", min_length=1, max_length=100)


class Armed(BaseModel):
    """A fault armed for the next operations that fit; it goes off ``count`` times."""

    model_config = ConfigDict(extra="forbid")

    switch: Switch
    operation: Operation | None = None
    payment_id: str | None = None
    count: int = Field(default=1, ge=1, le=1_000_000)


class Chaos(BaseModel):
    """The body of ``PUT /sandbox/chaos``: everything that is switched on."""

    model_config = ConfigDict(extra="forbid")

    seed: int = 0
    probabilities: dict[Switch, Probability] = Field(default_factory=dict)
    operations: dict[Switch, list[Operation]] = Field(
        default_factory=dict, description="Limits a switch to these operations; all of them when left out."
    )
    options: Options = Field(default_factory=Options)
    fail_next: int = Field(default=0, ge=0, le=1_000_000, description="So many withdrawals to come are declined.")
    once: list[Armed] = Field(default_factory=list, max_length=10_000)

    @property
    def calm(self) -> bool:
        """Whether nothing can go wrong."""
        return not (self.once or self.fail_next or any(self.probabilities.values()))

    def _share(self, switch: str, subject: str) -> float:
        digest = hashlib.blake2b(f"{self.seed}|{switch}|{subject}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / _SCALE

    def strikes(self, switch: Switch, operation: Operation, subject: str, payment_id: str | None = None) -> bool:
        """Decide one fault for one subject. What is armed and fits goes off first, and is used up by it."""
        if switch == Switch.DECLINE and operation == Operation.WITHDRAW and self.fail_next > 0:
            self.fail_next -= 1
            return True
        for armed in self.once:
            fits = armed.operation in (None, operation) and armed.payment_id in (None, payment_id)
            if armed.switch == switch and fits:
                armed.count -= 1
                if armed.count < 1:
                    self.once.remove(armed)
                return True
        probability = self.probabilities.get(switch, 0.0)
        if probability <= 0 or operation not in self.operations.get(switch, [operation]):
            return False
        return self._share(f"{switch}/{operation}", subject) < probability

    def error_status(self, subject: str) -> int:
        """One of the statuses for errors, the same one for the same subject."""
        statuses = self.options.error_statuses
        return statuses[int(self._share("status", subject) * len(statuses))]
