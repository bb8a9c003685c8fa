"""The books: names of accounts, which of them are materialised, and the transfers of each thing that happens."""

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal

from billing_state_updater.domain.outcomes import Transfer

LATE = "suspense:late"
REFUNDS_IN_TRANSIT = "refunds:in_transit"
PAYOUTS_IN_TRANSIT = "payouts:in_transit"
COMMISSION = "fees:commission"
ACQUIRING = "fees:acquiring"
BANK = "bank:settlement"
LOSSES = "losses:chargeback"
HOUSE_PAYOUTS = "house:payouts"
OWN_BALANCE = "wallet"
"""The provider's code for payments from our own wallets."""

BENEFICIARIES = frozenset({"revenue", "merchant", "wallet", "receivable"})
"""Families of accounts that an invoice may credit."""

_FAMILIES = frozenset(
    {
        "provider",
        "revenue",
        "wallet",
        "merchant",
        "receivable",
        "fees",
        "house",
        "payouts",
        "refunds",
        "suspense",
        "losses",
        "bank",
        "opening",
    }
)

Balance = Callable[[str, str], int]
"""Tells a materialised account's balance by name and currency."""


def family(account: str) -> str:
    """Return the first word of an account's name."""
    return account.partition(":")[0]


def is_account(name: str) -> bool:
    """Tell whether the name belongs to the chart of accounts."""
    head, colon, rest = name.partition(":")
    return head in _FAMILIES and bool(colon) and bool(rest)


def is_wallet(account: str) -> bool:
    """Tell whether the account is a wallet, which never goes below zero (I-04)."""
    return account.startswith("wallet:")


def is_materialised(account: str) -> bool:
    """Tell whether the account's balance is kept; the others are summed, so that no row of theirs runs hot."""
    return account.startswith(("wallet:", "merchant:"))


def provider_account(provider: str, shop: str) -> str:
    """Return the account of our money at an acquirer."""
    return f"provider:{provider}:{shop}"


def received(source: str, beneficiary: str, amount: int, commission: int, currency: str) -> tuple[Transfer, ...]:
    """Return the transfers of money that arrived for its purpose, from the provider or from `suspense:late`.

    `receivable:<merchant>` as the beneficiary means that the merchant's own shop has the money: only the
    commission is booked.
    """
    transfers = []
    if family(beneficiary) != "receivable":
        transfers.append(Transfer(source, beneficiary, amount, currency, "payment"))
    if commission:
        transfers.append(Transfer(beneficiary, COMMISSION, commission, currency, "commission"))
    return tuple(transfers)


def commission_share(commission: int, amount: int, refunded: int, returned: int) -> int:
    """Return how much of a commission goes back when `refunded` of `amount` has, `returned` being back already.

    Rounded half-even on the running total, so that parts add up to the whole exactly. Never below zero: when a part
    fails, more may be back for the moment than the rest calls for.
    """
    due = (Decimal(commission) * refunded / amount).to_integral_value(ROUND_HALF_EVEN)
    return max(0, int(due) - returned)


def refund_opened(source: str, amount: int, commission: int, currency: str) -> tuple[Transfer, ...]:
    """Return the transfers of a refund that begins; the commission comes back first, so that the source has it."""
    transfers = commission_returned(source, commission, currency)
    if family(source) != "receivable":
        transfers += (Transfer(source, REFUNDS_IN_TRANSIT, amount, currency, "refund"),)
    return transfers


def commission_returned(source: str, commission: int, currency: str) -> tuple[Transfer, ...]:
    """Return the transfer that gives a commission back to the account that paid it."""
    return (Transfer(COMMISSION, source, commission, currency, "commission_return"),) if commission else ()


def refund_settled(source: str, provider: str, amount: int, currency: str) -> tuple[Transfer, ...]:
    """Return the transfers of a refund that is done; `provider` is the account that paid it."""
    if family(source) == "receivable":
        return ()
    return (Transfer(REFUNDS_IN_TRANSIT, provider, amount, currency, "refund_settlement"),)


def refund_reversed(source: str, amount: int, commission: int, currency: str) -> tuple[Transfer, ...]:
    """Return the transfers of a refund that failed: all of `refund_opened` backwards."""
    return tuple(
        Transfer(transfer.credit, transfer.debit, transfer.amount_minor, currency, f"{transfer.kind}_reversal")
        for transfer in reversed(refund_opened(source, amount, commission, currency))
    )


def taken_back(
    source: str, target: str, amount: int, currency: str, kind: str, balance: Balance
) -> tuple[Transfer, ...]:
    """Return the transfers of money that others took: from the source, and from losses what a wallet lacks."""
    if amount == 0 or family(source) == "receivable":
        return ()
    there = max(0, balance(source, currency)) if is_wallet(source) else amount
    own, lost = min(amount, there), amount - min(amount, there)
    transfers = []
    if own:
        transfers.append(Transfer(source, target, own, currency, kind))
    if lost:
        transfers.append(Transfer(LOSSES, target, lost, currency, kind))
    return tuple(transfers)


def lost_to(target: str, amount: int, currency: str, kind: str) -> tuple[Transfer, ...]:
    """Return the transfer of money that others took and nobody but us can bear."""
    return (Transfer(LOSSES, target, amount, currency, kind),) if amount else ()


def affordable(transfers: tuple[Transfer, ...], balance: Balance) -> bool:
    """Tell whether no wallet falls below zero at any step of the transfers, taken in order."""
    running: dict[tuple[str, str], int] = {}
    for transfer in transfers:
        for account, sign in ((transfer.debit, -1), (transfer.credit, 1)):
            if not is_wallet(account):
                continue
            key = (account, transfer.currency)
            if key not in running:
                running[key] = balance(*key)
            running[key] += sign * transfer.amount_minor
            if running[key] < 0:
                return False
    return True
