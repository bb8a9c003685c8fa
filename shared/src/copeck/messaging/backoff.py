"""Waiting between tries: exponential, with jitter, capped."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """`delay_s(0)` is about the first delay; each next one doubles, up to the cap; jitter is half of it."""

    first_s: float = 0.1
    cap_s: float = 5.0

    def delay_s(self, attempt: int) -> float:
        """Return how long to wait after a number of failures."""
        # The exponent is bounded: 2 ** attempt of a long outage would not fit into a float.
        whole = min(self.cap_s, self.first_s * 2.0 ** min(attempt, 30))
        return whole * (0.5 + random.random() / 2)  # noqa: S311 - no secret depends on it
