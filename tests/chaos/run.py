"""One chaos run: start a stack of its own, shop while the nemesis is at work, heal, wait, check, report."""

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from deploy.devstack.console import say
from deploy.devstack.running import operator_env
from deploy.devstack.stack import Stack
from tests.chaos import checks
from tests.chaos.buyers import Shop, shopping
from tests.chaos.nemesis import LEASE_S, Nemesis
from tests.chaos.payout_checks import PAYOUT_CHECKS, PAYOUT_SETTLING, sent_by_mock
from tests.chaos.payouts import Desk, ask_for_one, open_desk, paying_out
from tests.e2e.scenario import Site, client, manager_of, seed_plans

SETTLE_S = 180.0
AGAIN_S = 15.0
REPORTS = Path("build/chaos")
# One payout or deposit to so many subscriptions.
SUBSCRIPTIONS_A_PAYOUT = 3
CHECKS = (*checks.CHECKS, *PAYOUT_CHECKS)
SETTLING = (*checks.SETTLING, *PAYOUT_SETTLING)

# Everything that waits waits less than in production, so that a minute of chaos holds an hour of it.
SETTINGS = {
    "COPECK_LEASE_S": str(LEASE_S),
    # Whoever owns a wallet logs in once, before anything breaks.
    "COPECK_ACCESS_TOKEN_S": "3600",
    "COPECK_ATTEMPT_ASKED_AFTER_S": "3",
    "COPECK_OPERATION_RETRY_BASE_S": "0.2",
    "COPECK_OPERATION_SETTLES_AFTER_S": "6",
    "COPECK_RECONCILE_LAG_S": "2",
    "COPECK_RECONCILE_WINDOW_S": "900",
    "COPECK_JANITOR_INTERVAL_S": "2",
    "COPECK_CATCH_UP_INTERVAL_S": "2",
    "COPECK_CATCH_UP_AFTER_S": "3",
    "COPECK_OUTBOX_INTERVAL_S": "2",
    "COPECK_PROVIDER_SWEEP_INTERVAL_S": "5",
    "SANDBOX_CLOUDPAYMENTS_TIME_SCALE": "0.005",
    "SANDBOX_CLOUDPAYMENTS_NOTIFY_TIMEOUT_S": "5",
}


def settings_of(count: int) -> dict[str, str]:
    """Return the settings of a run: what was asked about in vain is asked about again the later, the more there is.

    Attempts that nobody ever paid are asked about as long as their invoice can be paid: thousands of them would keep
    the worker from the refunds, and in a short run nobody has to wait for a long pause.
    """
    return {**SETTINGS, "COPECK_OPERATION_RETRY_CAP_S": f"{min(30.0, max(3.0, count / 50)):.0f}"}


@dataclass
class Result:
    """What a run came to."""

    seed: int
    count: int
    violations: dict[str, list[str]]
    faults: dict[str, int]
    seconds: float
    behaviours: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    payouts: dict[str, int] = field(default_factory=dict)
    payout_behaviours: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    unfinished: int = 0

    @property
    def ok(self) -> bool:
        """Tell whether nothing was violated."""
        return not self.violations


def run(count: int, seed: int, *, instance: str = "chaos", settle_s: float = SETTLE_S) -> Result:
    """Run chaos and check; the seed is printed first, and the history is kept under build/chaos."""
    say("chaos", f"seed {seed}, {count} subscriptions")
    began = time.monotonic()
    stack = Stack(instance, extra_env=settings_of(count), yields=False)
    stack.start()
    try:
        stack.add("billing-state-updater", "billing-state-updater-2")
        state = stack.state()
        site = Site.of_state(state)
        seed_plans(site)
        shop = Shop(site, state["shop"]["public_id"], _month(site))
        urls = state["urls"]
        nemesis = Nemesis(stack, site.emulator_url, urls["payments-gateway"], urls["mock-gateway"], seed)
        nemesis.invoices = lambda: [purchase.invoice_id for purchase in shop.purchases if purchase.invoice_id]
        desk = open_desk(shop)
        nemesis.pay_out = lambda: ask_for_one(desk)
        _shop_under_fire(desk, nemesis, count, seed)
        with psycopg.connect(state["databases"]["postgres"], autocommit=True) as database:
            truth = _settle(database, stack, site, shop, settle_s)
            found = _judge(truth)
            statuses = dict(truth.rows("SELECT status, count(*) FROM state.invoices GROUP BY 1"))
            payouts = dict(truth.rows("SELECT status, count(*) FROM state.payouts GROUP BY 1"))
        result = Result(
            seed, count, found, dict(nemesis.done), round(time.monotonic() - began, 1),
            behaviours=_count(purchase.behaviour for purchase in shop.purchases),
            statuses=statuses,
            payouts=payouts,
            payout_behaviours=_count(f"{one.behaviour} {one.provider}" for one in desk.asked),
            failures=dict(shop.failures.most_common(12)),
            unfinished=sum(not one.finished for one in shop.purchases) + sum(not one.finished for one in desk.asked),
        )  # fmt: skip
        _keep(result, nemesis, desk)
        return result
    finally:
        stack.stop()


def _count(items: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in items:
        counts[item] = counts.get(item, 0) + 1
    return counts


def _month(site: Site) -> str:
    manager = manager_of(site)
    plans = manager.call("GET", "/admin/api/v1/plans").json()["items"]
    manager.http.close()
    return str(next(plan["id"] for plan in plans if plan["code"] == "month"))


def _shop_under_fire(desk: Desk, nemesis: Nemesis, count: int, seed: int) -> None:
    shop = desk.shop
    nemesis.provoke_provider()
    harm = threading.Thread(target=nemesis.run, name="nemesis", daemon=True)
    harm.start()
    finished = 0
    step = max(1, count // 10)

    def progress() -> None:
        nonlocal finished
        finished += 1
        if finished % step == 0:
            say("chaos", f"{finished} of {count} buyers done; faults so far: {dict(nemesis.done)}")

    async def everybody() -> None:
        payouts = max(1, count // SUBSCRIPTIONS_A_PAYOUT)
        await asyncio.gather(shopping(shop, count, seed, progress), paying_out(desk, payouts, seed))

    asyncio.run(everybody())
    nemesis.stop()
    harm.join(timeout=120)
    nemesis.heal()
    say("chaos", "healed; waiting until everything has settled")


def _settle(
    database: "psycopg.Connection[tuple[Any, ...]]", stack: Stack, site: Site, shop: Shop, settle_s: float
) -> checks.Truth:
    deadline = time.monotonic() + settle_s
    began = time.monotonic()
    while True:
        with client(site.emulator_url) as emulator:
            emulator.post("/sandbox/notifications/hurry")
            waiting = emulator.get("/sandbox/notifications", params={"state": "pending", "limit": 1}).json()["items"]
        truth = _truth(database, stack, site, shop)
        open_points = checks.violations(truth, SETTLING, limit=3)
        if not waiting and not open_points:
            say("chaos", f"settled after {time.monotonic() - began:.1f} s")
            return truth
        if time.monotonic() > deadline:
            say("chaos", f"not settled after {settle_s:.0f} s: {open_points}")
            return truth
        threading.Event().wait(1.0)


def _truth(database: "psycopg.Connection[tuple[Any, ...]]", stack: Stack, site: Site, shop: Shop) -> checks.Truth:
    sent, mock_minor = sent_by_mock(stack.state()["urls"]["mock-gateway"])
    return checks.Truth(
        database, checks.emulator_totals(site.emulator_url), shop.purchases,
        stack.infra.endpoints.management_url, operator_env(stack.state()), Path(stack.state()["logs"]),
        sent=[*sent, *checks.emulator_payouts(site.emulator_url)], mock_minor=mock_minor,
    )  # fmt: skip


def _judge(truth: checks.Truth) -> dict[str, list[str]]:
    """Run every check; what a late tick of a janitor sets in motion is given a moment to settle again."""
    final = tuple(check for check in CHECKS if check not in SETTLING)
    found = checks.violations(truth, final)
    deadline = time.monotonic() + AGAIN_S
    while (unsettled := checks.violations(truth, SETTLING)) and time.monotonic() < deadline:
        threading.Event().wait(0.5)
    return found | unsettled


def _keep(result: Result, nemesis: Nemesis, desk: Desk) -> None:
    folder = REPORTS / str(result.seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "history.jsonl").write_text(nemesis.report() + "\n", encoding="utf-8")
    lines = (json.dumps(vars(one)) for one in (*desk.shop.purchases, *desk.asked))
    (folder / "purchases.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "result.json").write_text(json.dumps(vars(result), indent=2, default=str) + "\n", encoding="utf-8")


def describe(result: Result) -> str:
    """Render a result for people."""
    lines = [
        f"chaos: seed {result.seed}, {result.count} subscriptions, {result.seconds:.0f} s",
        f"  faults      {result.faults}",
        f"  buyers      {result.behaviours}, {result.unfinished} gave up",
        f"  invoices    {result.statuses}",
        f"  payouts     {result.payouts} of {result.payout_behaviours}",
        f"  refused     {result.failures}",
    ]
    for check in CHECKS:
        broken = result.violations.get(check.__name__, [])
        lines.append(f"  {'FAILED' if broken else 'ok    '}  {check.__name__}: {(check.__doc__ or '').splitlines()[0]}")
        lines.extend(f"            {line}" for line in broken)
    return "\n".join(lines)
