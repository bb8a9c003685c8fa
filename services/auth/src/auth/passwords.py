"""Argon2, off the event loop, and never more of it at once than the machine can bear."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher

from auth.domain.errors import BusyError
from auth.settings import AuthSettings

P = ParamSpec("P")
T = TypeVar("T")


class Passwords:
    """Hashes and checks passwords; each takes tens of megabytes and about a tenth of a second of a core."""

    def __init__(self, settings: AuthSettings) -> None:
        hasher = Argon2Hasher(
            memory_cost=settings.password_memory_kib, time_cost=settings.password_passes, parallelism=1
        )
        self._hash = PasswordHash((hasher,))
        self._turns = asyncio.Semaphore(settings.password_concurrency)
        self._waiting = 0
        self._waiting_max = settings.password_waiting_max
        # Checked in place of the hash of an account that does not exist, so that the answer takes as long.
        self._decoy = self._hash.hash("no account has this password")

    async def hash(self, password: str) -> str:
        """Return the hash to store."""
        return await self._in_turn(self._hash.hash, password)

    async def verify(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """Tell whether the password is right, and return a new hash when the stored one is out of date.

        Without a stored hash the same work is done, and the answer is no.
        """
        try:
            right, renewed = await self._in_turn(self._hash.verify_and_update, password, stored or self._decoy)
        except PwdlibError:
            return False, None
        return (right, renewed) if stored is not None else (False, None)

    async def _in_turn(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        if self._waiting >= self._waiting_max:
            raise BusyError("try again in a moment")
        self._waiting += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(work, *arguments, **named)
        finally:
            self._waiting -= 1
