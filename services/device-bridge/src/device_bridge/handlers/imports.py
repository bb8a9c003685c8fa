"""Taking a file of the catalogue in: whole or not at all, in one commit, and only what differs is written."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from device_bridge.domain.addresses import AddressForbidden, ModelForbidden, check_address, check_model_choice
from device_bridge.domain.catalogue_files import CatalogueFile
from device_bridge.domain.catalogue_lines import TEXT_COLUMNS, DeviceLine, DrinkLine
from device_bridge.domain.model import Device, Drink
from device_bridge.drivers.registry import policy_of
from device_bridge.handlers import catalogue
from device_bridge.handlers.context import Work
from device_bridge.store import drinks, lookups

_DEVICE_COLUMNS = ("name", "location", "time_zone", "model", "payment_scenario", "price_rule", "driver")
_DRINK_COLUMNS = ("name", "available", "vat_code", "payment_subject", "payment_method", "measure")


@dataclass(frozen=True, slots=True)
class Taken:
    """What a file became, or would become."""

    created: int
    changed: int


async def drinks_of(work: Work, device_id: str, file: CatalogueFile[DrinkLine], *, dry_run: bool) -> Taken:
    """Write the drinks of a file: those that are there already are changed, and others are left alone.

    A column that the file does not have leaves what is there. Nothing is written by a dry run, or of a file with a bad
    line.
    """
    known: dict[tuple[str, str], Drink] = {
        (one.drink_id, one.size): one for one in await drinks.of_device(work.tx, device_id)
    }
    created = changed = 0
    for line in file.values:
        before = known.get((line.drink_id, line.size))
        values = drink_values(line, file.columns if before else None)
        if before is not None and not _differs(before, values):
            continue
        created += before is None
        changed += before is not None
        if not dry_run and not file.bad:
            await catalogue.put_drink(work, device_id, line.drink_id, line.size, if_match=None, values=values)
    return Taken(created, changed)


def drink_values(line: DrinkLine, columns: frozenset[str] | None) -> dict[str, Any]:
    """Return what a line sets of a drink: everything of a new one (`columns` None), else what the file has."""
    names = [name for name in _DRINK_COLUMNS if columns is None or name in columns]
    return {"price_minor": line.price_minor} | {name: getattr(line, name) for name in names}


def device_values(line: DeviceLine, columns: frozenset[str], before: Device | None) -> dict[str, Any]:
    """Return what a line sets of a machine; texts of states that the file has no column for stay."""
    values = {name: getattr(line, name) for name in _DEVICE_COLUMNS if before is None or name in columns}
    texts = {state: dict(one) for state, one in (before.texts if before else {}).items()}
    for column, (state, language) in TEXT_COLUMNS.items():
        if column in columns:
            texts.setdefault(state, {})[language] = line.texts.get(state, {}).get(language, "")
    values["texts"] = {state: {"ru": "", "en": ""} | one for state, one in texts.items() if any(one.values())}
    return values


def _differs(before: Device | Drink, values: dict[str, Any]) -> bool:
    return any(getattr(before, name) != value for name, value in values.items())


async def devices_of(work: Work, merchant_id: UUID | None, file: CatalogueFile[DeviceLine], *, dry_run: bool) -> Taken:
    """Write the machines of a file. `merchant_id` is whose they are; None: each line says it (a manager's file).

    What only the database tells makes lines bad here: a merchant that does not exist, a machine that is another's.
    """
    known = await lookups.machines(work.tx, {line.id for line in file.values})
    there = await lookups.known_merchants(work.tx, {line.merchant_id for line in file.values if line.merchant_id})
    refused = {}
    for one in file.good:
        before = known.get(one.value.id)
        problem = _problem(one.value, before, merchant_id, there)
        if problem is None and merchant_id is not None:
            problem = _forbidden(one.value, file.columns, before)
        if problem is not None:
            refused[one.line] = problem
    file.refuse(refused)
    created = changed = 0
    for line in file.values:
        before = known.get(line.id)
        values = device_values(line, file.columns, before)
        if before is not None and not _differs(before, values):
            continue
        created += before is None
        changed += before is not None
        if dry_run or file.bad:
            continue
        if before is not None:
            await catalogue.change_device(work, line.id, "*", values, by_manager=merchant_id is None)
        else:
            owner = merchant_id or line.merchant_id
            assert owner is not None  # noqa: S101 - such a line is a bad one
            await catalogue.create_device(
                work, device_id=line.id, merchant_id=owner, by_manager=merchant_id is None, **values
            )
    return Taken(created, changed)


def _forbidden(line: DeviceLine, columns: frozenset[str], before: Device | None) -> tuple[str, str] | None:
    """Return what is wrong with a line of a merchant's file that says what only a manager does."""
    try:
        if "driver" in columns:
            check_address(before.driver if before else {}, line.driver, by_manager=False)
        if before is None or line.model != before.model:
            check_model_choice(policy_of(line.model), by_manager=False)
    except (AddressForbidden, ModelForbidden) as error:
        return error.field or "line", error.detail
    return None


def _problem(
    line: DeviceLine, before: Device | None, merchant_id: UUID | None, there: set[UUID]
) -> tuple[str, str] | None:
    if merchant_id is not None and line.merchant_id not in (None, merchant_id):
        return "merchant_id", "it is not yours"
    if before is not None:
        if merchant_id not in (None, before.merchant_id):
            return "id", "another machine has it"
        if line.merchant_id not in (None, before.merchant_id):
            return "merchant_id", "a machine does not change its merchant"
        return None
    if merchant_id is None and line.merchant_id is None:
        return "merchant_id", "say whose the new machine is"
    if merchant_id is None and line.merchant_id not in there:
        return "merchant_id", "there is no such merchant"
    return None
