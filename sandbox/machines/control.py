"""Hands on the fleet: set machines up, turn their switches, read the brew log. No authentication: never expose it."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.machines.chaos import Armed, Chaos
from sandbox.machines.fleet import Fleet, UnknownMachineError
from sandbox.machines.machine import Machine
from sandbox.machines.model import DeviceId, MachineConfig

router = APIRouter(prefix="/control")
LOG_ROWS_MAX = 10_000


def fleet_of(request: Request) -> Fleet:
    """Return the fleet of the process."""
    fleet: Fleet = request.app.state.fleet
    return fleet


def shown(fleet: Fleet, machine: Machine) -> dict[str, Any]:
    """Return a machine as it stands."""
    current, config = machine.current, machine.config
    return {
        "device": machine.device,
        "model": config.model,
        "name": config.name,
        "online": fleet.transport(machine.device).online,
        "state": machine.state if machine.switches.powered else "off",
        "brewing": current and {"order_id": current.order_id, "drink": current.drink, "size": current.size},
        "waiting": machine.waiting,
        "screen": {"event": machine.screen.event, "code": machine.screen.code, "until_ms": machine.screen.until_ms},
        "switches": machine.switches.model_dump(mode="json"),
        "menu": [line.model_dump() for line in config.menu],
        "unconfirmed": len(machine.unconfirmed()),
    }


class Configs(BaseModel):
    """Many machines at once."""

    model_config = ConfigDict(extra="forbid")

    machines: list[MachineConfig] = Field(max_length=10_000)


@router.post("/machines")
async def post_machines(request: Request, wanted: Configs) -> Response:
    """Set machines up, thousands at once; those that exist are set up anew."""
    fleet_of(request).put(wanted.machines)
    return JSONResponse({"machines": len(wanted.machines)})


@router.get("/machines")
async def get_machines(
    request: Request, after: str = "", limit: int = Query(100, ge=1, le=10_000), online: bool | None = None
) -> Response:
    """Machines in the order of their names."""
    fleet = fleet_of(request)
    names = sorted(name for name in fleet.machines if name > after)
    if online is not None:
        names = [name for name in names if fleet.transport(name).online == online]
    items = [shown(fleet, fleet.machines[name]) for name in names[:limit]]
    return JSONResponse({"items": items, "more": len(names) > limit, **fleet.counts()})


@router.get("/machines/{device}")
async def get_machine(request: Request, device: DeviceId) -> Response:
    """One machine as it stands."""
    fleet = fleet_of(request)
    return JSONResponse(shown(fleet, fleet.find(device)))


@router.put("/machines/{device}")
async def put_machine(request: Request, device: DeviceId, config: MachineConfig) -> Response:
    """Set a machine up."""
    if config.device != device:
        raise HTTPException(422, "the address names another machine")
    fleet = fleet_of(request)
    fleet.put([config])
    return JSONResponse(shown(fleet, fleet.find(device)))


@router.patch("/machines/{device}")
async def patch_machine(request: Request, device: DeviceId, changes: dict[str, Any]) -> Response:
    """Turn switches; what is not named stays as it is."""
    fleet = fleet_of(request)
    try:
        machine = fleet.switch(device, changes)
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_url=False, include_context=False)) from error
    return JSONResponse(shown(fleet, machine))


@router.delete("/machines/{device}")
async def delete_machine(request: Request, device: DeviceId) -> Response:
    """Take a machine away."""
    fleet_of(request).remove(device)
    return Response(status_code=204)


class Away(BaseModel):
    """For how long."""

    model_config = ConfigDict(extra="forbid")

    for_ms: int = Field(default=5_000, ge=0, le=86_400_000)
    stale: bool = Field(default=False, description="The old connection stays open and deaf.")


@router.post("/machines/{device}/offline")
async def offline(request: Request, device: DeviceId, wanted: Away) -> Response:
    """Take a machine off the network for a while; it goes on brewing."""
    fleet_of(request).away(device, wanted.for_ms, stale=wanted.stale)
    return JSONResponse({"offline_ms": wanted.for_ms})


@router.post("/machines/{device}/reboot")
async def reboot(request: Request, device: DeviceId, wanted: Away) -> Response:
    """Cut the power and give it back."""
    fleet_of(request).reboot(device, wanted.for_ms)
    return JSONResponse({"off_ms": wanted.for_ms})


class Choice(BaseModel):
    """What somebody presses on the machine; the offset makes a link stale, or one from the future."""

    model_config = ConfigDict(extra="forbid")

    drink: str = Field(max_length=64)
    size: str = Field(default="medium", max_length=10)
    ts_offset_s: int = Field(default=0, ge=-86_400, le=86_400)


@router.post("/machines/{device}/choose")
async def choose(request: Request, device: DeviceId, choice: Choice) -> Response:
    """Choose a drink: the link is what the machine's QR code says."""
    link = fleet_of(request).choose(device, choice.drink, choice.size, choice.ts_offset_s)
    return JSONResponse({"url": link})


# What happened


@router.get("/log")
async def log(
    request: Request, after: int = 0, limit: int = Query(1000, ge=1, le=LOG_ROWS_MAX), event: str | None = None,
    device: str | None = None, order_id: str | None = None,
) -> Response:  # fmt: skip
    """Facts in order; page by ``next`` while ``more``."""
    rows = fleet_of(request).store.rows(
        "SELECT seq, at_ms, event, device, command_id, order_id, drink, size, price_minor, details FROM log"
        " WHERE seq > ? AND (? IS NULL OR event = ?) AND (? IS NULL OR device = ?) AND (? IS NULL OR order_id = ?)"
        " ORDER BY seq LIMIT ?",
        (after, event, event, device, device, order_id, order_id, limit + 1),
    )
    names = ("seq", "at_ms", "event", "device", "command_id", "order_id", "drink", "size", "price_minor", "details")
    items = [dict(zip(names, (*row[:-1], json.loads(row[-1])), strict=True)) for row in rows[:limit]]
    return JSONResponse(
        {"items": items, "more": len(rows) > limit, "next": items[-1]["seq"] if items else after},
    )


@router.get("/brews")
async def brews(request: Request, after: str = "", limit: int = Query(LOG_ROWS_MAX, ge=1, le=LOG_ROWS_MAX)) -> Response:
    """Cups really poured, per order, folded from the log; ``repeated`` names orders with more than one."""
    rows = fleet_of(request).store.rows(
        "SELECT order_id, min(device), sum(event = 'brew.poured'), sum(event = 'brew.failed'),"
        " sum(event = 'command.refused'), sum(event = 'command.revoked'),"
        " max(CASE event WHEN 'brew.poured' THEN at_ms END)"
        " FROM log WHERE order_id IS NOT NULL AND order_id > ? GROUP BY order_id ORDER BY order_id LIMIT ?",
        (after, limit + 1),
    )
    names = ("order_id", "device", "poured", "failed", "refused", "revoked", "poured_at_ms")
    items = [dict(zip(names, row, strict=True)) for row in rows[:limit]]
    return JSONResponse({
        "items": items,
        "more": len(rows) > limit,
        "next": items[-1]["order_id"] if items else after,
        "poured": sum(item["poured"] for item in items),
        "repeated": [item["order_id"] for item in items if item["poured"] > 1],
    })  # fmt: skip


@router.get("/stats")
async def stats(request: Request) -> Response:
    """What the fleet has done since the process started."""
    fleet = fleet_of(request)
    counted = {name: getattr(fleet.stats, name) for name in type(fleet.stats).__slots__}
    return JSONResponse({**counted, **fleet.counts()})


@router.post("/replay")
async def replay(request: Request) -> Response:
    """Give every command that was ever heard to its machine again: nothing may be brewed by that."""
    return JSONResponse({"replayed": fleet_of(request).replay()})


@router.post("/reset")
async def reset(request: Request) -> Response:
    """Forget the log, mails and what machines remember of commands that have ended."""
    fleet = fleet_of(request)
    for machine in fleet.machines.values():
        machine.halt()
    fleet.store.reset()
    fleet.set_chaos(Chaos())
    return JSONResponse({"reset": True})


# Chaos


@router.get("/chaos")
async def get_chaos(request: Request) -> Response:
    """What is switched on."""
    return JSONResponse(fleet_of(request).chaos.model_dump(mode="json"))


@router.put("/chaos")
async def put_chaos(request: Request, chaos: Chaos) -> Response:
    """Replace everything that is switched on."""
    fleet_of(request).set_chaos(chaos)
    return JSONResponse(chaos.model_dump(mode="json"))


@router.post("/chaos/once")
async def arm(request: Request, armed: Armed) -> Response:
    """Arm one more fault, and leave the rest as it is."""
    fleet = fleet_of(request)
    fleet.set_chaos(fleet.chaos.model_copy(update={"once": [*fleet.chaos.once, armed]}))
    return JSONResponse(fleet.chaos.model_dump(mode="json"))


@router.delete("/chaos")
async def calm(request: Request) -> Response:
    """Switch everything off."""
    fleet_of(request).set_chaos(Chaos())
    return JSONResponse(Chaos().model_dump(mode="json"))


async def unknown_machine(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the framework's signature
    """There is no such machine."""
    return JSONResponse({"detail": f"unknown machine: {error}"}, status_code=404)


ERRORS = {UnknownMachineError: unknown_machine}
