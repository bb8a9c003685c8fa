"""What must hold of coffee afterwards (I-10), against the logs of machines and provider. Each returns violations."""

from collections.abc import Callable, Iterator

import httpx2

from tests.chaos import checks
from tests.coffee.truth import Charge, CoffeeTruth

Check = Callable[[CoffeeTruth], Iterator[str]]
_TOLERANCE_MS = 1_500
"""Brokers count the life of a message in whole seconds."""
_NOBODY = Charge()


def paid_orders_have_their_cup_or_their_money(truth: CoffeeTruth) -> Iterator[str]:
    """I-10: one cup in the machine's log or all of the money back in the provider's; never both, never neither."""
    poured = {order: len(moments) for order, moments in truth.events("brew.poured").items()}
    incidents = {row[0] for row in truth.rows("SELECT order_id::text FROM devices.incidents "
                                              "WHERE kind = 'done_after_refund'")}  # fmt: skip
    for order in truth.orders.values():
        cups, charge = poured.get(order.id, 0), truth.charges.get(order.invoice_id, _NOBODY)
        kept = charge.charged_minor - charge.refunded_minor
        about = f"order {order.id} ({order.status} {order.reason}): {cups} cups, {kept} kept of {charge.charged_minor}"
        if cups > 1:
            yield f"more than one cup: {about}"
        elif cups == 1 and kept != order.price_minor and not (kept == 0 and order.id in incidents):
            yield f"a cup, and not its price: {about}"
        elif cups == 0 and kept != 0:
            yield f"neither cup nor money: {about}"


def nothing_is_brewed_unpaid(truth: CoffeeTruth) -> Iterator[str]:
    """No machine starts a cup of an order that is unknown, or that the provider had not charged by then."""
    for order_id, moments in truth.events("brew.started").items():
        order = truth.orders.get(order_id)
        charge = truth.charges.get(order.invoice_id, _NOBODY) if order else _NOBODY
        if not charge.charges or min(moments) < charge.first_at_ms:
            yield f"order {order_id} was brewed at {min(moments)}, charged at {charge.first_at_ms or 'no time'}"


def nothing_is_brewed_after_expiry(truth: CoffeeTruth) -> Iterator[str]:
    """No order is brewed that was paid when it had expired, and no command is accepted after its own expiry."""
    started = truth.events("brew.started")
    for order in truth.orders.values():
        charge = truth.charges.get(order.invoice_id, _NOBODY)
        if charge.first_at_ms > order.expires_at_ms and order.id in started:
            yield f"order {order.id} was charged {charge.first_at_ms - order.expires_at_ms} ms late, and brewed"
    expiry = dict(
        truth.rows("SELECT order_id::text, (extract(epoch FROM expires_at) * 1000)::bigint FROM devices.brew_commands")
    )
    for order_id, moments in truth.events("command.accepted").items():
        late_ms = min(moments) - int(expiry.get(order_id, 0))
        if late_ms > _TOLERANCE_MS:
            yield f"order {order_id}: its command was accepted {late_ms} ms after it had expired"


def orders_say_what_happened(truth: CoffeeTruth) -> Iterator[str]:
    """`successful` means a cup, `failed` the money back, `not_paid` neither cup nor money kept."""
    poured = truth.events("brew.poured")
    for order in truth.orders.values():
        charge = truth.charges.get(order.invoice_id, _NOBODY)
        kept = charge.charged_minor - charge.refunded_minor
        holds = {
            "successful": order.id in poured and kept == order.price_minor,
            "failed": kept == 0 and charge.charges > 0 and order.refund_status == "succeeded",
            "not_paid": kept == 0 and order.id not in poured,
        }.get(order.status, False)
        if not holds:
            cups = len(poured.get(order.id, []))
            yield (
                f"order {order.id} at {order.device} is {order.status} ({order.reason}), refund {order.refund_status}:"
                f" {cups} cups, {kept} of {charge.charged_minor} kept"
            )


def every_order_has_ended(truth: CoffeeTruth) -> Iterator[str]:
    """Nobody waits for ever: orders, commands, refunds and e-mails are at an end."""
    for row in truth.rows(
        "SELECT id, status, reason FROM devices.orders WHERE status NOT IN ('successful', 'failed', 'not_paid')"
    ):
        yield f"order {row[0]} is {row[1]} {row[2]}"
    for row in truth.rows("SELECT id, state FROM devices.brew_commands WHERE finished_at IS NULL"):
        yield f"command {row[0]} is {row[1]}"
    for row in truth.rows("SELECT id, refund_status FROM devices.orders WHERE refund_status <> 'succeeded'"):
        yield f"the refund of order {row[0]} is {row[1]}"
    for row in truth.rows("SELECT order_id, kind, status, last_error FROM devices.receipts WHERE status <> 'sent'"):
        yield f"the {row[1]} of order {row[0]} is {row[2]}: {row[3]}"


def incidents_are_true(truth: CoffeeTruth) -> Iterator[str]:
    """What a manager is shown happened: a cup after its money went back, and nothing worse."""
    poured = truth.events("brew.poured")
    for kind, order, detail in truth.rows("SELECT kind, order_id::text, detail FROM devices.incidents"):
        if kind != "done_after_refund" or order not in poured:
            yield f"incident {kind} of order {order}: {detail}"


def merchants_have_their_share(truth: CoffeeTruth) -> Iterator[str]:
    """The merchant's balance is what was sold less the commission, to the last kopeck."""
    sold = sum(o.price_minor - o.commission_minor for o in truth.orders.values() if o.status == "successful")
    rows = truth.rows("SELECT balance_minor FROM state.accounts WHERE name = %s", f"merchant:{truth.merchant_id}")
    if [row[0] for row in rows] != [sold]:
        yield f"the merchant sold {sold} net, the books say {rows}"


def histories_have_no_gaps(truth: CoffeeTruth) -> Iterator[str]:
    """Every change of an order is in its history, numbered without gaps, and the last one is what it is."""
    for row in truth.rows(
        "SELECT one.id, one.version, one.status, count(step.n), max(step.n), "
        "(array_agg(step.status ORDER BY step.n DESC))[1] FROM devices.orders AS one "
        "LEFT JOIN devices.order_history AS step ON step.order_id = one.id GROUP BY one.id "
        "HAVING count(step.n) <> one.version OR max(step.n) <> one.version "
        "OR (array_agg(step.status ORDER BY step.n DESC))[1] IS DISTINCT FROM one.status"
    ):
        yield f"order {row[0]} has version {row[1]} and is {row[2]}; its history has {row[3]} steps, the last {row[4:]}"


def machines_have_said_everything(truth: CoffeeTruth) -> Iterator[str]:
    """Every report of a machine is confirmed: nothing that it knows is unknown to us."""
    with httpx2.Client(base_url=truth.machines_url, timeout=30, trust_env=False) as machines:
        for item in machines.get("/control/machines", params={"limit": 10_000}).raise_for_status().json()["items"]:
            if item["unconfirmed"] or item["brewing"] or item["waiting"]:
                yield f"{item['device']}: {item['unconfirmed']} reports unconfirmed, {item['waiting']} cups waiting"


def replays_brew_nothing(truth: CoffeeTruth) -> Iterator[str]:
    """Whoever recorded every command and says all of them again gets no coffee."""
    yield from truth.replays


COFFEE_CHECKS: tuple[Check, ...] = (
    paid_orders_have_their_cup_or_their_money,
    nothing_is_brewed_unpaid,
    nothing_is_brewed_after_expiry,
    orders_say_what_happened,
    every_order_has_ended,
    incidents_are_true,
    merchants_have_their_share,
    histories_have_no_gaps,
    machines_have_said_everything,
    replays_brew_nothing,
)
CHECKS: tuple[Check, ...] = (
    *COFFEE_CHECKS,
    *(check for check in checks.CHECKS if check is not checks.subscriptions_follow_invoices),
)
# What takes time after the last fault; everything else is judged once these are content.
SETTLING: tuple[Check, ...] = (
    checks.nothing_is_left_to_do,
    checks.charges_are_booked_once_or_refunded,
    checks.books_balance,
    every_order_has_ended,
    machines_have_said_everything,
    paid_orders_have_their_cup_or_their_money,
    orders_say_what_happened,
    merchants_have_their_share,
)
