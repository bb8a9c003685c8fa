"""`copeck payout` and `copeck wallet`: one payout's story, search, a balance and how it came about."""

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import psycopg
import pytest

from copeck.contracts import commands
from copeck.contracts.base import Message
from copeck.kernel.ids import new_id
from copeck.testkit.waiting import eventually
from tests.support.operators import Answer, Copeck, damaged
from tests.support.updater import issue, paid, rows, running, send

pytestmark = pytest.mark.integration

ACCOUNT = "wallet:anna"
MOCK: dict[str, Any] = {"provider": "mock", "shop": "main"}


def request(payout_id: UUID, amount_minor: int, **changes: Any) -> commands.PayoutRequest:
    terms: dict[str, Any] = {
        "account": ACCOUNT, "actor": "user:anna", "amount_minor": amount_minor, "commission_minor": amount_minor // 50,
        "currency": "RUB", "recipient": "card *4242", "description": "to myself", **MOCK,
    }  # fmt: skip
    return commands.PayoutRequest(payout_id=payout_id, **(terms | changes))


def report(payout_id: UUID, status: Any, attempt: int = 1, **changes: Any) -> commands.PayoutReport:
    return commands.PayoutReport(account=ACCOUNT, payout_id=payout_id, attempt=attempt, status=status, **changes)


@pytest.fixture
async def payouts(environment: dict[str, str], broker: Any, database_urls: Any) -> list[UUID]:
    """A topped-up wallet; a payout that failed once and was retried, one under way, one short of funds, one waiting."""
    retried, moving, short, waiting = (new_id() for _ in range(4))
    topup = issue(kind="topup", product="wallet", beneficiary=ACCOUNT, amount_minor=100_000, commission_minor=2_000)
    unpaid = issue(kind="topup", product="wallet", beneficiary=ACCOUNT, amount_minor=50_000, commission_minor=1_000)
    story: Iterable[Message] = [
        # Nobody approved it before it failed, so that its retry waits for the second person.
        request(waiting, 30_000, needs_approval=True),
        topup, unpaid, paid(topup.invoice_id, amount_minor=100_000),
        request(retried, 10_000), report(retried, "failed", failure_code="declined"),
        commands.PayoutRetry(account=ACCOUNT, payout_id=retried, actor="user:clerk"),
        report(retried, "processing", 2), report(retried, "completed", 2, transaction="m-1"),
        commands.PayoutCancel(account=ACCOUNT, payout_id=retried, actor="user:anna"),
        request(moving, 20_000), request(short, 9_000_000),
        commands.PayoutRetry(account=ACCOUNT, payout_id=waiting, actor="user:clerk"),
    ]  # fmt: skip
    async with running(environment) as updater:
        # One at a time: an invoice's commands and a wallet's may lie in two shards, and each step here needs the last.
        for number, message in enumerate(story, 1):
            await send(broker, "subscriptions" if isinstance(message, commands.InvoiceIssue) else "gateway", [message])

            async def judged(number: int = number) -> bool:
                return await rows(database_urls["admin"], "SELECT count(*) FROM state.inbox") == [(number,)]

            await eventually(judged, timeout_s=15)
        assert await updater.stop() == 0
    return [retried, moving, short, waiting]


OPERATION = """
INSERT INTO gateway.operations (id, kind, payout_id, payout_attempt, account, provider, shop, amount_minor, currency,
    idempotency_key, status, attempts, next_at, outcome, failure_code, failure_reason, created_at, updated_at)
VALUES (%(operation)s, 'payout', %(payout)s, 1, 'wallet:anna', 'mock', 'main', 10000, 'RUB', 'payout:x:1', 'failed', 2,
    now(), 'failed', 'declined', 'the card is closed', now(), now())
"""
SAID = """
INSERT INTO gateway.requests (at, id, operation_id, payout_id, provider, shop, method, path, request, status_code,
    duration_ms) VALUES (now(), gen_random_uuid(), %(operation)s, %(payout)s, 'mock', 'main', 'POST',
    '/mock-gateway/pay', '{}', 422, 12)
"""
ASKED = """
INSERT INTO gateway.payout_requests (payout_id, origin, account, user_id, requested_by, amount_minor, commission_minor,
    currency, provider, shop, recipient_kind, recipient_masked, recipient_sealed, description, draft, needs_approval,
    requested_at)
VALUES (%(payout)s, 'payout', 'wallet:anna', gen_random_uuid(), 'user:anna', 10000, 200, 'RUB', 'mock', 'main',
    'card_token', 'card *4242', 'token_of_a_card', 'to myself', false, false, now() - interval '1 minute')
"""
DEED = """
INSERT INTO gateway.audit (subject_kind, subject_id, action, actor, detail, at)
VALUES ('payout', %(payout)s::text, 'description_changed', 'user:clerk', '{}', now())
"""


@pytest.mark.covers("copeck payout show")
async def test_payout_show_tells_the_whole_story(copeck: Copeck, payouts: list[UUID], database_urls: Any) -> None:
    with psycopg.connect(database_urls["admin"], autocommit=True) as connection:
        for statement in (OPERATION, SAID, ASKED, DEED):
            connection.execute(statement, {"operation": new_id(), "payout": payouts[0]})
    story = (await copeck("payout", "show", str(payouts[0]), "--json")).json
    assert (story["payout"]["status"], story["payout"]["attempt"]) == ("completed", 2)
    assert story["payout"]["amount"] == {"value": "100.00", "currency": "RUB"}
    assert story["payout"]["commission"] == {"value": "2.00", "currency": "RUB"}
    assert story["unavailable"] == {}
    steps = [entry["what"] for entry in story["timeline"] if entry["kind"] == "transition"]
    assert steps == ["requested", "failed", "retried", "started", "completed"]
    waiting = (await copeck("payout", "show", str(payouts[3]), "--json")).json["timeline"]
    steps = [entry["what"] for entry in waiting if entry["kind"] == "transition"]
    assert steps == ["approval_requested", "funds_lacking", "approval_requested"]
    debit = [("wallet:anna → payouts:in_transit", "100.00"), ("wallet:anna → fees:commission", "2.00")]
    credit = [("fees:commission → wallet:anna", "2.00"), ("payouts:in_transit → wallet:anna", "100.00")]
    transfers = [(e["what"], e["amount"]["value"]) for e in story["timeline"] if e["kind"] == "transfer"]
    assert transfers == [*debit, *credit, *debit, ("payouts:in_transit → provider:mock:main", "100.00")]
    for entry in story["timeline"]:
        if entry["kind"] in ("command", "transition", "transfer", "refusal"):
            assert entry["cause"], entry
            assert entry["cause_id"], entry
    refusal = next(entry for entry in story["timeline"] if entry["kind"] == "refusal")
    assert (refusal["actor"], refusal["cause"]) == ("user:anna", "payout.cancel")
    gateway = [(e["kind"], e["what"], e["status"]) for e in story["timeline"] if e["source"] == "gateway"]
    assert ("intent", "payout to card *4242 by mock:main", "") in gateway
    assert ("deed", "description_changed", "") in gateway
    assert ("operation", "payout attempt 1 at mock:main, 2 tries: the card is closed", "failed") in gateway
    assert ("request", "POST /mock-gateway/pay at mock:main, 12 ms", "status 422") in gateway
    text = (await copeck("payout", "show", str(payouts[0]))).out
    for words in ("completed (version 5)", "card *4242", "user:clerk", "payout.retry", "attempt 2"):
        assert words in text, words
    assert "token_of_a_card" not in text + str(story)


@pytest.mark.covers("copeck payout show")
async def test_an_unknown_payout_is_said_to_be_unknown(copeck: Copeck, database_urls: Any) -> None:
    answer = await copeck("payout", "show", str(new_id()), "--json", status=1)
    assert "nothing is known of a payout" in answer.err
    assert "Traceback" not in answer.err
    await copeck("payout", "show", "not-an-id", status=2)
    asked = new_id()
    with psycopg.connect(database_urls["admin"], autocommit=True) as connection:
        connection.execute(ASKED, {"payout": asked})
    story = (await copeck("payout", "show", str(asked), "--json")).json
    assert story["payout"] is None
    assert [entry["kind"] for entry in story["timeline"]] == ["intent"]
    assert "does not know it (yet)" in (await copeck("payout", "show", str(asked))).out


@pytest.mark.covers("copeck payout list")
async def test_payout_list_searches(copeck: Copeck, payouts: list[UUID]) -> None:
    async def listed(*arguments: str) -> list[str]:
        return [row["id"] for row in (await copeck("payout", "list", *arguments, "--json")).json["payouts"]]

    everything = [str(one) for one in sorted(payouts, reverse=True)]
    assert await listed() == everything
    assert await listed("--limit", "2") == everything[:2]
    assert await listed("--status", "failed") == [str(payouts[2])]
    assert await listed("--status", "awaiting_approval", "--account", ACCOUNT) == [str(payouts[3])]
    assert await listed("--account", "house:payouts") == []
    assert await listed("--since", "2100-01-01") == []
    assert await listed("--until", "2100-01-01") == everything
    await copeck("payout", "list", "--status", "paid", status=2)
    await copeck("payout", "list", "--account", "nobody", status=2)
    await copeck("payout", "list", "--limit", "0", status=2)
    text = (await copeck("payout", "list")).out
    assert "insufficient_funds" in text
    assert "Payouts: 4 shown" in text
    assert "Payouts: 0 shown" in (await copeck("payout", "list", "--account", "merchant:none")).out


@pytest.mark.covers("copeck wallet show")
async def test_wallet_show_folds_the_balance(copeck: Copeck, payouts: list[UUID], database_urls: Any) -> None:
    shown = (await copeck("wallet", "show", ACCOUNT, "--json", "--last", "3")).json
    (balance,) = shown["balances"]
    assert shown["ok"] is True
    # 980 came, 102 left for good, 204 are held for a payout; the open top-up brings 490.
    assert [balance[name]["value"] for name in ("balance", "held", "pending")] == ["674.00", "204.00", "490.00"]
    assert (balance["payouts_under_way"], balance["topups_open"], balance["transfers"]) == (1, 1, 10)
    assert [(row["kind"], row["direction"], row["balance_after"]["value"]) for row in balance["last"]] == [
        ("commission", "debit", "674.00"), ("payout", "debit", "678.00"), ("commission", "debit", "878.00")
    ]  # fmt: skip
    text = (await copeck("wallet", "show", ACCOUNT, "--currency", "RUB")).out
    assert "674.00 RUB available; 204.00 RUB held by 1 payouts" in text
    assert "follows from its transfers, at every step" in text
    for damage, words in (
        ("UPDATE state.accounts SET balance_minor = balance_minor + 1", "keeps 67401, its transfers add up to 67400"),
        (
            "UPDATE state.transfers SET debit_balance_minor = debit_balance_minor + 1 WHERE kind = 'commission' "
            "AND debit_account = 'wallet:anna'",
            "follow from no order of them",
        ),
    ):
        with damaged(database_urls["admin"], damage):
            answer = await copeck("wallet", "show", ACCOUNT, "--json", status=4)
        assert words in " ".join(answer.json["balances"][0]["problems"])


@pytest.mark.covers("copeck wallet show")
async def test_a_wallet_that_is_not_there(
    copeck: Copeck, environment: dict[str, str], broker: Any, database_urls: Any
) -> None:
    answer = await copeck("wallet", "show", "wallet:nobody", status=1)
    assert "it was never opened" in answer.err
    for wrong in ("revenue:x", "wallet:", "anna", "house:payouts"):
        assert "neither wallet" in (await copeck("wallet", "show", wrong, status=2)).err
    opened = "merchant:empty"
    async with running(environment):
        await send(broker, "gateway", [commands.WalletOpen(account=opened, currency="RUB")])

        async def there() -> bool:
            return await rows(database_urls["admin"], "SELECT name FROM state.accounts") == [(opened,)]

        await eventually(there)
    (one,) = (await copeck("wallet", "show", opened, "--json")).json["balances"]
    assert (one["ok"], one["last"], one["balance"]["value"]) == (True, [], "0.00")
    assert "Last 0 of 0 transfers" in (await copeck("wallet", "show", opened)).out
    await copeck("wallet", "show", opened, "--currency", "USD", status=1)


PAYOUT_DAMAGES: list[tuple[str, str, str]] = [
    ("payouts", "DELETE FROM state.transfers WHERE kind = 'payout_settlement'", "what left should be 10000 and is 0"),
    (
        "payouts",
        "UPDATE state.payouts SET status = 'failed' WHERE status = 'processing' OR status = 'pending'",
        "what is on its way should be 0 and is 20000",
    ),
    (
        "payouts",
        "UPDATE state.transfers SET amount_minor = 399 WHERE kind = 'commission' AND amount_minor = 400",
        "commission should be 400 and is 399",
    ),
    (
        "payouts",
        "UPDATE state.transfers SET debit_account = 'wallet:boris' WHERE kind = 'payout' AND amount_minor = 20000",
        "what its source gave should be 20400 and is 400",
    ),
    (
        "payouts",
        "UPDATE state.transfers SET debit_account = 'losses:chargeback' WHERE kind = 'payout' AND amount_minor = 20000",
        "our loss should be 0 and is 20000",
    ),
    ("payouts", "UPDATE state.payouts SET attempt = 3 WHERE attempt = 2", "debits should be 3 and is 2"),
    (
        "payouts",
        "UPDATE state.transfers SET cause_id = gen_random_uuid() WHERE kind = 'payout_settlement'",
        "without their step should be 0 and is 1",
    ),
    (
        "payouts",
        "UPDATE state.transfers SET currency = 'USD' WHERE kind = 'payout_settlement'",
        "of another currency or without their step should be 0 and is 1",
    ),
    (
        "payouts",
        "INSERT INTO state.transfers SELECT aggregate_id, cause_id, 9, debit_account, credit_account, 1, currency, "
        "kind, debit_balance_minor, credit_balance_minor, at FROM state.transfers WHERE kind = 'payout_settlement'",
        "what left should be 10000 and is 10001",
    ),
    (
        "in_transit",
        "UPDATE state.payouts SET status = 'completed' WHERE status IN ('pending', 'processing')",
        "payouts:in_transit holds 20000 RUB (minor units), of which 0 open items explain 0",
    ),
    ("in_transit", "DELETE FROM state.payouts WHERE status = 'pending'", "0 open items explain 0"),
    ("owners", "DELETE FROM state.payouts WHERE status = 'pending'", "belongs to nothing"),
    (
        "balances",
        "UPDATE state.transfers SET credit_balance_minor = credit_balance_minor - 1 WHERE kind = 'payout_reversal'",
        "follow from no order of them",
    ),
    (
        "balances",
        "DELETE FROM state.transfers WHERE kind = 'commission_reversal'",
        "keeps 67400, its transfers add up to 67200",
    ),
]


@pytest.mark.covers("copeck ledger verify")
async def test_ledger_verify_finds_damage_of_payouts(
    copeck_inside: Callable[..., Answer], payouts: list[UUID], database_urls: Any
) -> None:
    right = copeck_inside("ledger", "verify", "--json").json
    assert (right["ok"], right["examined"]["payouts"]) == (True, 4)
    assert "4 payouts" in copeck_inside("ledger", "verify").out
    for check, statement, words in PAYOUT_DAMAGES:
        with damaged(database_urls["admin"], statement):
            verdict = copeck_inside("ledger", "verify", "--json", status=4).json
        found = {one["check"]: " ".join(finding["what"] for finding in one["findings"]) for one in verdict["checks"]}
        assert words in found[check], (statement, found)
    copeck_inside("ledger", "verify")


PAYOUT_CHAIN_DAMAGES: list[tuple[str, str]] = [
    ("UPDATE state.payouts SET status = 'failed' WHERE status = 'completed'", "status folds to completed"),
    ("UPDATE state.payouts SET amount_minor = amount_minor + 1", "amount_minor folds to 10000, stored is 10001"),
    ("UPDATE state.payouts SET commission_minor = 0", "commission_minor folds to 200, stored is 0"),
    ("UPDATE state.payouts SET attempt = 1 WHERE attempt = 2", "attempt folds to 2, stored is 1"),
    ("UPDATE state.payouts SET account = 'wallet:boris'", "account folds to wallet:anna"),
    ("UPDATE state.payouts SET approved_by = 'user:nobody'", "approved_by folds to"),
    ("DELETE FROM state.payouts WHERE status = 'completed'", "no payout is stored"),
    ("DELETE FROM state.transitions WHERE event = 'retried'", "the versions are"),
    ("UPDATE state.payouts SET status = 'pending' WHERE needs_approval", "status folds to awaiting_approval"),
    ("UPDATE state.transitions SET event = 'canceled' WHERE event = 'completed'", "is not possible when"),
]


@pytest.mark.covers("copeck replay")
async def test_replay_finds_damage_of_payouts(
    copeck_inside: Callable[..., Answer], payouts: list[UUID], database_urls: Any
) -> None:
    right = copeck_inside("replay", "--check", "--json").json
    assert (right["ok"], right["examined"]) == (True, {"invoices": 2, "payouts": 4, "links": 14})
    for statement, words in PAYOUT_CHAIN_DAMAGES:
        with damaged(database_urls["admin"], statement):
            verdict = copeck_inside("replay", "--check", "--json", status=4).json
        assert words in " ".join(finding["what"] for finding in verdict["findings"]), (statement, verdict)
