"""`copeck ledger verify` and `copeck replay --check`: right books are accepted, damage is found."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from tests.support.operators import Answer, Copeck, damaged

pytestmark = pytest.mark.integration


@pytest.mark.covers("copeck ledger verify")
async def test_ledger_verify_accepts_right_books(copeck: Copeck, sold: list[UUID]) -> None:
    verdict = (await copeck("ledger", "verify", "--json")).json
    assert verdict["ok"] is True
    assert {check["check"]: check["ok"] for check in verdict["checks"]} == dict.fromkeys(
        ("sums", "balances", "invoices", "payouts", "in_transit", "owners"), True
    )
    assert verdict["examined"]["transfers"] == 4
    assert "the books are right" in (await copeck("ledger", "verify")).out


WALLET = "INSERT INTO state.accounts VALUES ('wallet:anna', 'RUB', {balance}, 3, true, now())"
MOVE = (
    "INSERT INTO state.transfers VALUES (gen_random_uuid(), gen_random_uuid(), {n}, '{debit}', '{credit}', {amount}, "
    "'RUB', 'opening', {debit_balance}, {credit_balance}, now())"
)


def move(n: int, debit: str, credit: str, amount: int, debit_balance: object, credit_balance: object) -> str:
    return MOVE.format(
        n=n, debit=debit, credit=credit, amount=amount, debit_balance=debit_balance, credit_balance=credit_balance
    )


LEDGER_DAMAGES: list[tuple[str, list[str], str]] = [
    ("balances", [WALLET.format(balance=500)], "holds 500 and has no transfer"),
    (
        "balances",
        [WALLET.format(balance=70), move(0, "opening:x", "wallet:anna", 60, "NULL", 60)],
        "keeps 70, its transfers add up to 60",
    ),
    (
        "balances",
        [
            WALLET.format(balance=100),
            move(0, "opening:x", "wallet:anna", 60, "NULL", 60),
            move(0, "opening:x", "wallet:anna", 40, "NULL", 40),
        ],
        "follow from no order of them",
    ),
    (
        "balances",
        [
            "ALTER TABLE state.transfers DROP CONSTRAINT transfers_wallet_not_negative",
            WALLET.format(balance=0),
            move(0, "wallet:anna", "opening:x", 30, -30, "NULL"),
            move(0, "opening:x", "wallet:anna", 30, "NULL", 0),
        ],
        "was at -30",
    ),
    (
        "invoices",
        ["DELETE FROM state.transfers WHERE kind = 'payment'"],
        "payment should be 19900 and is 0",
    ),
    (
        "invoices",
        ["UPDATE state.invoices SET refunded_minor = 100 WHERE status = 'paid'"],
        "refunded so far should be 100 and is 0",
    ),
    (
        "in_transit",
        ["UPDATE state.refunds SET status = 'succeeded' WHERE origin = 'requested'"],
        "refunds:in_transit holds 29800 RUB",
    ),
    (
        "owners",
        ["UPDATE state.transfers SET aggregate_id = gen_random_uuid() WHERE kind = 'payment'"],
        "belongs to nothing",
    ),
]


@pytest.mark.covers("copeck ledger verify")
async def test_ledger_verify_finds_damage(
    copeck_inside: Callable[..., Answer], sold: list[UUID], database_urls: Any
) -> None:
    admin = database_urls["admin"]
    for check, statements, words in LEDGER_DAMAGES:
        with damaged(admin, *statements):
            verdict = copeck_inside("ledger", "verify", "--json", status=4).json
        assert verdict["ok"] is False
        found = {one["check"]: " ".join(finding["what"] for finding in one["findings"]) for one in verdict["checks"]}
        assert words in found[check], (statements, found)
    copeck_inside("ledger", "verify")


@pytest.mark.covers("copeck replay")
async def test_replay_accepts_what_the_updater_wrote(copeck: Copeck, sold: list[UUID]) -> None:
    verdict = (await copeck("replay", "--check", "--json")).json
    assert verdict == {
        "ok": True,
        "complete": True,
        "examined": {"invoices": 2, "payouts": 0, "links": 6},
        "findings": [],
    }
    assert (await copeck("replay", "--check", "--limit", "1", "--json")).json["examined"]["invoices"] == 1
    assert (await copeck("replay", "--check", "--since", "2100-01-01", "--json")).json["examined"]["invoices"] == 0
    shown = (await copeck("replay", str(sold[0]), "--json")).json["replayed"]
    assert shown[0]["state"]["status"] == "paid"
    assert len(shown[0]["state"]["payments"]) == 1
    assert "every row follows" in (await copeck("replay", "--check")).out
    await copeck("replay", status=1)


CHAIN_DAMAGES: list[tuple[str, str]] = [
    ("UPDATE state.invoices SET status = 'refunded' WHERE status = 'paid'", "status folds to paid"),
    ("UPDATE state.invoices SET amount_minor = 29900", "amount_minor folds to 19900, stored is 29900"),
    ("UPDATE state.payments SET status = 'failed'", "status folds to succeeded, stored is failed"),
    ("UPDATE state.refunds SET amount_minor = 1", "stored is 1"),
    ("DELETE FROM state.payments", "follows from the chain and is not stored"),
    ("DELETE FROM state.refunds", "follows from the chain and is not stored"),
    ("DELETE FROM state.invoices WHERE status = 'paid'", "no invoice is stored"),
    ("DELETE FROM state.transitions WHERE event = 'issued'", "the versions are"),
    ("DELETE FROM state.transitions", "is stored and has no chain of events"),
    ("UPDATE state.transitions SET event = 'charged_back' WHERE event = 'paid'", "is not possible when"),
    ("UPDATE state.transitions SET status = 'refunded' WHERE event = 'paid'", "paid leads to paid"),
    ("UPDATE state.transitions SET changes = '{\"nonsense\": 1}' WHERE event = 'paid'", "cannot be folded"),
]


@pytest.mark.covers("copeck replay")
async def test_replay_finds_damage(copeck_inside: Callable[..., Answer], sold: list[UUID], database_urls: Any) -> None:
    for statement, words in CHAIN_DAMAGES:
        with damaged(database_urls["admin"], statement):
            verdict = copeck_inside("replay", "--check", "--json", status=4).json
        assert verdict["ok"] is False
        assert words in " ".join(finding["what"] for finding in verdict["findings"]), (statement, verdict)
    copeck_inside("replay", "--check")
