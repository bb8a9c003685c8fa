"""Every public thing of Copeck, read from what defines it: OpenAPI, routes, typer, the Makefile, notifications."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import typer
from fastapi import FastAPI
from starlette.routing import Route

from tests.arch.rules import ROOT

NOTIFICATIONS = ("check", "pay", "fail", "confirm", "refund", "recurrent", "cancel", "receipt")
"""What CloudPayments sends, as the issue names it; by hand, so that one that is forgotten is missed."""

DEFECTS = (
    "a second webhook makes a second drink",
    "what is paid after its time is neither brewed nor refunded",
    "a drink that was not made is not refunded",
    "a forged webhook brews",
    "a price of nothing becomes 50 roubles",
    "a link that nobody signed is taken",
    "an order is successful without a word of the machine",
    "a payment goes to another merchant's shop",
    "a secret has a default",
)
"""What was wrong with the coffee service that this replaces; each is a regression test."""

COFFEE = (
    "frame vector",
    "tmetr static/drink",
    "tmetr command/make",
    "tmetr heartbeat/recent",
    "statement per day and machine",
    "import of machines with bad lines",
    "import of drinks with bad lines",
    "stop switch of a merchant",
    "stop switch of a machine",
    "stop switch of a drink",
    "stop by itself after failures",
)
"""What the issue of coffee promises beside the endpoints, as it names it; tests claim it by their marker."""

CLI_MODULES = {
    "auth": "auth.main",
    "subscriptions": "subscriptions.main",
    "billing_state_updater": "billing_state_updater.main",
    "payments_gateway": "payments_gateway.main",
    "device_bridge": "device_bridge.main",
    "reminder_cron": "reminder_cron.main",
}
# What a machine does wrong is nothing that a buyer sees.
_NOT_SHOWN = frozenset({"foreign-command"})
# Served to a browser or to a machine, and no operation of anybody's API.
_NOT_OURS = re.compile(r"/(static|docs|redoc|openapi\.json|metrics|healthz|readyz|favicon)")


@dataclass(frozen=True, order=True)
class Thing:
    """One public thing: its kind, and the name by which tests claim it."""

    kind: str
    name: str


@cache
def things() -> tuple[Thing, ...]:
    """Return all of them."""
    return (
        *(Thing("endpoint", name) for name in endpoints()),
        *(Thing("notification", f"notification {kind}") for kind in NOTIFICATIONS),
        *(Thing("command", name) for name in commands()),
        *(Thing("target", f"make {name}") for name in targets()),
        *(Thing("defect", f"defect: {name}") for name in DEFECTS),
        *(Thing("promise", name) for name in COFFEE),
        *(Thing("promise", f"driver policy {name}") for name in drivers()),
        *(Thing("error page", f"error page {name}") for name in refusals()),
    )


def drivers() -> list[str]:
    """Return the models of machines."""
    from device_bridge.drivers.registry import MODELS

    return sorted(MODELS)


def refusals() -> list[str]:
    """Return every refusal that a buyer of coffee may meet: each has a page."""
    from device_bridge.domain import errors

    shown = [value for value in vars(errors).values() if getattr(value, "__module__", "") == errors.__name__]
    return sorted({kind.type for kind in shown if kind.type not in _NOT_SHOWN})


def targets() -> list[str]:
    """Return the Makefile's targets."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return re.findall(r"(?m)^([a-z][a-z-]*):.*?## ", text)


def commands() -> list[str]:
    """Return every command of `copeck`, and of the services' own command lines."""
    import importlib

    from copeck.operator import registry

    found = []
    for name, reference in registry.COMMANDS.items():
        found += [
            f"copeck {' '.join(words)}" for words in _leaves(typer.main.get_command(registry.load(reference)), name)
        ]
    for package, module in CLI_MODULES.items():
        loaded = vars(importlib.import_module(module)).values()
        command = typer.main.get_command(next(value for value in loaded if isinstance(value, typer.Typer)))
        found += [" ".join(words) for words in _leaves(command, package)]
    return found


def _leaves(command: Any, *names: str) -> Iterator[tuple[str, ...]]:
    inner = getattr(command, "commands", None)
    if not inner:
        yield names
        return
    for name, child in inner.items():
        yield from _leaves(child, *names, name)


def endpoints() -> list[str]:
    """Return every operation of every API, and every page: what OpenAPI says, and routes that it does not tell of."""
    found: set[str] = set()
    for app in applications():
        for path, methods in app.openapi()["paths"].items():
            found |= {f"{method.upper()} {path}" for method in methods if method != "parameters"}
        found |= set(_served(app.routes))
    return sorted(found, key=lambda name: (name.split()[1], name))


def _served(routes: Any, prefix: str = "") -> Iterator[str]:
    for route in routes:
        if isinstance(route, Route):
            path = re.sub(r":[a-z]+\}", "}", prefix + route.path)
            if not _NOT_OURS.search(path):
                yield from (f"{method} {path}" for method in sorted(route.methods or ()) if method != "HEAD")
        elif inner := getattr(route, "original_router", None):
            # A router included by FastAPI, with the prefix that it was given.
            yield from _served(inner.routes, prefix + vars(route)["include_context"].prefix)


def applications() -> list[FastAPI]:
    """Build every service's application; nothing is connected before one is started."""
    from auth.main import build_app as build_auth
    from auth.settings import AuthSettings
    from device_bridge.service import build_app as build_devices
    from device_bridge.settings import DevicesSettings
    from payments_gateway.main import build as build_gateway
    from payments_gateway.settings import GatewaySettings
    from subscriptions.service import build_app as build_subscriptions
    from subscriptions.settings import SubscriptionsSettings

    url = "postgresql://nobody@127.0.0.1:1/none"
    return [
        build_auth(AuthSettings(database_url=url, signing_secret="x" * 40)),  # type: ignore[arg-type]
        build_subscriptions(SubscriptionsSettings(database_url=url), with_bus=False),
        build_gateway(GatewaySettings(database_url=url), bus=False),
        build_devices(DevicesSettings(database_url=url, device_secret="x" * 40), with_bus=False),  # type: ignore[arg-type]
    ]
