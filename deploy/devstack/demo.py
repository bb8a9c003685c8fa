"""`make demo`: sells one subscription through everything, and prints what happened to its invoice."""

import json
import time
from typing import TYPE_CHECKING, Any

from deploy.devstack import running
from deploy.devstack.console import RunnerError, say
from deploy.devstack.stack import Stack
from deploy.devstack.summary import print_summary

if TYPE_CHECKING:
    from deploy.devstack.compose import Compose

_MONITOR_S = 0.5
# What a paid subscription must have gone through, in this order, and the transfer that must be in the books.
_STEPS = ("issued", "pending", "paid", "active")
_TRANSFER = ("provider:", "revenue:")


def run(instance: str, *, keep: bool) -> None:
    """Start everything, sell, print, stop."""
    stack = Stack(instance)
    try:
        stack.start()
        state = stack.state()
        _sell(state)
        if keep:
            print_summary(state)
            while True:
                time.sleep(_MONITOR_S)
                stack.restart_ended()
    finally:
        stack.stop()
    say("demo", "done; make up leaves the stack running for you")


def _sell(state: dict[str, Any]) -> None:
    from tests.e2e.scenario import Site, sell

    sale = sell(Site.of_state(state), say)
    timeline = running.operator_json(state, "invoice", "show", sale.invoice_id)
    print(flush=True)
    if running.print_operator(state, "invoice", "show", sale.invoice_id) != 0:
        raise RunnerError("copeck invoice show failed")
    check(timeline)
    if running.print_operator(state, "ledger", "verify") != 0:
        raise RunnerError("copeck ledger verify found the books wrong")


def run_against_compose(compose: "Compose") -> None:
    """Sell to a visitor of the containers, show the timeline by the operator's container, and try the listeners."""
    from deploy.devstack.compose import operator_output
    from tests.e2e.scenario import Site, client, sell

    manager = compose.create_user("manager")
    site = Site(compose.urls["public"], compose.urls["cloudpayments"], manager, compose.urls["admin"])
    sale = sell(site, say)
    check(json.loads(operator_output(compose, "invoice", "show", sale.invoice_id, "--json")))
    print(f"\n{operator_output(compose, 'invoice', 'show', sale.invoice_id)}", flush=True)
    print(operator_output(compose, "ledger", "verify"), flush=True)
    with client(site.admin_url) as admin:
        for path, status in (("/admin/api/v1/plans", 401), ("/subscriptions/api/v1/plans", 404)):
            answer = admin.get(path)
            if answer.status_code != status:
                raise RunnerError(f"the admin listener answered {answer.status_code} to {path}, not {status}")


def check(timeline: Any) -> None:
    """Look for what must be in the timeline, wherever its entries have it; RunnerError names what is missing."""
    words = [str(value) for entry in _entries(timeline) for value in entry.values()]
    place = 0
    for step in _STEPS:
        try:
            place = words.index(step, place) + 1
        except ValueError:
            raise RunnerError(f"the timeline has no {step!r} after the earlier steps") from None
    text = " ".join(words)
    for account in _TRANSFER:
        if account not in text:
            raise RunnerError(f"the timeline has no transfer of {account}…")


def _entries(timeline: Any) -> list[dict[str, Any]]:
    if isinstance(timeline, dict):
        for key in ("timeline", "entries", "items"):
            if isinstance(timeline.get(key), list):
                return list(timeline[key])
    return list(timeline)
