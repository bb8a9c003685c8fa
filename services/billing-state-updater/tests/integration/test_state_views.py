"""What the wallet's pages and the payouts' janitor read, and that the planner reads no more than it must."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from copeck.kernel.ids import first_id_at
from copeck.testkit.postgres import truncate

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC).replace(microsecond=0)
ACCOUNT = "wallet:busy"
COLUMNS = """
    account, direction, counter_account, amount_minor, balance_after_minor, currency, kind, at, aggregate_id, cause_id,
    n
"""
ORDER = "ORDER BY at DESC, aggregate_id DESC, cause_id DESC, n DESC LIMIT %(limit)s"
HALF = f"""
SELECT {COLUMNS} FROM state_api.{{}} WHERE account = %(account)s AND currency = 'RUB'
  AND (at, aggregate_id, cause_id, n) < (%(at)s, %(id)s, %(cause)s, %(n)s) {ORDER}
"""
PAGE = f"({HALF.format('wallet_debits_v1')}) UNION ALL ({HALF.format('wallet_credits_v1')}) {ORDER}"
LAST: dict[str, Any] = {
    "account": ACCOUNT, "at": NOW + timedelta(days=1), "id": UUID(int=2**128 - 1), "cause": UUID(int=2**128 - 1),
    "n": 32_767, "limit": 20,
}  # fmt: skip

# 8,000 transfers in commits of ten, a quarter of them debits and a quarter credits of one busy wallet, the others among
# a hundred that pay and are paid, also by each other. Balances are only labels here: nobody folds them.
TRANSFERS = """
INSERT INTO state.transfers
SELECT state.uuid7_bound(at), md5('cause' || i)::uuid, i %% 3,
       CASE WHEN i %% 4 = 0 THEN 'wallet:busy' WHEN i %% 2 = 0 THEN 'wallet:w' || i %% 100 ELSE 'provider:mock:x' END,
       CASE WHEN i %% 6 = 0 THEN 'revenue:x' WHEN i %% 4 = 1 THEN 'wallet:busy' ELSE 'wallet:w' || (i + 50) %% 100 END,
       i, CASE WHEN i %% 80 = 8 THEN 'USD' ELSE 'RUB' END, 'payment',
       CASE WHEN i %% 2 = 0 THEN i END, CASE WHEN i %% 6 <> 0 THEN i END, at
FROM (SELECT i, %(now)s - (i / 10) * interval '30 seconds' AS at FROM generate_series(1, 8000) AS i) AS made
"""


@pytest.fixture
def gateway(database_urls: dict[str, str]) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_urls["gateway"], autocommit=True) as connection:
        yield connection


def fill(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        truncate(connection, "state.transfers", "state.invoices", "state.payouts", "state.refunds")
        for statement in statements:
            connection.execute(statement, {"now": NOW})
        connection.execute("ANALYZE state.transfers, state.invoices, state.payouts")


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a plan that read a table or an index."""
    if "Relation Name" in plan or "Index Name" in plan:
        yield plan
    for child in plan.get("Plans", ()):
        yield from scans(child)


def explained(connection: psycopg.Connection, query: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a query under EXPLAIN and return what was read, and how."""
    with psycopg.ClientCursor(connection) as cursor:
        row = cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", parameters).fetchone()
    assert row is not None
    return list(scans(row[0][0]["Plan"]))


def test_a_page_of_a_wallets_history_is_read_by_its_index(
    gateway: psycopg.Connection, database_urls: dict[str, str]
) -> None:
    """Both halves have the account and the cursor in their index conditions, and stop where the page is full."""
    fill(database_urls["admin"], TRANSFERS)
    middle = LAST | {"at": NOW - timedelta(hours=3)}
    nodes = explained(gateway, PAGE, middle)
    assert {node["Node Type"] for node in nodes if node["Actual Rows"]} == {"Index Scan"}, nodes
    conditions = [node["Index Cond"] for node in nodes if node["Actual Rows"]]
    for side in ("debit", "credit"):
        own = [condition for condition in conditions if f"({side}_account = 'wallet:busy'" in condition]
        assert own, side
        assert all("(at <= " in condition for condition in own), own
    # A page of 20 out of 4,000 rows reads little more than itself: what is left is sorted within its moment.
    assert sum(node["Actual Rows"] for node in nodes) < 80


def test_pages_of_a_history_are_the_whole_of_it(gateway: psycopg.Connection, database_urls: dict[str, str]) -> None:
    """By the cursor, page after page: every transfer of the account once, the newest first."""
    fill(database_urls["admin"], TRANSFERS)
    with psycopg.connect(database_urls["admin"]) as connection:
        expected = connection.execute(
            "SELECT at, aggregate_id, cause_id, n, debit_account = %(a)s, amount_minor FROM state.transfers "
            "WHERE %(a)s IN (debit_account, credit_account) AND currency = 'RUB' "
            "ORDER BY 1 DESC, 2 DESC, 3 DESC, 4 DESC",
            {"a": ACCOUNT},
        ).fetchall()
    found: list[tuple[Any, ...]] = []
    cursor = LAST
    while page := gateway.execute(PAGE, cursor).fetchall():
        found += page
        at, identity, cause, n = page[-1][7:]
        cursor = LAST | {"at": at, "id": identity, "cause": cause, "n": n}
    assert [(*row[7:], row[1] == "debit", row[3]) for row in found] == expected
    both = gateway.execute(f"SELECT {COLUMNS} FROM state_api.wallet_transfers_v1 WHERE account = %s", [ACCOUNT])
    assert set(found) == {row for row in both.fetchall() if row[5] == "RUB"}
    assert len(expected) > 100
    for row in found:
        assert (row[0], row[4], row[5]) == (ACCOUNT, row[3], "RUB")
        assert row[2] != ACCOUNT


INVOICES = """
INSERT INTO state.invoices (id, version, status, updated_at, account, kind, product, payer, beneficiary, amount_minor,
                            currency, late_policy, capture, expires_at, issued_at)
SELECT state.uuid7_bound(%(now)s - i * interval '1 second'), 1, CASE WHEN i %% 5 = 0 THEN 'issued' ELSE 'paid' END,
       %(now)s, 'customer:c', 'topup', 'wallet', 'p',
       CASE WHEN i %% 3 = 0 THEN 'wallet:w' || i %% 30 ELSE 'revenue:x' END, 100, 'RUB', 'wallet', 'automatic',
       %(now)s, %(now)s FROM generate_series(1, 6000) AS i
"""


def test_open_top_ups_of_a_wallet_are_read_by_their_index(
    gateway: psycopg.Connection, database_urls: dict[str, str]
) -> None:
    fill(database_urls["admin"], INVOICES)
    query = (
        "SELECT id, status, amount_minor FROM state_api.wallet_topups_v1 "
        "WHERE wallet = %(wallet)s AND id >= %(since)s AND status IN ('issued', 'pending') ORDER BY id DESC LIMIT 50"
    )
    parameters = {"wallet": "wallet:w15", "since": first_id_at(NOW - timedelta(minutes=30))}
    nodes = explained(gateway, query, parameters)
    (node,) = [node for node in nodes if "Index Name" in node]
    assert node["Index Name"] == "invoices_wallet"
    assert "(beneficiary = 'wallet:w15'" in node["Index Cond"]
    assert "(id >= " in node["Index Cond"]
    found = gateway.execute(query, parameters).fetchall()
    # Every 30th invoice is this wallet's, every fifth is open, 15 among them: 60 of 1,800, cut at 50.
    assert len(found) == 50
    assert {row[1] for row in found} == {"issued"}


PAYOUTS = """
WITH made AS (
    SELECT i, state.uuid7_bound(%(now)s - interval '40 days' + i * interval '1 second') AS id
    FROM generate_series(1, 3000) AS i
), payout AS (
    INSERT INTO state.payouts (id, version, status, attempt, updated_at, account, amount_minor, commission_minor,
                               currency, provider, shop, recipient, description, requested_by, requested_at)
    SELECT id, 1, CASE WHEN i %% 10 = 0 THEN 'pending' ELSE 'completed' END, 2, %(now)s, 'wallet:w', 100, 2, 'RUB',
           'mock', 'main', 'card', '', 'p', %(now)s FROM made RETURNING 1
)
INSERT INTO state.transfers
SELECT id, md5('cause' || i || '-' || try)::uuid, 0, 'wallet:w', 'payouts:in_transit', 100, 'RUB', 'payout', 1, NULL,
       CASE WHEN try = 1 THEN %(now)s - interval '40 days' ELSE %(now)s - i * interval '10 seconds' END
FROM made, generate_series(1, 2) AS try
"""


def test_payouts_that_should_be_executed_are_found_by_their_last_debit(
    gateway: psycopg.Connection, database_urls: dict[str, str]
) -> None:
    """Each once, also one that was asked for weeks ago and tried again a minute ago."""
    fill(database_urls["admin"], PAYOUTS)
    query = (
        "SELECT id, debited_at, attempt FROM state_api.payouts_debited_v1 "
        "WHERE debited_at >= %(since)s AND debited_at < %(until)s AND status = 'pending' ORDER BY debited_at LIMIT 500"
    )
    parameters = {"since": NOW - timedelta(minutes=30), "until": NOW - timedelta(minutes=1)}
    found = gateway.execute(query, parameters).fetchall()
    assert len(found) == len({row[0] for row in found}) == 18
    assert all(parameters["since"] <= row[1] < parameters["until"] for row in found)
    nodes = explained(gateway, query, parameters)
    debits = [node for node in nodes if node.get("Relation Name", "").startswith("transfers") and node["Actual Rows"]]
    assert "Seq Scan" not in {node["Node Type"] for node in debits}, debits
    by_time = [node["Index Cond"] for node in nodes if "(at >= " in node.get("Index Cond", "")]
    assert by_time
    assert all("(at < " in condition for condition in by_time)
    # The first debits, forty days ago, are behind the same index and are not found again.
    old = {"since": NOW - timedelta(days=41), "until": NOW - timedelta(days=39)}
    assert gateway.execute(query, old).fetchall() == []


def test_requested_refunds_are_found_by_the_moment_of_the_request(
    gateway: psycopg.Connection, database_urls: dict[str, str]
) -> None:
    """Not by its id, which sorts by the cause: a late payment may have been reported long before it was decided."""
    fill(
        database_urls["admin"],
        "INSERT INTO state.refunds SELECT gen_random_uuid(), "
        "state.uuid7_bound(%(now)s - interval '1 day' - i * interval '1 second'), 1, "
        "CASE WHEN i %% 10 = 0 THEN 'requested' ELSE 'succeeded' END, 'requested', 'revenue:x', 100, 0, 'RUB', NULL, "
        "'mock', 'main', 't', '', '', '', '', %(now)s - i * interval '1 second', %(now)s "
        "FROM generate_series(1, 5000) AS i",
        "ANALYZE state.refunds",
    )
    query = (
        "SELECT id FROM state_api.refunds_v1 WHERE created_at >= %(since)s AND status = 'requested' "
        "ORDER BY created_at LIMIT 500"
    )
    parameters = {"since": NOW - timedelta(minutes=10, milliseconds=500)}
    nodes = explained(gateway, query, parameters)
    assert {node["Index Name"] for node in nodes if "Index Name" in node} == {"refunds_created"}
    assert len(gateway.execute(query, parameters).fetchall()) == 60
