"""Turning stop switches. Whoever is stopped by one reads it in the transaction of the work itself."""

from dataclasses import replace

from copeck.kernel.errors import NotFoundError
from copeck.web.etag import check_if_match
from payments_gateway.domain.switches import DEPOSITS, PAYOUTS, Switch, is_switch, provider_switch
from payments_gateway.handlers.context import Context
from payments_gateway.store import audit, switches

SUBJECT = "switch"


def names(context: Context) -> list[str]:
    """Return every switch of this installation: two kinds of operations, and each provider that has a shop."""
    providers = {shop.provider for shop in context.shops.all()}
    return [DEPOSITS, PAYOUTS, *sorted(map(provider_switch, providers))]


async def listed(context: Context) -> list[Switch]:
    """Return every switch of this installation, and those that were left stopped by an earlier one."""
    async with context.database.reading() as tx:
        known = {switch.name: switch for switch in await switches.all_switches(tx)}
    there = names(context)
    return [known.get(name) or _untouched(name) for name in (*there, *sorted(set(known) - set(there)))]


async def find(context: Context, name: str) -> Switch:
    """Return one switch; NotFoundError when nothing here could be stopped by it."""
    return next((switch for switch in await listed(context) if switch.name == name), None) or _unknown(name)


async def turn(context: Context, name: str, *, stopped: bool, reason: str, if_match: str, actor: str) -> Switch:
    """Stop something, or let it run; 412 when the switch was turned since it was read."""
    now = context.clock.now()
    async with context.database.transaction() as tx:
        found = await switches.get(tx, name, locked=True)
        if found is None and name not in names(context):
            _unknown(name)
        before = found or _untouched(name)
        check_if_match(if_match, before.version)
        after = replace(
            before, stopped=stopped, reason=reason, version=before.version + 1, changed_by=actor, changed_at=now
        )
        if not await switches.put(tx, after, now):
            # Somebody else's change was committed between the two statements.
            check_if_match("", after.version)
        detail = {"before": before.stopped, "after": stopped, "reason": reason, "version": after.version}
        await audit.note(tx, SUBJECT, name, "stop" if stopped else "run", actor, detail, now)
    return after


def _untouched(name: str) -> Switch:
    return Switch(name, stopped=False, reason="", version=0, changed_by="", changed_at=None)


def _unknown(name: str) -> Switch:
    there = "no provider of that name has a shop here" if is_switch(name) else "deposits, payouts, provider:<code>"
    raise NotFoundError(f"there is no such switch: {there}", "name")
