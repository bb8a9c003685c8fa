"""What owners of wallets see: balances, history, files; what managers set: commissions and stop switches."""

import csv
import io
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.kernel.ids import new_id
from copeck.testkit.postgres import truncate
from payments_gateway.handlers import wallets as handlers
from payments_gateway.store import audit
from payments_gateway.store import wallets as store
from payments_gateway.store.wallet_cache import WalletCache
from payments_gateway.store.wallets import Filter
from tests.support.wallet_site import CARD, PREFIX, Caller, WalletSite, rub

pytestmark = pytest.mark.integration
Rows = Callable[[str], Awaitable[list[dict[str, Any]]]]
DAY = datetime(2026, 3, 10, 12, tzinfo=UTC)


class Books:
    """Writes into the State Storage what the updater would, where only reading is tested."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self.connection = connection

    def account(self, name: str, balance: int, currency: str = "RUB") -> None:
        self.connection.execute(
            "INSERT INTO state.accounts (name, currency, balance_minor, version, updated_at)"
            " VALUES (%s, %s, %s, 1, now())",
            [name, currency, balance],
        )

    def transfer(self, wallet: str, amount: int, balance: int, kind: str, at: datetime, **more: Any) -> UUID:
        """Book a transfer into the wallet, or out of it when the amount is negative."""
        other, aggregate = more.get("other", "provider:mock:main"), more.get("aggregate", new_id())
        into = amount > 0
        self.connection.execute(
            "INSERT INTO state.transfers (aggregate_id, cause_id, n, debit_account, credit_account, amount_minor,"
            " currency, kind, debit_balance_minor, credit_balance_minor, at)"
            " VALUES (%s, %s, 0, %s, %s, %s, 'RUB', %s, %s, %s, %s)",
            [aggregate, more.get("cause", new_id()), other if into else wallet, wallet if into else other, abs(amount),
             kind, None if into else balance, balance if into else None, at],
        )  # fmt: skip
        return UUID(str(aggregate))

    def payout(
        self, wallet: str, status: str, amount: int, payout_id: UUID | None = None, description: str = ""
    ) -> None:
        self.connection.execute(
            "INSERT INTO state.payouts (id, version, status, account, amount_minor, commission_minor, currency,"
            " provider, shop, recipient, description, attempt, outcome_unknown, transaction, last_error, requested_by,"
            ' needs_approval, approved_by, "references", requested_at, updated_at)'
            " VALUES (%s, 1, %s, %s, %s, 100, 'RUB',"
            " 'mock', 'main', 'card token ***', %s, 1, false, '', '', 'user:x', false, '', '{}', now(), now())",
            [payout_id or new_id(), status, wallet, amount, description],
        )

    def topup(self, wallet: str, status: str, amount: int, expires_at: datetime) -> None:
        self.connection.execute(
            "INSERT INTO state.invoices (id, version, status, kind, product, account, payer, beneficiary, amount_minor,"
            ' commission_minor, currency, description, late_policy, capture, expires_at, "references", issued_at,'
            " updated_at) VALUES (%s, 1, %s, 'topup', 'wallet', %s, '', %s, %s, 200, 'RUB', '', 'wallet', 'automatic',"
            " %s,"
            " '{}', now(), now())",
            [new_id(), status, wallet, wallet, amount, expires_at],
        )


@pytest.fixture
def books(database_urls: dict[str, str]) -> Iterator[Books]:
    with psycopg.connect(database_urls["admin"], autocommit=True) as connection:
        yield Books(connection)


async def test_nobody_has_a_wallet_at_first(site: WalletSite, rows: Rows) -> None:
    anna = site.somebody()
    answer = await anna.get("/wallets")
    assert (answer.status_code, answer.json()) == (200, {"items": []})
    page = (await anna.get("/wallets/RUB/transactions")).json()
    assert page == {"items": [], "next_cursor": None}
    opened = await anna.post("/wallets", {"currency": "RUB"}, key=None)
    assert (opened.status_code, opened.json()["open"]) == (202, False)
    (message,) = await rows("outbox")
    assert message["routing_key"].startswith("wallet.open.")
    assert (await anna.post("/wallets", {"currency": "XXX"}, key=None)).status_code == 422


async def test_a_wallet_that_is_there_is_not_opened_again(site: WalletSite, books: Books, rows: Rows) -> None:
    anna = site.somebody()
    books.account(anna.wallet, 0)
    opened = await anna.post("/wallets", {"currency": "RUB"}, key=None)
    assert (opened.status_code, opened.json()["open"]) == (200, True)
    assert await rows("outbox") == []


async def test_balances_tell_what_is_held_and_what_is_on_its_way(site: WalletSite, books: Books) -> None:
    anna = site.somebody()
    soon, past = site.context.clock.now() + timedelta(hours=1), site.context.clock.now() - timedelta(seconds=1)
    books.account(anna.wallet, 12_345)
    for status in ("pending", "processing", "completed", "failed", "canceled"):
        books.payout(anna.wallet, status, 1_000)
    for status, until in (("issued", soon), ("pending", soon), ("authorized", past), ("issued", past), ("paid", soon)):
        books.topup(anna.wallet, status, 5_000, until)
    books.account(site.somebody().wallet, 7)
    (wallet,) = (await anna.get("/wallets")).json()["items"]
    held, pending = rub("22.00"), rub("144.00")
    assert wallet == {"currency": "RUB", "available": rub("123.45"), "held": held, "pending": pending}


async def test_balances_are_remembered_for_a_moment_and_dropped_by_a_request(site: WalletSite, books: Books) -> None:
    anna = site.somebody()

    async def available() -> str:
        return str((await anna.get("/wallets")).json()["items"][0]["available"]["value"])

    books.account(anna.wallet, 100)
    assert await available() == "1.00"
    books.connection.execute("UPDATE state.accounts SET balance_minor = 200 WHERE name = %s", [anna.wallet])
    assert await available() == "1.00"
    await anna.post("/payments/withdraw", {"amount": rub("1.00"), "recipient": CARD})
    assert await available() == "2.00"
    # With Redis gone the State Storage is read each time.
    await site.context.wallet_cache.close()
    site.context.wallet_cache = WalletCache("redis://127.0.0.1:1")
    books.connection.execute("UPDATE state.accounts SET balance_minor = 300 WHERE name = %s", [anna.wallet])
    assert await available() == "3.00"


def history(books: Books, anna: Caller) -> UUID:
    """Five transfers of five days, the last two of one moment; returns the payout's id."""
    payout_id = new_id()
    books.payout(anna.wallet, "completed", 100, payout_id, "=HYPERLINK(1)")
    books.transfer(anna.wallet, 10_000, 10_000, "payment", DAY)
    books.transfer(anna.wallet, -200, 9_800, "commission", DAY + timedelta(days=1), other="fees:commission")
    books.transfer(anna.wallet, 50, 9_850, "correction", DAY + timedelta(days=2))
    for kind, amount, balance in (("payout", -100, 9_750), ("commission", -2, 9_748)):
        books.transfer(anna.wallet, amount, balance, kind, DAY + timedelta(days=3), aggregate=payout_id)
    books.transfer(f"wallet:{uuid4()}", 1, 1, "payment", DAY)
    return payout_id


async def test_history_is_paged_either_way(site: WalletSite, books: Books) -> None:
    anna = site.somebody()
    payout_id = history(books, anna)
    whole = (await anna.get("/wallets/RUB/transactions", params={"ordering": "at"})).json()["items"]
    assert [one["balance_after"]["value"] for one in whole[:3]] == ["100.00", "98.00", "98.50"]
    assert [one["direction"] for one in whole] == ["credit", "debit", "credit", "debit", "debit"]
    assert [one["title"] for one in whole[:3]] == ["Пополнение", "Комиссия", "Исправление"]
    assert {one["payout_id"] for one in whole[3:]} == {str(payout_id)}
    for ordering, expected in (("at", whole), ("-at", whole[::-1])):
        seen: list[Any] = []
        cursor: dict[str, str] = {}
        for _ in range(3):
            params = {"limit": 2, "ordering": ordering, **cursor}
            page = (await anna.get("/wallets/RUB/transactions", params=params)).json()
            seen += page["items"]
            cursor = {"cursor": page["next_cursor"]}
        assert seen == expected
        assert page["next_cursor"] is None


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({"search": "комис"}, 2),
        ({"search": "withdrawal"}, 1),
        ({"search": "HYPERLINK"}, 2),
        ({"search": "100%"}, 0),
        ({"kind": ["payment", "correction"]}, 2),
        ({"from": "2026-03-11", "to": "2026-03-12"}, 2),
        ({"to": "2026-03-10"}, 1),
        ({"from": "2026-03-14"}, 0),
        ({"search": "commission", "from": "2026-03-12"}, 1),
    ],
)
async def test_history_is_searched(site: WalletSite, books: Books, params: dict[str, Any], count: int) -> None:
    anna = site.somebody()
    history(books, anna)
    answer = await anna.get("/wallets/RUB/transactions", params=params)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["items"]) == count


async def test_history_is_found_by_the_beginning_of_an_id(site: WalletSite, books: Books) -> None:
    anna = site.somebody()
    payout_id = history(books, anna)
    found = (await anna.get("/wallets/RUB/transactions", params={"search": str(payout_id)[:30].upper()})).json()
    assert len(found["items"]) == 2


@pytest.mark.parametrize(
    "params", [{"ordering": "amount"}, {"from": "yesterday"}, {"cursor": "WzFd"}, {"to": "9999-12-31"}]
)
async def test_history_refuses_what_it_does_not_know(site: WalletSite, params: dict[str, str]) -> None:
    assert (await site.somebody().get("/wallets/RUB/transactions", params=params)).status_code == 422


@pytest.mark.covers("GET /payments/api/v1/wallets/{currency}/transactions.csv")
async def test_history_is_a_file_that_no_spreadsheet_executes(site: WalletSite, books: Books) -> None:
    anna = site.somebody()
    history(books, anna)
    answer = await anna.get("/wallets/RUB/transactions.csv", params={"ordering": "at", "lang": "en"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="wallet-RUB-')
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [line["balance_after"] for line in lines[:3]] == ["100.00", "98.00", "98.50"]
    assert {line["description"] for line in lines} == {"", "'=HYPERLINK(1)"}
    assert lines[0]["title"] == "Deposit"


async def test_a_file_is_bounded(site: WalletSite, books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    anna = site.somebody()
    history(books, anna)
    monkeypatch.setattr(handlers, "_EXPORT_STEP", 2)
    answer = await anna.get("/wallets/RUB/transactions.csv")
    assert len(answer.text.splitlines()) == 6
    monkeypatch.setattr(handlers, "EXPORT_ROWS_MAX", 4)
    answer = await anna.get("/wallets/RUB/transactions.csv")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:copeck:problem:export-too-large")


# 6,000 transfers of one wallet in commits of ten, every third of them out of it, and as many among others.
BUSY = """
INSERT INTO state.transfers (aggregate_id, cause_id, n, debit_account, credit_account, amount_minor, currency, kind,
                             debit_balance_minor, credit_balance_minor, at)
SELECT state.uuid7_bound(at), md5('cause' || i)::uuid, i %% 3,
       CASE WHEN i %% 3 = 0 THEN name ELSE 'provider:mock:x' END,
       CASE WHEN i %% 3 = 0 THEN 'revenue:x' ELSE name END, i, 'RUB',
       CASE WHEN i %% 2 = 0 THEN 'payment' ELSE 'correction' END,
       CASE WHEN i %% 3 = 0 THEN i END, CASE WHEN i %% 3 <> 0 THEN i END, at
FROM (
    SELECT i, CASE WHEN i <= 6000 THEN %(wallet)s ELSE 'wallet:w' || i %% 100 END AS name,
           %(now)s - (i %% 6000 / 10) * interval '30 seconds' AS at
    FROM generate_series(1, 12000) AS i
) AS made
"""


async def rows_read(tx: AsyncConnection, reading: Callable[[], Awaitable[Any]]) -> float:
    """Return how many rows of transfers a query of the store reads: it is run again, and explained."""
    said: list[tuple[str, Any]] = []
    sync = tx.sync_connection
    assert sync is not None

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        said.append((statement, parameters))

    sa.event.listen(sync, "before_cursor_execute", note)
    try:
        await reading()
    finally:
        sa.event.remove(sync, "before_cursor_execute", note)
    ((statement, parameters),) = said
    plan = (await tx.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)).scalar_one()

    def read(node: dict[str, Any]) -> float:
        own = node.get("Relation Name", "").startswith("transfers") and "Actual Rows" in node
        left = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) if own else 0
        return float(left * node["Actual Loops"]) + sum(read(child) for child in node.get("Plans", ()))

    return read(plan[0]["Plan"])


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("kinds", [(), ("payment",)])
async def test_a_page_of_a_busy_wallet_reads_no_more_than_itself(
    site: WalletSite, books: Books, oldest_first: bool, kinds: tuple[str, ...]
) -> None:
    """Of 6,000 transfers a page of 20 reads what it shows of each half, wherever it begins; so does a bounded count."""
    wallet, now = f"wallet:{uuid4()}", datetime.now(UTC).replace(microsecond=0)
    truncate(books.connection, "state.transfers")
    books.connection.execute(BUSY, {"wallet": wallet, "now": now})
    books.connection.execute("ANALYZE state.transfers")
    wanted = Filter(wallet, "RUB", kinds=kinds, oldest_first=oldest_first)
    middle = (now - timedelta(minutes=150), UUID(int=2**127), UUID(int=2**127), 1)
    async with site.context.database.reading() as tx:
        for after in (None, middle):
            page = await store.history(tx, wanted, after, limit=20)
            whole = await store.history(tx, wanted, after, limit=6_000)
            assert page == whole[:20]
            assert len(whole) > 1_000
            assert [one.order for one in whole] == sorted((one.order for one in whole), reverse=not oldest_first)
            # Transfers of one moment are sorted as they are read; of those with a kind every second is passed over.
            assert await rows_read(tx, partial(store.history, tx, wanted, after, limit=20)) < 200
        assert await store.count(tx, wanted, 50) == 50
        assert await store.count(tx, wanted, 10_000) == (3_000 if kinds else 6_000)
        assert await rows_read(tx, partial(store.count, tx, wanted, 50)) < 300


async def test_a_commission_is_set_by_managers_and_every_version_is_kept(site: WalletSite) -> None:
    manager, anna = site.somebody("manager"), site.somebody()
    path = "/commissions/RUB/deposit"
    before = await manager.get(path)
    assert (before.json()["rate_basis_points"], before.json()["version"], before.headers["ETag"]) == (200, 0, '"0"')
    body = {"rate_basis_points": 150, "minimum": rub("1.00"), "maximum": rub("50.00")}
    for caller, tag, status in ((anna, '"0"', 403), (site.somebody("operator"), '"0"', 403), (manager, None, 428)):
        assert (await caller.put(path, body, tag)).status_code == status
    changed = await manager.put(path, body, before.headers["ETag"])
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"1"')
    assert (await manager.put(path, body, '"0"')).status_code == 412
    assert (await manager.put(path, body | {"minimum": rub("51.00")}, '"1"')).json()["field"] == "maximum"
    assert (await manager.put(path, {"rate_basis_points": 300}, '"1"')).headers["ETag"] == '"2"'
    shown = (await site.somebody("operator").get(path)).json()
    assert [(one["version"], one["rate_basis_points"]) for one in shown["versions"]] == [(2, 300), (1, 150)]
    assert (shown["version"], shown["versions"][1]["maximum"]["value"]) == (2, "50.00")
    assert (before.json()["versions"], shown["versions"][0]["changed_by"]) == ([], f"user:{manager.user_id}")
    assert len((await site.somebody("operator").get("/commissions")).json()) == 12
    assert (await anna.get("/commissions")).status_code == 403
    async with site.context.database.reading() as tx:
        kept = await audit.of_subject(tx, "commission", "RUB:deposit")
    assert [(one.action, one.detail["before"]["version"], one.detail["after"]["version"]) for one in kept] == [
        ("change", 0, 1),
        ("change", 1, 2),
    ]
    assert {one.actor for one in kept} == {f"user:{manager.user_id}"}
    shown = (await anna.post("/payments/preview", {"kind": "deposit", "amount": rub("100.00")}, key=None)).json()
    assert (shown["commission"], shown["total_credited"], shown["total_debited"]) == (rub("3.00"), rub("97.00"), None)
    assert shown["rule"]["rounding"] == "half-even"


async def test_a_switch_stops_at_once_and_tells_the_reason(site: WalletSite, rows: Rows) -> None:
    manager, anna = site.somebody("manager"), site.somebody()
    deposit, withdrawal = {"amount": rub("10.00")}, {"amount": rub("10.00"), "recipient": CARD}
    kept = await anna.post("/payments/deposit", deposit, key="kept")
    stop = {"stopped": True, "reason": "банк на обслуживании"}
    for name, path, body in (
        ("deposits", "deposit", deposit),
        ("payouts", "withdraw", withdrawal),
        ("provider:cloudpayments", "withdraw", withdrawal),
        ("provider:cloudpayments", "deposit", deposit),
    ):
        tag = (await manager.get(f"/switches/{name}")).headers["ETag"]
        turned = await manager.put(f"/switches/{name}", stop, tag)
        assert turned.status_code == 200
        answer = await anna.post(f"/payments/{path}", body)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:copeck:problem:stopped")
        assert "банк на обслуживании" in answer.json()["detail"]
        assert int(answer.headers["Retry-After"]) > 0
        # What was kept before is answered as before.
        assert (await anna.post("/payments/deposit", deposit, key="kept")).text == kept.text
        run = {"stopped": False, "reason": "работает"}
        assert (await manager.put(f"/switches/{name}", run, turned.headers["ETag"])).status_code == 200
        assert (await anna.post(f"/payments/{path}", body)).status_code == 202
    # Another provider goes on.
    tag = (await manager.get("/switches/provider:mock")).headers["ETag"]
    await manager.put("/switches/provider:mock", stop, tag)
    assert (await anna.post("/payments/deposit", deposit)).status_code == 202
    assert (await anna.post("/payments/deposit", deposit | {"provider": "mock"})).status_code == 503
    assert len(await rows("wallet_payments")) == 6


async def test_a_page_begins_no_payment_that_is_stopped(site: WalletSite, told: Callable[..., Awaitable[UUID]]) -> None:
    manager, payer = site.somebody("manager"), site.somebody()
    topup, bill = await told(kind="topup"), await told()
    stop = {"stopped": True, "reason": "учения"}
    await manager.put("/switches/deposits", stop, '"0"')
    assert (await payer.post(f"/pay/{topup}", None)).json()["type"] == "urn:copeck:problem:stopped"
    assert (await payer.post(f"/pay/{bill}", None)).status_code == 201
    await manager.put("/switches/provider:cloudpayments", stop, '"0"')
    assert (await payer.post(f"/pay/{bill}", None)).status_code == 503


async def test_who_may_turn_switches(site: WalletSite) -> None:
    body = {"stopped": True, "reason": "x"}
    manager = site.somebody("manager")
    names = [one["name"] for one in (await site.somebody("operator").get("/switches")).json()]
    assert names == ["deposits", "payouts", "provider:cloudpayments", "provider:mock"]
    for roles in (("customer",), ("merchant",), ("operator",)):
        assert (await site.somebody(*roles).put("/switches/payouts", body, '"0"')).status_code == 403
    assert (await site.somebody().get("/switches")).status_code == 403
    assert (await site.client.get(f"{PREFIX}/switches")).status_code == 401
    assert (await manager.put("/switches/provider:nobody", body, '"0"')).status_code == 404
    assert (await manager.put("/switches/payouts", body, '"0"')).status_code == 200
    assert (await manager.put("/switches/payouts", body, '"0"')).status_code == 412
    assert (await manager.put("/switches/payouts", body | {"reason": " "}, '"1"')).status_code == 422
    async with site.context.database.reading() as tx:
        (kept,) = await audit.of_subject(tx, "switch", "payouts")
    assert (kept.action, kept.detail["reason"]) == ("stop", "x")
