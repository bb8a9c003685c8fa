"""What no table knows of a message: the handler it meets, the rows it changes, and what follows. Written by hand.

`message_paths` prints it beside what the registry knows; a test imports every handler and asks for a note on each
message and consumer, so that a message cannot be added, nor a handler moved, without its path being told here.
"""

from dataclasses import dataclass

_UPDATER = "billing_state_updater.domain"
_DECIDED = "transitions, inbox, outbox"


@dataclass(frozen=True)
class Path:
    """One message at one consumer."""

    handler: str
    tables: str
    follows: str


IGNORED = Path("", "", "nothing: acknowledged without a transaction")
PROJECTED = Path(
    "payments_gateway.handlers.events:Events",
    "gateway.invoices",
    "the pay page shows the new status",
)

UPDATER: dict[str, Path] = {
    "invoice.issue": Path(
        f"{_UPDATER}.invoices.terms:issue", f"state.invoices, invoices_due, {_DECIDED}", "`invoice.issued`"
    ),
    "invoice.cancel": Path(
        f"{_UPDATER}.invoices.terms:cancel",
        f"state.invoices, {_DECIDED}",
        "`invoice.canceled`; of held money `invoice.void_requested`, and `invoice.voided` when the provider says so",
    ),
    "invoice.expire": Path(f"{_UPDATER}.invoices.terms:expire", f"state.invoices, {_DECIDED}", "`invoice.expired`"),
    "invoice.capture": Path(
        f"{_UPDATER}.invoices.terms:capture",
        f"state.invoices, {_DECIDED}",
        "`invoice.capture_requested`, then a `payment.report`",
    ),
    "invoice.refund": Path(
        f"{_UPDATER}.invoices.refunds:request",
        f"state.invoices, refunds, transfers, accounts, {_DECIDED}",
        "`refund.requested`; paid from a wallet: `refund.succeeded` and `invoice.refunded` at once",
    ),
    "payment.report": Path(
        f"{_UPDATER}.invoices.payments:report",
        f"state.invoices, payments, transfers, accounts, refunds, {_DECIDED}",
        "`invoice.pending`, `invoice.payment_failed`, `invoice.authorized`, `invoice.paid` or `invoice.voided`; late "
        "or double money: `invoice.late_payment_received` and, by the policy, `refund.requested`, a wallet or "
        "`invoice.paid`",
    ),
    "refund.report": Path(
        f"{_UPDATER}.invoices.refunds:report",
        f"state.invoices, refunds, transfers, accounts, {_DECIDED}",
        "`refund.pending`, `refund.succeeded`, `refund.failed` or `refund.outcome_unknown`; "
        "`invoice.partially_refunded`, `invoice.refunded`",
    ),
    "dispute.report": Path(
        f"{_UPDATER}.invoices.refunds:dispute",
        f"state.invoices, transfers, accounts, {_DECIDED}",
        "`invoice.disputed`, `invoice.dispute_won` or `invoice.charged_back`",
    ),
    "wallet.open": Path(
        f"{_UPDATER}.wallets:open_wallet",
        "state.accounts, transfers, inbox, outbox",
        "nothing: who opened it reads the view",
    ),
    "wallet.pay": Path(
        f"{_UPDATER}.invoices.payments:pay_from_wallet",
        f"state.invoices, payments, transfers, accounts, {_DECIDED}",
        "`invoice.paid`",
    ),
    "ledger.correct": Path(f"{_UPDATER}.wallets:correct", "state.bookings, transfers, accounts, inbox", "nothing"),
    "settlement.report": Path(f"{_UPDATER}.wallets:settle", "state.bookings, transfers, inbox", "nothing"),
    "payout.request": Path(
        f"{_UPDATER}.payouts:request",
        f"state.payouts, transfers, accounts, {_DECIDED}",
        "`payout.drafted`, `payout.approval_requested`, `payout.pending` or, short of money, `payout.failed`",
    ),
    "payout.submit": Path(
        f"{_UPDATER}.payouts:submit", f"state.payouts, transfers, accounts, {_DECIDED}", "as `payout.request`"
    ),
    "payout.approve": Path(
        f"{_UPDATER}.payouts:approve",
        f"state.payouts, transfers, accounts, {_DECIDED}",
        "`payout.pending` or, short of money, `payout.failed`",
    ),
    "payout.cancel": Path(
        f"{_UPDATER}.payouts:cancel", f"state.payouts, transfers, accounts, {_DECIDED}", "`payout.canceled`"
    ),
    "payout.retry": Path(
        f"{_UPDATER}.payouts:retry",
        f"state.payouts, transfers, accounts, {_DECIDED}",
        "`payout.pending` or, where it needs approval and has none, `payout.approval_requested`",
    ),
    "payout.report": Path(
        f"{_UPDATER}.payouts:report",
        f"state.payouts, transfers, accounts, {_DECIDED}",
        "`payout.processing`, `payout.completed` or `payout.failed`",
    ),
}

_FOLLOWED = Path(
    "subscriptions.handlers.invoices:on_invoice",
    "subscriptions.subscriptions, subscription_events, period_invoices, entitlements, subscriptions_due, inbox, outbox",
    "",
)


def _followed(follows: str) -> Path:
    return Path(_FOLLOWED.handler, _FOLLOWED.tables, follows)


SUBSCRIPTIONS: dict[str, Path] = {
    "subscription.create": Path(
        "subscriptions.handlers.subscriptions:create_by_command",
        "subscriptions.subscriptions, subscription_events, period_invoices, inbox, outbox",
        "`subscription.created` and `invoice.issue`",
    ),
    "invoice.paid": _followed("`subscription.activated` or `subscription.renewed`; access until the end of the period"),
    "invoice.partially_refunded": _followed("nothing: a part that went back ends no access"),
    "invoice.disputed": _followed("nothing until the dispute ends"),
    "invoice.dispute_won": _followed("nothing: the period stays paid"),
    "invoice.refunded": _followed("`subscription.canceled` when the running period was refunded"),
    "invoice.charged_back": _followed("as a refund"),
    "invoice.canceled": _followed("the period's invoice is dead; the subscription waits for another, or its deadline"),
    "invoice.expired": _followed("as canceled; `subscription.expired` when the deadline passes"),
    "invoice.voided": _followed("as canceled"),
    "command.refused": Path(
        "subscriptions.handlers.invoices:on_refusal",
        "subscriptions.period_invoices, inbox",
        "a refused `invoice.issue` is an error of ours: it is logged and the invoice is dead",
    ),
}

_OPERATION = "gateway.operations, operations_due, inbox"
_OPERATE = "payments_gateway.handlers.events:handle"

GATEWAY: dict[str, Path] = {
    "refund.requested": Path(
        _OPERATE, _OPERATION, "a Celery task asks the provider for the refund; its outcome is a `refund.report`"
    ),
    "invoice.capture_requested": Path(
        _OPERATE, f"{_OPERATION}, invoices", "a Celery task confirms the payment; its outcome is a `payment.report`"
    ),
    "invoice.void_requested": Path(
        _OPERATE, f"{_OPERATION}, invoices", "a Celery task voids the payment; its outcome is a `payment.report`"
    ),
    "payout.pending": Path(
        "payments_gateway.handlers.events:Events",
        _OPERATION,
        "a Celery task reports `processing` (`payout.report`), unless something holds it back",
    ),
    "payout.processing": Path(
        "payments_gateway.handlers.events:Events",
        "gateway.operations",
        "a Celery task sends the money; its outcome is a `payout.report`",
    ),
    "command.refused": Path(
        "payments_gateway.handlers.events:Events",
        "gateway.payout_requests, wallet_payments, corrections",
        "it is counted and logged, and whoever asked reads why",
    ),
}


_ORDER = "devices.orders, order_history, inbox"


def _invoice_of_order(follows: str, tables: str = _ORDER) -> Path:
    return Path("device_bridge.handlers.invoices:on_invoice", tables, follows)


def _refund_of_order(follows: str) -> Path:
    tables = "devices.orders, order_history, incidents, receipts"
    return Path("device_bridge.handlers.invoices:on_refund", tables, follows)


DEVICES: dict[str, Path] = {
    "invoice.issued": _invoice_of_order("the buyer may pay: order `pending`"),
    "invoice.paid": _invoice_of_order(
        "a brew command, sent to the machine after the commit; `invoice.refund` where the payment buys nothing now",
        "devices.orders, order_history, brew_commands, inbox, outbox",
    ),
    "invoice.canceled": _invoice_of_order("order `not_paid`"),
    "invoice.expired": _invoice_of_order("order `not_paid`"),
    "invoice.voided": _invoice_of_order("order `not_paid`"),
    "invoice.late_payment_received": _invoice_of_order("the order shows that the money is coming back"),
    "refund.requested": _refund_of_order("asked for by somebody else before the cup is made: the command is revoked"),
    "refund.pending": _refund_of_order("the order shows it"),
    "refund.succeeded": _refund_of_order("the order shows it; an e-mail"),
    "refund.failed": _refund_of_order("an incident for a manager"),
    "command.refused": Path(
        "device_bridge.handlers.invoices:on_refusal",
        "devices.orders, order_history, incidents, inbox",
        "without its invoice an order is `not_paid`; the refusal of its own refund is an incident for a manager",
    ),
}
_SEEN_BY_DEVICES = _invoice_of_order("nothing: the version is noted")


def path_of(name: str, consumer: str) -> Path:
    """Return what a message does at a consumer."""
    if consumer == "state-updater":
        return UPDATER[name]
    if consumer == "subscriptions":
        return SUBSCRIPTIONS.get(name, IGNORED)
    if consumer == "devices":
        return DEVICES.get(name, _SEEN_BY_DEVICES)
    if name in GATEWAY:
        return GATEWAY[name]
    return PROJECTED if name.startswith("invoice.") else IGNORED


SENT_FROM: dict[str, str] = {
    "invoice.issue": "`subscriptions` when a period is to be paid, or by a manager (`POST /admin/api/v1/invoices`); "
    "the gateway for a deposit (`POST /payments/api/v1/payments/deposit`); `devices` when a buyer orders a cup "
    "(`POST /m/{device}/orders`)",
    "invoice.cancel": "`subscriptions` when a subscription ends unpaid or its price changes, or by a manager; "
    "`devices` when a buyer thinks better of it, or a machine is stopped",
    "invoice.expire": "`reminder-cron`, from rows of `state_api.invoices_due_v1` that it claimed",
    "invoice.capture": "a manager (`POST /admin/api/v1/invoices/{id}/capture`)",
    "invoice.refund": "a manager, or `subscriptions` for a period that nobody wants; `devices` in the commit that "
    "fails a paid order",
    "payment.report": "the gateway: a callback, a checkout that began, an answer of the provider, the janitor",
    "refund.report": "the gateway: a callback, an answer of the provider, the janitor",
    "payout.request": "a manager or a merchant (`POST /payments/api/v1/payouts`), a file of payouts "
    "(`POST /payments/api/v1/payouts/batches`), a wallet's owner "
    "(`POST /payments/api/v1/payments/withdraw`)",
    "payout.submit": "whoever made the draft (`POST /payments/api/v1/payouts/{id}/submit`)",
    "payout.approve": "a second manager (`POST /payments/api/v1/payouts/{id}/approve`)",
    "payout.cancel": "a manager or a merchant (`POST /payments/api/v1/payouts/{id}/cancel`, or `DELETE` of a draft)",
    "payout.retry": "a manager or a merchant (`POST /payments/api/v1/payouts/{id}/retry`)",
    "payout.report": "the gateway: before the provider is called, when it answered, and when a manager stops it unsent",
    "ledger.correct": "a second manager (`POST /payments/api/v1/corrections/{id}/approve`)",
    "wallet.open": "a wallet's owner (`POST /payments/api/v1/wallets`); `devices` for a new merchant's balance",
    "wallet.pay": "a wallet's owner (`POST /payments/api/v1/payments/pay`)",
    "subscription.create": "the admin API; a manager's tool",
}
"""Where in its sender a message begins, where that is not said by its name."""

UNUSED: frozenset[str] = frozenset(
    {
        "dispute.report",
        "settlement.report",
    }
)
"""Commands that the updater executes and that no edge sends yet: disputes and settlements come later."""
