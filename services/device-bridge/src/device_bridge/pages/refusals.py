"""Pages that say why there is no coffee now, and what to do about it."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from copeck.kernel.errors import DomainError
from copeck.web.pages import Pages
from copeck.web.problems import Problem
from device_bridge.domain.model import Device

_STATE_OF: Mapping[str, str] = {
    "device-off": "off",
    "device-in-error": "error",
    "device-sold-out": "sold_out",
}
"""Which of a machine's own texts belongs to which refusal."""

_PASSES = frozenset({*_STATE_OF, "device-stopped", "unavailable", "rate-limited"})
"""What may be otherwise when the page is loaded again."""

_SAME_AS: Mapping[str, str] = {
    "not-found": "order-not-found",
    "timed-out": "unavailable",
    "contact-invalid": "invalid-value",
    "idempotency-key-reused": "invalid-value",
    "merchant-without-shop": "merchant-inactive",
}


class BuyersPages(Pages):
    """The buyers' pages: each refusal has a page in plain words, with a way on."""

    def problem(self, request: Request, problem: Problem, trace_id: str | None) -> HTMLResponse:
        """Show an error to a reader; one that has no page of its own gets the common one."""
        if not self.texts(request).known(f"refused_{_name_of(problem.type)}"):
            return super().problem(request, problem, trace_id)
        return self._refusal(request, problem.type, problem.status, problem.headers, None)

    def refuse(
        self, request: Request, refusal: DomainError, device: Device | None = None, *, machine_path: str = ""
    ) -> HTMLResponse:
        """Show why not; a machine may have words of its own for it. `machine_path` is where to choose once more."""
        return self._refusal(request, refusal.type, refusal.status, {}, device, machine_path)

    def own_text(self, request: Request, device: Device, state: str) -> str:
        """Return what the machine's owner wants to be said of a state, in the reader's language if there is such."""
        texts = device.texts.get(state, {})
        return texts.get(self.texts(request).language) or next(iter(texts.values()), "")

    def _refusal(
        self,
        request: Request,
        kind: str,
        status: int,
        headers: Mapping[str, str],
        device: Device | None,
        machine_path: str = "",
    ) -> HTMLResponse:
        texts = self.texts(request)
        name = _name_of(kind)
        own = self.own_text(request, device, _STATE_OF[kind]) if device and kind in _STATE_OF else ""
        values: dict[str, Any] = {
            "refusal": kind,
            "heading": texts(f"refused_{name}"),
            "text": own or texts(f"refused_{name}_text"),
            "place": place_of(device) if device else "",
            "retry": request.method == "GET" and kind in _PASSES,
            "machine_path": machine_path or _machine_path(request, kind),
        }
        response = self.render(request, "refusal.html", values, status=status)
        response.headers.update(headers)
        return response


def place_of(device: Device) -> str:
    """Return where the machine stands, as its visitors know it."""
    return f"{device.name}, {device.location}" if device.location else device.name


def _name_of(kind: str) -> str:
    return _SAME_AS.get(kind, kind)


def _machine_path(request: Request, kind: str) -> str:
    """Return the page of the machine that the address names, if going there helps."""
    device = request.path_params.get("device")
    return "" if kind == "device-unknown" or not isinstance(device, str) else f"/m/{device}"
