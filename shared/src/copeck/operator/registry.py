"""What the command line consists of, by name. Strings, because shared code knows no service."""

import importlib
from collections.abc import Callable
from typing import Any, Final

COMMANDS: Final[dict[str, str]] = {
    "invoice": "billing_state_updater.operator.invoices:app",
    "payout": "billing_state_updater.operator.payouts:app",
    "wallet": "billing_state_updater.operator.wallets:app",
    "ledger": "billing_state_updater.operator.ledger:app",
    "replay": "billing_state_updater.operator.replay:app",
    "quarantine": "billing_state_updater.operator.quarantine:app",
    "outbox": "copeck.operator.outboxes:app",
    "dlq": "copeck.operator.dlq:app",
    "machines": "sandbox.machines.commands:app",
}
"""Each command's typer application; one whose package is not installed here is not offered."""

TIMELINES: Final = (
    "subscriptions.store.timeline:entries",
    "device_bridge.store.timeline:entries",
    "payments_gateway.store.timeline:entries",
    "billing_state_updater.store.timeline:entries",
)
"""What each service knows of an invoice: functions of (connection, invoice id) that return `timeline.Entry` objects."""

PAYOUT_TIMELINES: Final = (
    "payments_gateway.store.payout_timeline:entries",
    "billing_state_updater.store.payout_timeline:entries",
)
"""What each service knows of a payout: functions of (connection, payout id) that return `timeline.Entry` objects."""

ACTION_LOG: Final = "billing_state_updater.store.operators:record"
"""Where an operator's deeds are written down."""


def load(reference: str) -> Any:
    """Import what `module:attribute` names."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def load_function(reference: str) -> Callable[..., Any]:
    """Import a function by its name."""
    function: Callable[..., Any] = load(reference)
    return function
