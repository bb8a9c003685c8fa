"""`make demo`: sells a subscription and two coffees, moves a wallet's money; prints what happened to each of them."""

import json
import time
from collections.abc import Sequence
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
# The same of a cup that was brewed, and of one that was not: what it must have gone through, and its transfers.
BREWED = ("created", "issued", "paid", "make_pending", "accepted", "successful")
NOT_BREWED = ("created", "issued", "paid", "make_pending", "failed", "requested", "refunded")
SOLD = ("provider:", "merchant:", "fees:commission")
RETURNED = (*SOLD, "refunds:in_transit")


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
    print(flush=True)
    check(_show(state, "invoice", sale.invoice_id))
    _sell_coffee(state)
    _move_money(state)
    print(running.operator_inside(state, "ledger", "verify"), flush=True)


def _show(state: dict[str, Any], kind: str, subject: str) -> Any:
    """Print what the operator's command line shows of something, and return the same as JSON."""
    print(running.operator_inside(state, kind, "show", subject), flush=True)
    return json.loads(running.operator_inside(state, kind, "show", subject, "--json"))


def _sell_coffee(state: dict[str, Any]) -> None:
    """Sell a cup that is brewed and one that is not, and show what became of the orders and of the money."""
    from tests.e2e.coffee_scenario import sell_coffee
    from tests.e2e.scenario import Site

    good, bad = sell_coffee(Site.of_state(state), say)
    for cup, steps, accounts in ((good, BREWED, SOLD), (bad, NOT_BREWED, RETURNED)):
        check(_show(state, "invoice", cup.order.invoice_id), steps, accounts)


def _move_money(state: dict[str, Any]) -> None:
    """Live a wallet's life, and show every transfer of it."""
    from tests.e2e.scenario import Site
    from tests.e2e.wallet_scenario import live

    story = live(Site.of_state(state), say)
    for kind, subject, accounts in (
        ("invoice", story.deposit_id, ("provider:cloudpayments", story.wallet, "fees:commission")),
        ("invoice", story.subscription_invoice_id, (story.wallet, "revenue:")),
        ("payout", story.withdrawal_id, (story.wallet, "payouts:in_transit", "fees:commission")),
        ("payout", story.payout_id, ("house:payouts", "payouts:in_transit", "provider:mock")),
        ("wallet", story.wallet, (story.wallet,)),
    ):
        found = json.dumps(_show(state, kind, subject))
        for account in accounts:
            if account not in found:
                raise RunnerError(f"copeck {kind} show {subject} shows no transfer of {account}")


def run_against_compose(compose: "Compose") -> None:
    """Sell to a visitor of the containers, show the timeline by the operator's container, and try the listeners."""
    from deploy.devstack.compose import operator_output
    from tests.e2e.coffee_scenario import sell_coffee
    from tests.e2e.scenario import Site, client, sell

    manager = compose.create_user("manager")
    urls = compose.urls
    site = Site(urls["public"], urls["cloudpayments"], manager, urls["admin"], urls["mock-gateway"], urls["machines"])
    sale = sell(site, say)
    check(json.loads(operator_output(compose, "invoice", "show", sale.invoice_id, "--json")))
    print(f"\n{operator_output(compose, 'invoice', 'show', sale.invoice_id)}", flush=True)
    for cup in sell_coffee(site, say):
        print(operator_output(compose, "invoice", "show", cup.order.invoice_id), flush=True)
    print(operator_output(compose, "ledger", "verify"), flush=True)
    with client(site.admin_url) as admin:
        for path, status in (("/admin/api/v1/plans", 401), ("/subscriptions/api/v1/plans", 404)):
            answer = admin.get(path)
            if answer.status_code != status:
                raise RunnerError(f"the admin listener answered {answer.status_code} to {path}, not {status}")


def check(timeline: Any, steps: Sequence[str] = _STEPS, accounts: Sequence[str] = _TRANSFER) -> None:
    """Look for what must be in the timeline, wherever its entries have it; RunnerError names what is missing."""
    words = [str(value) for entry in _entries(timeline) for value in entry.values()]
    place = 0
    for step in steps:
        try:
            place = words.index(step, place) + 1
        except ValueError:
            raise RunnerError(f"the timeline has no {step!r} after the earlier steps") from None
    text = " ".join(words)
    for account in accounts:
        if account not in text:
            raise RunnerError(f"the timeline has no transfer of {account}…")


def _entries(timeline: Any) -> list[dict[str, Any]]:
    if isinstance(timeline, dict):
        for key in ("timeline", "entries", "items"):
            if isinstance(timeline.get(key), list):
                return list(timeline[key])
    return list(timeline)
