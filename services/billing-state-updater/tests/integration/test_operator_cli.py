"""The operator's command line, each command as a process against real servers."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest

from copeck.contracts import commands
from copeck.kernel.ids import new_id
from copeck.testkit.waiting import eventually
from tests.support.updater import CUSTOMER, issue, paid, rows, running, send, status_becomes

pytestmark = pytest.mark.integration

Copeck = Callable[..., Any]


class Answer:
    """What one run of the command line came to."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def environment(service_environment: Callable[..., dict[str, str]]) -> dict[str, str]:
    return service_environment("state_updater", "state-updater", lease_s="2")


@pytest.fixture
def copeck(service_environment: Callable[..., dict[str, str]]) -> Copeck:
    env = service_environment("operator", "operator", operator_name="olga")

    async def run(*arguments: str, status: int = 0, **changes: str) -> Answer:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "copeck.operator",
            *arguments,
            env=env | changes,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        answer = Answer(process.returncode or 0, out.decode(), err.decode())
        assert answer.status == status, f"{arguments}: {answer.out[-2000:]}\n{answer.err[-3000:]}"
        return answer

    return run


@pytest.fixture
async def sold(environment: dict[str, str], broker: Any, database_urls: Any) -> list[UUID]:
    """Two invoices, one paid and half refunded, one paid too late; by a real updater."""
    admin = database_urls["admin"]
    first, second = issue(), issue()
    async with running(environment) as updater:
        await send(broker, "subscriptions", [first, second])
        await send(broker, "gateway", [paid(first.invoice_id)])
        await send(broker, "subscriptions", [commands.InvoiceCancel(account=CUSTOMER, invoice_id=second.invoice_id)])
        await status_becomes(admin, first.invoice_id, "paid")
        await status_becomes(admin, second.invoice_id, "canceled")
        refund = commands.InvoiceRefund(
            account=CUSTOMER, invoice_id=first.invoice_id, refund_id=new_id(), amount_minor=9_900, actor="user:m1"
        )
        again = commands.InvoiceCancel(account=CUSTOMER, invoice_id=first.invoice_id, actor="user:m2")
        await send(broker, "subscriptions", [refund, again])
        await send(broker, "gateway", [paid(second.invoice_id)])

        async def settled() -> bool:
            found = await rows(admin, "SELECT count(*) FROM state.refunds")
            return found == [(2,)]

        await eventually(settled)
        assert await updater.stop() == 0
    return [first.invoice_id, second.invoice_id]


def damage(url: str, *statements: str) -> None:
    """Do what no role of ours may: a superuser past every trigger."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement)


BOOKS = ("invoices", "payments", "refunds", "transitions", "transfers", "accounts")


@contextmanager
def damaged(url: str, *statements: str) -> Iterator[None]:
    """Damage the books for the length of a block."""
    saved = [f"CREATE TABLE IF NOT EXISTS public.saved_{name} AS TABLE state.{name}" for name in BOOKS]
    damage(url, *saved, *statements)
    try:
        yield
    finally:
        damage(url, "ALTER TABLE state.transfers DROP CONSTRAINT IF EXISTS transfers_wallet_not_negative")
        for name in BOOKS:
            damage(
                url,
                f"TRUNCATE state.{name}",
                f"INSERT INTO state.{name} SELECT * FROM public.saved_{name}",
                f"DROP TABLE public.saved_{name}",
            )
        damage(
            url,
            "ALTER TABLE state.transfers ADD CONSTRAINT transfers_wallet_not_negative "
            "CHECK (debit_balance_minor >= 0 OR debit_account NOT LIKE 'wallet:%')",
        )


@pytest.mark.covers("copeck invoice show")
async def test_invoice_show_tells_the_whole_story(copeck: Copeck, sold: list[UUID], database_urls: Any) -> None:
    with psycopg.connect(database_urls["admin"], autocommit=True) as connection:
        connection.execute(
            "INSERT INTO gateway.callbacks (received_at, id, provider, shop, kind, method, headers, body, verdict, "
            "answer, invoice_id) VALUES (now(), %s, 'cloudpayments', 'main', 'pay', 'POST', '{}', 'x', 'good', 0, %s)",
            [new_id(), sold[0]],
        )
    story = (await copeck("invoice", "show", str(sold[0]), "--json")).json
    assert story["invoice"]["status"] == "paid"
    assert story["invoice"]["amount"] == {"value": "199.00", "currency": "RUB"}
    assert story["unavailable"] == {}
    kinds = {entry["kind"] for entry in story["timeline"]}
    assert kinds >= {"command", "callback", "transition", "payment", "transfer", "refund", "refusal"}
    steps = [entry["what"] for entry in story["timeline"] if entry["kind"] == "transition"]
    assert steps == ["issued", "paid", "refund_requested"]
    transfers = [(e["what"], e["amount"]["value"]) for e in story["timeline"] if e["kind"] == "transfer"]
    assert transfers == [
        ("provider:cloudpayments:main → revenue:subscription", "199.00"),
        ("revenue:subscription → refunds:in_transit", "99.00"),
    ]
    refused = next(entry for entry in story["timeline"] if entry["kind"] == "refusal")
    assert (refused["actor"], refused["cause"]) == ("user:m2", "invoice.cancel")
    for entry in story["timeline"]:
        if entry["source"] == "state" and entry["kind"] != "quarantine":
            assert entry["cause_id"], entry
    text = (await copeck("invoice", "show", str(sold[0]))).out
    assert "revenue:subscription" in text
    assert "user:m1" in text


@pytest.mark.covers("copeck invoice show")
async def test_an_unknown_invoice_is_said_to_be_unknown(copeck: Copeck) -> None:
    answer = await copeck("invoice", "show", str(new_id()), "--json", status=1)
    assert "nothing is known" in answer.err
    assert "Traceback" not in answer.err
    await copeck("invoice", "show", "not-an-id", status=2)


@pytest.mark.covers("copeck invoice list")
async def test_invoice_list_searches(copeck: Copeck, sold: list[UUID]) -> None:
    found = (await copeck("invoice", "list", "--json")).json["invoices"]
    assert [row["id"] for row in found] == [str(sold[1]), str(sold[0])]
    found = (await copeck("invoice", "list", "--status", "paid", "--payer", "anna", "--json")).json["invoices"]
    assert [row["id"] for row in found] == [str(sold[0])]
    transaction = found[0]["transaction"]
    found = (await copeck("invoice", "list", "--transaction", transaction, "--json")).json["invoices"]
    assert [row["id"] for row in found] == [str(sold[0])]
    assert (await copeck("invoice", "list", "--since", "2100-01-01", "--json")).json == {"invoices": []}
    assert len((await copeck("invoice", "list", "--until", "2100-01-01", "--json")).json["invoices"]) == 2
    await copeck("invoice", "list", "--status", "bought", status=2)
    assert "199.00" in (await copeck("invoice", "list")).out


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
async def test_ledger_verify_finds_damage(copeck: Copeck, sold: list[UUID], database_urls: Any) -> None:
    admin = database_urls["admin"]
    for check, statements, words in LEDGER_DAMAGES:
        with damaged(admin, *statements):
            verdict = (await copeck("ledger", "verify", "--json", status=4)).json
        assert verdict["ok"] is False
        found = {one["check"]: " ".join(finding["what"] for finding in one["findings"]) for one in verdict["checks"]}
        assert words in found[check], (statements, found)
    await copeck("ledger", "verify")


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
async def test_replay_finds_damage(copeck: Copeck, sold: list[UUID], database_urls: Any) -> None:
    for statement, words in CHAIN_DAMAGES:
        with damaged(database_urls["admin"], statement):
            verdict = (await copeck("replay", "--check", "--json", status=4)).json
        assert verdict["ok"] is False
        assert words in " ".join(finding["what"] for finding in verdict["findings"]), (statement, verdict)
    await copeck("replay", "--check")


@pytest.mark.covers("copeck quarantine list", "copeck quarantine show", "copeck quarantine replay")
async def test_a_quarantined_message_is_replayed_once_its_cause_is_mended(
    copeck: Copeck, environment: dict[str, str], broker: Any, database_urls: Any
) -> None:
    """Money reported for an invoice that comes later: set aside, then replayed, judged, and booked once."""
    admin = database_urls["admin"]
    invoice = issue()
    async with running(environment):
        (message_id,) = await send(broker, "gateway", [paid(invoice.invoice_id)])

        async def aside() -> bool:
            return await rows(admin, "SELECT count(*) FROM state.quarantine") == [(1,)]

        await eventually(aside)
        (listed,) = (await copeck("quarantine", "list", "--json")).json["messages"]
        assert (listed["sender"], listed["reason"]) == ("gateway", "the invoice is not known")
        assert listed["message_id"] == str(message_id)
        shown = (await copeck("quarantine", "show", listed["id"], "--json")).json
        assert json.loads(shown["body"])["invoice_id"] == str(invoice.invoice_id)
        await send(broker, "subscriptions", [invoice])
        await status_becomes(admin, invoice.invoice_id, "issued")
        replayed = (await copeck("quarantine", "replay", listed["id"], "--json")).json
        await status_becomes(admin, invoice.invoice_id, "paid")
    assert await rows(admin, "SELECT cause_id FROM state.transitions WHERE event = 'paid'") == [
        (UUID(replayed["message_id"]),)
    ]
    assert (await copeck("quarantine", "list", "--json")).json == {"messages": []}
    assert len((await copeck("quarantine", "list", "--all", "--json")).json["messages"]) == 1
    again = await copeck("quarantine", "replay", listed["id"], status=1)
    assert "was resolved" in again.err
    assert await rows(admin, "SELECT login, actor, action FROM state.operator_actions ORDER BY id") == [
        ("operator", "olga", "quarantine.replay"),
        ("operator", "olga", "quarantine.resolve"),
    ]


@pytest.mark.covers("copeck quarantine replay")
async def test_a_replay_that_broke_off_is_repeated_under_the_same_id(
    copeck: Copeck, environment: dict[str, str], broker: Any, database_urls: Any
) -> None:
    admin = database_urls["admin"]
    identity, chosen = new_id(), new_id()
    report = paid(new_id())
    damage(
        admin,
        "INSERT INTO state.quarantine (id, shard, message_id, sender, reason, headers, body, at, replay_id) VALUES ("
        f"'{identity}', 0, '{new_id()}', 'gateway', 'x', '{{\"cloudEvents:type\": \"payment.report.v1\"}}', "
        f"convert_to('{report.model_dump_json()}', 'UTF8'), now(), '{chosen}')",
    )
    replayed = (await copeck("quarantine", "replay", str(identity), "--json")).json
    assert replayed["message_id"] == str(chosen)
    message = (await broker.take(replayed["queue"]))[0]
    properties = message.header.properties
    assert (properties.message_id, properties.user_id) == (str(chosen), "operator")
    assert properties.headers["x-original-sender"] == "gateway"


@pytest.mark.covers("copeck quarantine close")
async def test_a_quarantined_message_is_closed_on_the_record(copeck: Copeck, database_urls: Any) -> None:
    identity = new_id()
    damage(
        database_urls["admin"],
        f"INSERT INTO state.quarantine VALUES ('{identity}', 0, 'x', 'gateway', 'y', '{{}}', '', now())",
    )
    await copeck("quarantine", "close", str(identity), "--reason", " ", status=1)
    await copeck("quarantine", "replay", str(identity), status=1)
    await copeck("quarantine", "close", str(identity), "--reason", "a drill", "--json")
    await copeck("quarantine", "close", str(identity), "--reason", "a drill", status=1)
    assert await rows(database_urls["admin"], "SELECT resolved_by, resolution FROM state.quarantine") == [
        ("olga", "closed: a drill")
    ]


@pytest.mark.covers("copeck outbox status")
async def test_outbox_status_counts_what_waits(copeck: Copeck, sold: list[UUID], database_urls: Any) -> None:
    document = (await copeck("outbox", "status", "--json")).json
    assert {row["service"] for row in document["outboxes"]} >= {"auth", "subscriptions", "gateway", "state"}
    assert document["waiting"] == 0
    damage(
        database_urls["admin"],
        "UPDATE state.outbox_cursors SET seq = greatest(seq - 1, 0)",
        "INSERT INTO gateway.outbox (message_id, exchange, routing_key, headers, body, created_at) "
        "VALUES (gen_random_uuid(), 'e', 'k', '{}', '', now() - interval '5 minutes')",
    )
    document = (await copeck("outbox", "status", "--json")).json
    waiting = {row["service"]: row["waiting"] for row in document["outboxes"]}
    assert waiting["gateway"] == 1
    assert waiting["state"] >= 1
    assert document["oldest_age_s"] > 290
    await copeck("outbox", "status", "--older-than", "60", status=4)
    assert "messages wait" in (await copeck("outbox", "status")).out


async def test_what_is_wrong_is_one_line_with_a_status(copeck: Copeck) -> None:
    nowhere = "postgresql://operator:wrong@127.0.0.1:1/none"
    answer = await copeck("ledger", "verify", status=3, COPECK_DATABASE_URL=nowhere)
    assert "the database is not reached" in answer.err
    assert "Traceback" not in answer.err
    assert "wrong" not in answer.err
    await copeck("dlq", "list", status=3, COPECK_BROKER_URL="amqp://operator:wrong@127.0.0.1:1/none")
    await copeck("nonsense", status=2)
    for command in ("invoice", "ledger", "replay", "quarantine", "outbox", "dlq"):
        assert "Usage" in (await copeck(command, "--help")).out


async def test_an_operator_can_do_nothing_else(database_urls: Any) -> None:
    """The functions are the operator's only way to write, and nobody else's at all."""
    call = "SELECT state_api.record_operator_action('a', 'b', 'c', 'd')"
    with psycopg.connect(database_urls["operator"], autocommit=True) as connection:
        connection.execute(call)
        for statement in ("INSERT INTO state.operator_actions (actor) VALUES ('x')", "DELETE FROM state.quarantine"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    for role in ("auth", "subscriptions", "gateway", "reminders", "devices", "state_updater"):
        with (
            psycopg.connect(database_urls[role], autocommit=True) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(call)
