"""What keeps payouts and payments within bounds: limits for each user, and lines of files that do not ask again."""

from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from fastapi.routing import APIRoute
from limits.aio.storage import MemoryStorage
from starlette.requests import Request

from copeck.kernel.money import Money
from copeck.web.auth import Principal
from copeck.web.limits import Limiter
from copeck.web.problems import Problem
from payments_gateway.api import batches, corrections, payments, payouts
from payments_gateway.api.callers import user_limit
from payments_gateway.domain.batch_files import GoodLine
from payments_gateway.domain.payouts import Caller
from payments_gateway.domain.provider import Shop
from payments_gateway.domain.recipients import Recipient, RecipientKind
from payments_gateway.handlers.batches import _row
from payments_gateway.store.batches import Batch

NOW = datetime(2026, 11, 21, tzinfo=UTC)


async def test_a_limit_counts_for_the_user_and_not_for_the_address() -> None:
    app = SimpleNamespace(state=SimpleNamespace(limiter=Limiter(MemoryStorage())))
    request = Request({"type": "http", "app": app, "headers": [], "client": ("192.0.2.1", 1)})
    anna, boris = (Principal(uuid4(), frozenset({"manager"}), "token") for _ in range(2))
    check = user_limit("test", "2/minute")
    for _ in range(2):
        await check(request, anna)
        await check(request, boris)
    with pytest.raises(Problem) as refused:
        await check(request, anna)
    assert refused.value.status == 429
    assert int(refused.value.headers["Retry-After"]) >= 1


COMMANDS = [
    *(f"/payments/{name}" for name in ("deposit", "withdraw", "pay")),
    *(f"/payouts/{{payout_id}}/{name}" for name in ("submit", "approve", "cancel", "retry")),
    *(f"/payouts/batches/{{batch_id}}/{name}" for name in ("approve", "cancel")),
    *(f"/corrections/{{correction_id}}/{name}" for name in ("approve", "reject")),
]


@pytest.mark.parametrize("path", COMMANDS)
def test_each_command_has_a_limit(path: str) -> None:
    routes = [one for module in (payments, payouts, batches, corrections) for one in module.router.routes]
    (found,) = [one for one in routes if isinstance(one, APIRoute) and one.path == path]
    assert any(hasattr(one.dependency, "rate_limit_name") for one in found.dependencies)


def test_a_line_of_a_file_that_was_agreed_to_does_not_ask_again() -> None:
    """Whoever agreed to the file agreed to each line, so that a line that failed is tried again without a second."""
    caller = Caller(UUID(int=1), frozenset({"manager"}))
    batch = Batch(
        id=uuid4(), sha256="x", file_name="", account="house:payouts", status="accepted", lines=1, bad_lines=0,
        amount_minor=9_000_000_000, currency="RUB", uploaded_by=caller.actor, approved_by="user:2", uploaded_at=NOW,
        updated_at=NOW,
    )  # fmt: skip
    line = GoodLine(2, Money(9_000_000_000, "RUB"), Recipient(RecipientKind.CARD_TOKEN, token="tk_1"), "", "")
    row = _row(batch, caller, line, Shop("mock", "main", "pk", "secret"), NOW)
    assert row.needs_approval is False
    assert (row.amount_minor, row.batch_line) == (9_000_000_000, 2)
