"""What came of the load: when the updater decided each request, how the providers' work settled, whether books hold."""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import psycopg

from tests.load.traffic import Asked

Database = psycopg.Connection[tuple[Any, ...]]

SETTLE_TIMEOUT_S = 120.0
_DECISIONS = """
SELECT aggregate_id::text, extract(epoch FROM at)::float8 FROM state.transitions WHERE version = 1
UNION ALL SELECT id::text, extract(epoch FROM created_at)::float8 FROM state.payments
UNION ALL SELECT cause_id::text, min(extract(epoch FROM at))::float8 FROM state.transitions
          WHERE cause_type = 'invoice.refund' GROUP BY 1
UNION ALL SELECT command_id::text, extract(epoch FROM at)::float8 FROM state.refusals
"""
_PAY_REFUSALS = """
SELECT aggregate, extract(epoch FROM at)::float8 FROM state.refusals WHERE command_type = 'wallet.pay'
"""
_BACKLOG = """
SELECT (SELECT count(*) FROM gateway.operations WHERE kind <> 'status_query' AND status NOT IN ('succeeded', 'failed')),
       (SELECT count(*) FROM state.payouts WHERE status IN ('pending', 'processing')),
       (SELECT count(*) FROM state.refunds WHERE status NOT IN ('succeeded', 'failed')),
       (SELECT count(*) FROM gateway.outbox)
"""
_SETTLED = """
SELECT (SELECT count(*) FROM gateway.operations WHERE kind <> 'status_query' AND status IN ('succeeded', 'failed')),
       (SELECT max(updated_at) - min(created_at) FROM gateway.operations WHERE kind <> 'status_query')
"""
_BELOW_ZERO = """
SELECT name, balance_minor FROM state.accounts WHERE name LIKE 'wallet:%' AND balance_minor < 0
UNION ALL SELECT debit_account, debit_balance_minor FROM state.transfers
          WHERE debit_account LIKE 'wallet:%' AND debit_balance_minor < 0
"""


def decided(database: Database, asked: Sequence[Asked], timeout_s: float = 30.0) -> dict[str, Any]:
    """Wait until every request is decided; return rates and delays, also of the hot wallet beside the others."""
    deadline = time.monotonic() + timeout_s
    while True:
        at: dict[str, float] = dict(database.execute(_DECISIONS).fetchall())
        refused: dict[str, float] = dict(database.execute(_PAY_REFUSALS).fetchall())
        found = [(one, at.get(one.id) or refused.get(one.other_id)) for one in asked]
        missing = sum(moment is None for _, moment in found)
        if not missing or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    known = [(one, moment) for one, moment in found if moment is not None]
    return {
        "undecided": missing,
        "all": _rates(known),
        "hot_wallet": _rates([pair for pair in known if pair[0].hot]),
        "other_wallets": _rates([pair for pair in known if not pair[0].hot]),
        "by_kind": {
            kind: _rates([pair for pair in known if pair[0].kind == kind])
            for kind in sorted({one.kind for one in asked})
        },
    }


def _rates(known: Sequence[tuple[Asked, float]]) -> dict[str, float]:
    if not known:
        return {"operations": 0.0}
    began = min(one.began for one, _ in known)
    delays = sorted(max(0.0, moment - one.began) for one, moment in known)
    answers = sorted(one.answered - one.began for one, _ in known)
    ended = max(max(moment, one.answered) for one, moment in known)
    return {
        "operations": float(len(known)),
        "per_second": len(known) / (ended - began),
        "decision_p50_ms": statistics.median(delays) * 1000,
        "decision_p99_ms": delays[int(len(delays) * 0.99)] * 1000,
        "answer_p50_ms": statistics.median(answers) * 1000,
        "answer_p99_ms": answers[int(len(answers) * 0.99)] * 1000,
    }


def settle(database: Database, timeout_s: float = SETTLE_TIMEOUT_S) -> dict[str, Any]:
    """Wait until nothing is owed to or by a provider; return how long that took and at which rate it went."""
    began = time.monotonic()
    curve: list[list[int]] = []
    while True:
        row = database.execute(_BACKLOG).fetchone()
        open_now = [int(part) for part in row or ()]
        curve.append([round(time.monotonic() - began), sum(open_now)])
        if not any(open_now) or time.monotonic() - began > timeout_s:
            break
        time.sleep(1.0)
    done, span = database.execute(_SETTLED).fetchone() or (0, None)
    return {
        "backlog_at_the_end_of_the_load": curve[0][1],
        "left": curve[-1][1],
        "emptied_after_s": round(time.monotonic() - began, 1),
        "provider_operations": int(done),
        "provider_operations_per_second": int(done) / span.total_seconds() if span else 0.0,
        "curve": curve,
    }


def below_zero(database: Database) -> list[tuple[Any, ...]]:
    """Return every wallet that is, or ever was, below zero; there is none (I-04)."""
    return database.execute(_BELOW_ZERO).fetchall()


def outcomes(database: Database) -> dict[str, dict[str, int]]:
    """Return how everything ended, by kind."""
    queries = {
        "payouts": "SELECT status || CASE WHEN last_error <> '' THEN ' ' || last_error ELSE '' END, count(*) "
        "FROM state.payouts GROUP BY 1",
        "deposits": "SELECT status, count(*) FROM state.invoices WHERE kind = 'topup' GROUP BY 1",
        "bills": "SELECT status, count(*) FROM state.invoices WHERE kind <> 'topup' GROUP BY 1",
        "refusals": "SELECT command_type || ' ' || code, count(*) FROM state.refusals GROUP BY 1",
    }
    return {name: dict(database.execute(query).fetchall()) for name, query in queries.items()}
