"""The hook for captcha and its kind: what stands before login and registration besides rate limits.

Nothing does yet. A captcha implements `ChallengeVerifier` over the table `challenges`, and `main.py` passes it in.
"""

from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection


class ChallengeVerifier(Protocol):
    """Decides whether a caller has proved to be a person."""

    async def check(self, tx: AsyncConnection, *, action: str, proof: str | None, address: str) -> None:
        """Raise a DomainError when the action needs a proof and this is none; a proof is good once, for one action."""
        ...


class NoChallenge:
    """Asks for nothing."""

    async def check(self, tx: AsyncConnection, *, action: str, proof: str | None, address: str) -> None:
        """Let everyone through."""
