"""Rotation of signing keys: one step at a time, by command, and the first key at the start."""

from datetime import timedelta

from auth.context import Context
from auth.domain.rotation import KeyState, Step, next_step
from auth.signing import make_key
from auth.store import signing_keys
from copeck.web.keys import CACHE_S

# Verifiers keep keys for CACHE_S; the rest is for their clocks and for requests under way.
CACHE = timedelta(seconds=CACHE_S + 60)


async def ensure_key(context: Context) -> None:
    """Make sure that there is a key to sign with; of several processes that start at once, one makes it."""
    async with context.database.reading() as tx:
        if any(key.state == "active" for key in await signing_keys.in_use(tx)):
            return
    async with context.database.transaction() as tx:
        await signing_keys.lock(tx)
        states = await signing_keys.states(tx)
        now = context.clock.now()
        if any(key.state == "active" for key in states):
            return
        coming = next((key.kid for key in states if key.state == "published"), None)
        if coming is None:
            key = make_key(context.settings.signing_algorithm, context.sealer)
            await signing_keys.publish(tx, key, now)
            coming = key.kid
        await signing_keys.activate(tx, coming, now)
    context.ring.forget()


async def rotate(context: Context, *, force: bool = False, age_min: timedelta = timedelta(0)) -> Step:
    """Take the next step if it is due. `force` waits for nothing: for a key that leaked; tokens then become invalid."""
    async with context.database.transaction() as tx:
        await signing_keys.lock(tx)
        now = context.clock.now()
        step = next_step(
            await signing_keys.states(tx),
            now,
            cache=timedelta(0) if force else CACHE,
            token_life=timedelta(0) if force else timedelta(seconds=context.settings.access_token_s + 60),
            age_min=age_min,
        )
        if step.action == "publish":
            key = make_key(context.settings.signing_algorithm, context.sealer)
            await signing_keys.publish(tx, key, now)
            step = Step("publish", key.kid, step.reason)
        elif step.action == "activate" and step.kid is not None:
            await signing_keys.activate(tx, step.kid, now)
        elif step.action == "retire" and step.kid is not None:
            await signing_keys.retire(tx, step.kid, now)
    context.ring.forget()
    return step


async def listing(context: Context) -> list[KeyState]:
    """List the keys, the newest first."""
    async with context.database.reading() as tx:
        return await signing_keys.states(tx)
