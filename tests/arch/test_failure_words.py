"""Every word for why a payout failed, wherever code makes one, means something to a clerk."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from payments_gateway.domain.payouts import words_of

ROOT = Path(__file__).parents[2]
GATEWAY = ROOT / "services/payments-gateway/src/payments_gateway"
UPDATER = ROOT / "services/billing-state-updater/src/billing_state_updater"
MOCK = ROOT / "sandbox/providers/mock"
WORD = re.compile(r"[a-z]+(_[a-z]+)*")
# Of charges, refunds and holds: no payout can end so. A payout that is superseded fails nowhere.
OF_OTHERS = {"charges_not_supported", "no_such_call", "superseded"}
# What a caller is told at once and a payout never keeps.
SANDBOX_ONLY = {"not_found", "unauthorized", "idempotency_key_reused"}


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the words that an expression may be: a literal, or one of a choice."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and WORD.fullmatch(part.value):
            yield part.value


def keywords(folder: Path, names: set[str], calls: set[str]) -> set[str]:
    """Return the words given under a keyword or a key, or as the first argument of a call."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg in names and not isinstance(node.value, ast.Call):
                found |= set(texts(node.value))
            elif isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                found |= {
                    word
                    for key, value in pairs
                    if isinstance(key, ast.Constant) and key.value in names
                    for word in texts(value)
                }
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in calls and node.args:
                found |= set(texts(node.args[0]))
    return found


def test_every_code_of_failure_has_words() -> None:
    other = words_of("a_word_that_nobody_knows")
    made = keywords(GATEWAY / "handlers/operations", {"failure_code"}, {"_refused"})
    made |= keywords(GATEWAY / "domain", {"failure_code"}, set())
    assert {"provider_unavailable", "recipient_unreadable", "payouts_not_supported"} <= made
    source = ast.parse((UPDATER / "domain/payouts.py").read_text(encoding="utf-8"))
    by_updater: set[str] = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "last_error":
                    by_updater |= set(texts(value)) - {"failure_code"}
        elif isinstance(node, ast.FunctionDef) and node.name == "request":
            by_updater |= {
                word
                for call in ast.walk(node)
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Illegal"
                for word in texts(call.args[0])
            }
    assert {"insufficient_funds", "unknown_source", "outcome_unknown"} <= by_updater
    said = {"batch_canceled", "rejected", "insufficient_balance"} | keywords(MOCK, {"error"}, set())
    wordless = {code for code in made | by_updater | said if words_of(code) in ("", other)}
    assert wordless - OF_OTHERS - SANDBOX_ONLY == set()


def test_a_provider_s_own_number_is_its_refusal() -> None:
    assert words_of("5051") == words_of("rejected")
    assert words_of("") == ""
