"""What a machine shows: a page each, for a phone or a browser; it works without scripts and renews itself with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import segno
from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.templating import Jinja2Templates

from sandbox.machines.chaos import Armed, Switch
from sandbox.machines.control import fleet_of
from sandbox.machines.fleet import Fleet
from sandbox.machines.machine import Machine
from sandbox.machines.model import DeviceId
from sandbox.machines.texts import TEXTS, language_of
from sandbox.machines.wire import now_ms

router = APIRouter()
templates = Jinja2Templates(directory=Path(__file__).parent / "pages")
_LISTED_MAX = 500
_AWAY_MS, _REBOOT_MS = 20_000, 3_000


def qr_svg(link: str) -> str:
    """The QR code of a link, as SVG to put into a page."""
    return str(segno.make(link, error="m", micro=False).svg_inline(scale=6, border=2, svgclass="qr", lineclass=None))


def view_of(fleet: Fleet, machine: Machine) -> dict[str, Any]:
    """Return what the machine's screen shows now."""
    shop = f"{fleet.settings.shop_url.rstrip('/')}/m/{machine.device}"
    screen = machine.screen
    shown = screen.event if screen.event and (not screen.until_ms or screen.until_ms > now_ms()) else "idle"
    if machine.current is None and shown == "brewing":
        shown = "idle"
    if not machine.switches.powered:
        shown = "off"
    elif not fleet.transport(machine.device).online:
        shown = "offline"
    elif shown in ("idle", "chosen") and machine.state in ("error", "sold_out"):
        shown = machine.state
    names: dict[tuple[str, str], str] = {
        (line.drink, line.size): line.name or line.drink for line in machine.config.menu
    }
    link = screen.code if shown == "chosen" else shop
    return {
        "machine": machine,
        "shown": shown,
        "link": link,
        "qr": qr_svg(link) if shown in ("idle", "chosen") else "",
        "drink": names.get((screen.drink, screen.size), screen.drink),
        "size": screen.size,
        "code": screen.code if shown == "failed" else machine.switches.error,
        "menu": [
            (line, (line.drink, line.size) in machine.switches.sold_out, f"{line.price_minor / 100:.2f}")
            for line in machine.config.menu
        ],
        "waiting": machine.waiting,
    }


def _render(request: Request, name: str, **context: Any) -> Response:
    language = request.query_params.get("lang", "")
    if language not in TEXTS:
        language = language_of(request.headers.get("accept-language", ""))
    answer = templates.TemplateResponse(request, name, {"t": TEXTS[language], "lang": language, **context})
    answer.headers["Cache-Control"] = "no-store"
    return answer


@router.get("/machines")
async def machines(request: Request) -> Response:
    """All machines, as a list of links."""
    fleet = fleet_of(request)
    listed = [
        (machine, fleet.transport(device).online) for device, machine in sorted(fleet.machines.items())[:_LISTED_MAX]
    ]
    return _render(request, "machines.html", machines=listed, counts=fleet.counts())


@router.get("/machines/{device}")
async def machine_page(request: Request, device: DeviceId) -> Response:
    """A machine's screen, with its service panel below."""
    fleet = fleet_of(request)
    return _render(request, "machine.html", **view_of(fleet, fleet.find(device)))


@router.get("/machines/{device}/screen")
async def screen(request: Request, device: DeviceId) -> Response:
    """The screen alone: the page puts it into its place each second."""
    fleet = fleet_of(request)
    return _render(request, "screen.html", **view_of(fleet, fleet.find(device)))


def _back(device: str) -> Response:
    return RedirectResponse(f"/machines/{device}", status_code=303)


@router.post("/machines/{device}/choose")
async def choose(request: Request, device: DeviceId, drink: str = Form(max_length=64), size: str = Form()) -> Response:
    """Somebody presses a drink's button."""
    fleet_of(request).choose(device, drink, size)
    return _back(device)


@router.post("/machines/{device}/cancel")
async def cancel(request: Request, device: DeviceId) -> Response:
    """Back to the menu."""
    machine = fleet_of(request).find(device)
    machine.chosen = None
    machine.screen.event = ""
    return _back(device)


@router.post("/machines/{device}/service")
async def service(request: Request, device: DeviceId, action: str = Form(max_length=20)) -> Response:
    """The service panel's buttons."""
    fleet = fleet_of(request)
    fleet.find(device)
    faults = {"fail_next": Switch.FAILED_BREW, "refuse_next": Switch.REFUSED}
    changes: dict[str, dict[str, Any]] = {
        "on": {"powered": True}, "power_off": {"powered": False}, "break": {"error": "no_water"},
        "repair": {"error": "", "sold_out": []},
    }  # fmt: skip
    if action in faults:
        armed = Armed(switch=faults[action], device=device)
        fleet.set_chaos(fleet.chaos.model_copy(update={"once": [*fleet.chaos.once, armed]}))
    elif action in changes:
        fleet.switch(device, changes[action])
    elif action == "reboot":
        fleet.reboot(device, _REBOOT_MS)
    elif action == "away":
        fleet.away(device, _AWAY_MS)
    return _back(device)
