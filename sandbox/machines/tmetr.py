"""The telemetry's HTTP API as far as it is known: drink data, have a drink made, recent heartbeats.

Its answer to ``command/make`` means that the command was taken; whether anything was brewed it never says. Prices are
kopecks. A machine of the fleet whose model is ``tmetr`` is behind it, by its own name.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from sandbox.machines.chaos import Switch
from sandbox.machines.control import fleet_of
from sandbox.machines.fleet import Fleet
from sandbox.machines.machine import Machine
from sandbox.machines.transports import TelemetryTransport
from sandbox.machines.wire import Order

_SIZES_ASKED = {"SMALL": "small", "MEDIUM": "medium", "BIG": "large"}
_SIZES_MADE = {"small": "small", "medium": "medium", "big": "large"}
_COMMANDS_MAX = 100
_ROWS_MAX = 1_000


def check_token(request: Request) -> None:
    """Require the bearer token."""
    wanted = f"Bearer {fleet_of(request).settings.tmetr_token.get_secret_value()}"
    if not hmac.compare_digest(request.headers.get("authorization", "").encode(), wanted.encode()):
        raise HTTPException(401, "bad token")


router = APIRouter(prefix="/tmetr/api", dependencies=[Depends(check_token)])


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", alias_generator=to_camel)


class DrinkQuestion(_Body):
    """Which drink in which size."""

    device_id: str
    drink_id_at_device: str
    drink_size: Literal["SMALL", "MEDIUM", "BIG"]


class MakeCommand(_Body):
    """A cup to be made."""

    device_id: str
    order_uuid: str = Field(min_length=1, max_length=100)
    drink_uuid: str
    size: Literal["small", "medium", "big"]
    price: int = Field(ge=0)


class HeartbeatQuestion(_Body):
    """Whose heartbeats."""

    device_ids: list[str] = Field(max_length=_ROWS_MAX)
    offset: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=1, le=_ROWS_MAX)


def _machine(fleet: Fleet, device: str) -> Machine:
    machine = fleet.machines.get(device)
    if machine is None or machine.config.model != "tmetr":
        raise HTTPException(404, "unknown device")
    return machine


def _before(fleet: Fleet, operation: str, subject: str, device: str) -> None:
    if fleet.strikes(Switch.TOO_MANY, f"{operation}/{subject}", device):
        raise HTTPException(429, "too many requests")
    if fleet.strikes(Switch.ERROR_BEFORE, f"{operation}/{subject}", device):
        raise HTTPException(500, "internal error")


async def _after(fleet: Fleet, operation: str, subject: str, device: str) -> None:
    if fleet.strikes(Switch.ERROR_AFTER_SUCCESS, f"{operation}/{subject}", device):
        raise HTTPException(502, "bad gateway")
    if fleet.strikes(Switch.TIMEOUT_AFTER_SUCCESS, f"{operation}/{subject}", device):
        await asyncio.sleep(fleet.chaos.options.timeout_ms / 1000)


def drink_uuid(device: str, drink: str) -> str:
    """The telemetry's own id of a drink."""
    return f"{device}.{drink}"


@router.post("/ui/v1/static/drink")
async def static_drink(request: Request, wanted: DrinkQuestion) -> Response:
    """The name, the price and the telemetry's id of a drink; a price of 0 is one that it does not know."""
    fleet = fleet_of(request)
    subject = f"{wanted.device_id}/{wanted.drink_id_at_device}/{wanted.drink_size}"
    _before(fleet, "drink", subject, wanted.device_id)
    machine = _machine(fleet, wanted.device_id)
    size = _SIZES_ASKED[wanted.drink_size]
    found = [line for line in machine.config.menu if (line.drink, line.size) == (wanted.drink_id_at_device, size)]
    if not found:
        raise HTTPException(404, "unknown drink")
    await _after(fleet, "drink", subject, wanted.device_id)
    line = found[0]
    return JSONResponse(
        {
            "drink_id": drink_uuid(machine.device, line.drink), "name": line.name or line.drink,
            "price": line.price_minor, "drinkSize": wanted.drink_size,
        }
    )  # fmt: skip


@router.post("/commander/v1/command/make")
async def make(request: Request, commands: Annotated[list[MakeCommand], Field(max_length=_COMMANDS_MAX)]) -> Response:
    """Have drinks made. A machine recognises an order that it has seen; the telemetry passes everything on."""
    fleet = fleet_of(request)
    for command in commands:
        _before(fleet, "make", command.order_uuid, command.device_id)
        machine = _machine(fleet, command.device_id)
        drink = command.drink_uuid.removeprefix(f"{command.device_id}.")
        order = Order(command.order_uuid, command.order_uuid, drink, _SIZES_MADE[command.size], command.price)
        fleet.store.log(
            "command.received", machine.device, command_id=order.command_id, order_id=order.order_id, kind="brew",
            payload=command.model_dump_json(by_alias=True),
        )  # fmt: skip
        if fleet.transport(machine.device).online:
            machine.take(order)
        await _after(fleet, "make", command.order_uuid, command.device_id)
    return JSONResponse([{"orderUuid": command.order_uuid, "status": "ACCEPTED"} for command in commands])


@router.post("/ui/v1/stat/heartbeat/recent")
async def heartbeats(request: Request, wanted: HeartbeatQuestion) -> Response:
    """When each machine was heard of last, in Unix seconds."""
    fleet = fleet_of(request)
    _before(fleet, "heartbeat", "", "")
    content: list[dict[str, Any]] = []
    for device in wanted.device_ids:
        transport = fleet.machines.get(device) and fleet.transport(device)
        if isinstance(transport, TelemetryTransport) and transport.heartbeat_ms:
            name = transport.machine.config.name or device
            content.append(
                {"deviceId": device, "deviceIotName": name, "heartbeatCreatedAt": transport.heartbeat_ms // 1000}
            )
    page = content[wanted.offset : wanted.offset + wanted.limit]
    return JSONResponse(
        {"content": page, "totalElements": len(content), "offset": wanted.offset, "limit": wanted.limit}
    )
