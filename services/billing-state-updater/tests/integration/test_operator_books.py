"""`copeck ledger verify` and `copeck replay --check` accept whatever the updater can do: an alarm means something.

Every way that money can go, told to a real updater: wallets, top-ups, commissions, the merchant's own shop, late and
double money under each policy, refunds whole, in parts, failed and made after all, disputes, payouts.
"""

import asyncio
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from copeck.contracts import commands
from copeck.contracts.base import Message
from copeck.kernel.ids import derived_id, new_id
from copeck.testkit.waiting import eventually
from tests.support.updater import CUSTOMER, issue, paid, rows, running, send

pytestmark = pytest.mark.integration

WALLET, OTHER, POOR, MERCHANT = "wallet:anna", "wallet:boris", "wallet:vera", "merchant:cafe"
SHOP: dict[str, Any] = {"provider": "cloudpayments", "shop": "main"}
Story = Iterator[Message]
_ids: dict[int, UUID] = {}


def identity(message: Message) -> UUID:
    """Return the id that a message is sent under: what the updater makes has ids that follow from it."""
    return _ids.setdefault(id(message), new_id())


def cancel(invoice: commands.InvoiceIssue) -> commands.InvoiceCancel:
    return commands.InvoiceCancel(account=CUSTOMER, invoice_id=invoice.invoice_id)


def refund(invoice: commands.InvoiceIssue, amount: int | None = None) -> commands.InvoiceRefund:
    return commands.InvoiceRefund(
        account=CUSTOMER, invoice_id=invoice.invoice_id, refund_id=new_id(), amount_minor=amount
    )


def refunded(asked: commands.InvoiceRefund, status: str, amount: int, **changes: Any) -> commands.RefundReport:
    terms: dict[str, Any] = {
        "account": CUSTOMER,
        "invoice_id": asked.invoice_id,
        "refund_id": asked.refund_id,
        "transaction": str(asked.refund_id.int % 10**12),
        "status": status,
        "amount_minor": amount,
        "currency": "RUB",
        **SHOP,
    }
    return commands.RefundReport(**(terms | changes))


def refunds() -> Story:
    """Whole, in parts, failed, unknown, failed and made after all."""
    invoice = issue()
    yield from (invoice, paid(invoice.invoice_id), first := refund(invoice, 5_000), refunded(first, "succeeded", 5_000))
    yield from (second := refund(invoice), refunded(second, "unknown", 14_900), refunded(second, "succeeded", 14_900))
    other = issue(beneficiary=MERCHANT, commission_minor=777)
    yield from (other, paid(other.invoice_id), third := refund(other, 10_001), refunded(third, "pending", 10_001))
    yield from (refunded(third, "failed", 10_001), refunded(third, "succeeded", 10_001), refund(other))


def late_money() -> Story:
    """After the end, twice, another amount; under each policy, and at the merchant's own shop."""
    policies: tuple[dict[str, Any], ...] = (
        {"late_policy": "refund"},
        {"late_policy": "accept"},
        {"late_policy": "wallet", "late_wallet": WALLET},
        {"late_policy": "accept", "beneficiary": "receivable:cafe", "commission_minor": 900},
        {"late_policy": "accept", "beneficiary": MERCHANT, "commission_minor": 900},
    )
    for policy in policies:
        ended, once = issue(**policy), issue(**policy)
        yield from (ended, cancel(ended), paid(ended.invoice_id), paid(ended.invoice_id))
        yield from (once, paid(once.invoice_id), paid(once.invoice_id), paid(once.invoice_id, amount_minor=100))


def late_refunds() -> Story:
    """Refunds of late money: done, failed and tried again, failed twice and left in suspense."""
    for outcomes in (("succeeded",), ("failed", "succeeded"), ("failed", "failed"), ("failed", "unknown")):
        invoice = issue()
        yield from (invoice, cancel(invoice), came := paid(invoice.invoice_id))
        asked = commands.InvoiceRefund(
            account=CUSTOMER, invoice_id=invoice.invoice_id, refund_id=derived_id(identity(came), "late_refund")
        )
        for number, outcome in enumerate(outcomes):
            if number:
                asked = asked.model_copy(update={"refund_id": new_id(), "retry_of": asked.refund_id})
                yield asked
            yield refunded(asked, outcome, 19_900)


def own_shop() -> Story:
    """The merchant's own shop: only the commission is ours."""
    invoice = issue(beneficiary="receivable:cafe", commission_minor=1_000)
    yield from (invoice, paid(invoice.invoice_id), asked := refund(invoice, 9_950), refunded(asked, "succeeded", 9_950))


def wallets() -> Story:
    """Opened, topped up with a commission, paid from, refunded to, charged back when it is spent."""
    yield commands.WalletOpen(account=WALLET, currency="RUB", opening_minor=50_000)
    yield commands.WalletOpen(account=MERCHANT, currency="RUB")
    filled = issue(kind="topup", product="wallet", beneficiary=WALLET, amount_minor=20_000, commission_minor=400)
    yield from (filled, paid(filled.invoice_id, amount_minor=20_000))
    bought = issue(beneficiary=MERCHANT, commission_minor=500)
    yield bought
    yield commands.WalletPay(account=WALLET, invoice_id=bought.invoice_id, payment_id=new_id(), wallet=WALLET)
    yield refund(bought, 1_234)
    yield commands.LedgerCorrect(
        account=WALLET, correction_id=new_id(), debit=WALLET, credit="losses:chargeback", amount_minor=40_000,
        currency="RUB", reason="a test", requested_by="olga", approved_by="pavel",
    )  # fmt: skip
    yield commands.DisputeReport(
        account=CUSTOMER, invoice_id=filled.invoice_id, transaction="d-1", outcome="lost", amount_minor=20_000,
        currency="RUB", **SHOP,
    )  # fmt: skip


def payouts() -> Story:
    """Done, failed and retried, canceled, short of money, still on the way."""
    source: dict[str, Any] = {"account": OTHER, "currency": "RUB", "recipient": "card", **SHOP}
    yield commands.WalletOpen(account=OTHER, currency="RUB", opening_minor=100_000)
    outcomes: tuple[tuple[Any, ...], ...] = (
        ("processing", "completed"), ("failed",), ("unknown",), ("failed", "completed"), ()
    )  # fmt: skip
    for reports in outcomes:
        payout = commands.PayoutRequest(payout_id=new_id(), amount_minor=10_000, commission_minor=200, **source)
        yield payout
        for status in reports:
            yield commands.PayoutReport(account=OTHER, payout_id=payout.payout_id, attempt=1, status=status)
    dropped = commands.PayoutRequest(payout_id=new_id(), amount_minor=5_000, **source)
    yield from (dropped, commands.PayoutCancel(account=OTHER, payout_id=dropped.payout_id))
    yield commands.PayoutRequest(payout_id=new_id(), amount_minor=10**8, **source)
    yield commands.SettlementReport(
        account="provider:cloudpayments:main", settlement_id=new_id(), amount_minor=9_000, fee_minor=100,
        currency="RUB", **SHOP,
    )  # fmt: skip


def payouts_of_all_sources() -> Story:
    """A merchant's and the house's, approved; one that was made after all, when its wallet had spent the money."""
    yield commands.WalletOpen(account=POOR, currency="RUB", opening_minor=10_200)
    terms: dict[str, Any] = {"currency": "RUB", "recipient": "card", "amount_minor": 10_000, **SHOP}
    for source in ("merchant:rich", "house:payouts"):
        if source != "house:payouts":
            yield commands.WalletOpen(account=source, currency="RUB", opening_minor=30_000)
        for last in ("completed", "failed"):
            asked = commands.PayoutRequest(
                payout_id=new_id(), account=source, commission_minor=150, needs_approval=True, actor="olga", **terms
            )
            yield from (asked, commands.PayoutApprove(account=source, payout_id=asked.payout_id, actor="pavel"))
            yield commands.PayoutReport(account=source, payout_id=asked.payout_id, attempt=1, status=last)
        yield commands.PayoutReport(account=source, payout_id=asked.payout_id, attempt=1, status="completed")
    gone = commands.PayoutRequest(payout_id=new_id(), account=POOR, commission_minor=200, **terms)
    yield from (gone, commands.PayoutReport(account=POOR, payout_id=gone.payout_id, attempt=1, status="failed"))
    yield commands.PayoutRetry(account=POOR, payout_id=gone.payout_id)
    yield commands.PayoutReport(account=POOR, payout_id=gone.payout_id, attempt=2, status="failed")
    yield commands.LedgerCorrect(
        account=POOR, correction_id=new_id(), debit=POOR, credit="losses:chargeback", amount_minor=5_000,
        currency="RUB", reason="a test", requested_by="olga", approved_by="pavel",
    )  # fmt: skip
    yield commands.PayoutReport(account=POOR, payout_id=gone.payout_id, attempt=2, status="completed")


def sender(message: Message) -> str:
    wanted = (commands.InvoiceIssue, commands.InvoiceCancel, commands.InvoiceRefund)
    return "subscriptions" if isinstance(message, wanted) else "gateway"


@pytest.mark.covers("copeck ledger verify", "copeck replay")
async def test_whatever_the_updater_does_is_right(
    service_environment: Callable[..., dict[str, str]], broker: Any, database_urls: Any
) -> None:
    admin = database_urls["admin"]
    stories = (refunds, late_money, late_refunds, own_shop, wallets, payouts, payouts_of_all_sources)
    messages = [message for story in stories for message in story()]
    async with running(service_environment("state_updater", "state-updater", lease_s="2")) as updater:
        for user, group in itertools.groupby(messages, key=sender):
            together = list(group)
            await send(broker, user, together, [identity(message) for message in together])

        async def all_judged() -> bool:
            return await rows(admin, "SELECT count(*) FROM state.inbox") == [(len(messages),)]

        await eventually(all_judged, timeout_s=30)
        assert await updater.stop() == 0
    kinds = {row[0] for row in await rows(admin, "SELECT DISTINCT kind FROM state.transfers")}
    assert kinds >= {
        "payment", "commission", "refund", "refund_settlement", "refund_reversal", "commission_return", "late_payment",
        "late_to_wallet", "chargeback", "payout", "payout_settlement", "payout_reversal", "opening", "correction",
        "settlement", "acquiring_fee",
    }  # fmt: skip
    assert await rows(admin, "SELECT reason FROM state.quarantine") == []
    late = await rows(admin, "SELECT status, count(*) FROM state.refunds WHERE origin = 'late_payment' GROUP BY 1")
    assert {status for status, _ in late} == {"requested", "succeeded", "failed", "unknown"}
    assert ("failed", 4) in late
    lost = "SELECT sum(amount_minor) FROM state.transfers WHERE kind = 'payout' AND debit_account = 'losses:chargeback'"
    assert await rows(admin, lost) == [(4_800,)]
    statuses = await rows(admin, "SELECT account, status, count(*) FROM state.payouts GROUP BY 1, 2 ORDER BY 1, 2")
    assert [row for row in statuses if row[0] != OTHER] == [
        ("house:payouts", "completed", 2), ("merchant:rich", "completed", 2), (POOR, "completed", 1)
    ]  # fmt: skip
    environment = service_environment("operator", "operator")
    for command in (("ledger", "verify"), ("replay", "--check")):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "copeck.operator", *command, "--json", env=environment, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, out.decode()
        assert json.loads(out)["ok"]
