"""What a try of an operation makes of a provider's answers: refusals after an open outcome, strangers, the time left,
and what a stop switch names."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from payments_gateway.composition import make_context
from payments_gateway.domain.models import Operation, OperationKind, OperationStatus
from payments_gateway.domain.operations import Outcome, Seen, seen_by_reference
from payments_gateway.domain.provider import AttemptStatus, SilentProviderError, Transaction
from payments_gateway.handlers import metrics
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.operations.taking import Surroundings
from payments_gateway.handlers.operations.talking import Talk, converse
from payments_gateway.handlers.payout_balance import refresh
from payments_gateway.handlers.payout_commands import check_balance
from payments_gateway.providers.mock import Mock
from payments_gateway.providers.mock.client import MockClient
from payments_gateway.settings import GatewaySettings, ShopSettings
from payments_gateway.store.breaker import Looked

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SETTLES_S = 360
CHARGE = Operation(
    id=new_id(), kind=OperationKind.CHARGE, invoice_id=new_id(), account="wallet:1", provider="mock", shop="main",
    amount=Money(1010, "RUB"), idempotency_key="charge:1", status=OperationStatus.UNKNOWN, next_at=NOW,
    created_at=NOW - timedelta(hours=2), payment_id=new_id(),
)  # fmt: skip
REFUND = replace(CHARGE, kind=OperationKind.REFUND, payment_id=None, refund_id=new_id(), transaction_id="mock_1")
SHOP = ShopSettings.model_validate(
    {"provider": "mock", "shop": "main", "public_id": "mock_test", "api_secret": "mock_test_secret"}
)
Handler = Callable[[httpx2.Request], httpx2.Response]


def speaking(handler: Handler) -> Context:
    """A gateway that speaks to a handler instead of the network, and to no database."""
    settings = GatewaySettings(
        database_url="postgresql://nobody@127.0.0.1:1/none", redis_url="", shops=(SHOP,),
        operation_settles_after_s=SETTLES_S, mock_gateway_url="http://provider.test",
    )  # fmt: skip
    context = make_context(settings)
    context.providers = {"mock": Mock(MockClient(httpx2.MockTransport(handler)))}
    context.clock = ManualClock(NOW)
    return context


async def tried(operation: Operation, handler: Handler, talk: Talk | None = None) -> Outcome:
    context = speaking(handler)
    try:
        return await converse(context, operation, talk or Talk())
    finally:
        await context.close()


def refusing(status: int) -> Handler:
    """Nothing is found, and what is sent is refused."""

    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return httpx2.Response(404, json={"error": "not_found"})
        return httpx2.Response(status, json={"status": "failed", "error": "declined"})

    return handler


@pytest.mark.parametrize("operation", [CHARGE, REFUND], ids=["charge", "refund"])
@pytest.mark.parametrize(
    ("last_s", "status", "ended"),
    [
        # The first call is long over; the last one may still be under way.
        (25, 422, OperationStatus.UNKNOWN),
        (SETTLES_S - 1, 422, OperationStatus.UNKNOWN),
        (SETTLES_S, 422, OperationStatus.FAILED),
        # The key is in use: that is another call's, whenever it was.
        (SETTLES_S, 409, OperationStatus.UNKNOWN),
        (86_400, 409, OperationStatus.UNKNOWN),
    ],
)
async def test_i08_a_refusal_is_believed_once_the_last_call_must_be_over(
    operation: Operation, last_s: int, status: int, ended: OperationStatus
) -> None:
    first = timedelta(seconds=max(last_s, 1000))
    row = replace(operation, first_sent_at=NOW - first, updated_at=NOW - timedelta(seconds=last_s))
    outcome = await tried(row, refusing(status))
    assert (outcome.status, outcome.again) == (ended, ended is OperationStatus.UNKNOWN)
    assert (outcome.report == "failed") is (ended is OperationStatus.FAILED)


@pytest.mark.parametrize(("open_s", "least_s"), [(2, 1), (600, 300), (86_400, SETTLES_S)])
async def test_what_is_refused_too_early_is_left_alone_until_a_refusal_can_be_believed(
    open_s: int, least_s: float
) -> None:
    row = replace(CHARGE, first_sent_at=NOW - timedelta(seconds=open_s), updated_at=NOW - timedelta(seconds=1))
    assert (await tried(row, refusing(422))).least_s == least_s


@pytest.mark.parametrize("status", [AttemptStatus.SUCCEEDED, AttemptStatus.PENDING, AttemptStatus.FAILED])
@pytest.mark.parametrize("amount", [Money(1011, "RUB"), Money(1010, "USD")], ids=["amount", "currency"])
def test_i08_what_has_another_amount_under_our_reference_says_nothing_of_ours(
    status: AttemptStatus, amount: Money
) -> None:
    found = Transaction("mock_9", status, amount, invoice_ref="ours")
    assert seen_by_reference(CHARGE, (found,)) == (Seen.CANNOT_TELL, None)
    same = replace(found, amount=CHARGE.amount)
    assert seen_by_reference(CHARGE, (same,))[1] is same
    untold = replace(found, amount=None)
    assert seen_by_reference(CHARGE, (untold,))[1] is untold


async def test_i08_a_stranger_under_our_reference_leaves_the_operation_open_and_is_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        assert request.method == "GET", "nothing is sent again"
        said = {"payment_id": str(CHARGE.payment_id), "status": "success", "transaction_id": "mock_9"}
        return httpx2.Response(200, json=said | {"amount": "99.00", "currency": "RUB"})

    alarm = metrics.OPERATIONS_ALARM.labels("charge")
    before = alarm._value.get()
    outcome = await tried(CHARGE, handler)
    assert (outcome.status, outcome.report) == (OperationStatus.UNKNOWN, "unknown")
    assert alarm._value.get() == before + 1


@pytest.mark.parametrize(
    ("kind", "name", "stopped"),
    [
        (OperationKind.CHARGE, "deposits", True),
        (OperationKind.CHARGE, "payouts", False),
        (OperationKind.CHARGE, "provider:mock", True),
        (OperationKind.PAYOUT, "payouts", True),
        (OperationKind.PAYOUT, "deposits", False),
        (OperationKind.REFUND, "deposits", False),
        (OperationKind.REFUND, "provider:other", False),
    ],
)
def test_a_switch_stops_what_it_names(kind: OperationKind, name: str, *, stopped: bool) -> None:
    around = Surroundings(Looked(), stopped={name: "the bank is closed"})
    said = around.stop_of(replace(CHARGE, kind=kind))
    assert said == ("stopped: the bank is closed" if stopped else None)


@pytest.mark.parametrize(
    ("status", "ended"),
    [(OperationStatus.READY, OperationStatus.READY), (OperationStatus.UNKNOWN, OperationStatus.UNKNOWN)],
)
async def test_nothing_is_begun_that_the_task_has_no_time_for(status: OperationStatus, ended: OperationStatus) -> None:
    def handler(_request: httpx2.Request) -> httpx2.Response:
        raise AssertionError("the provider is left alone")

    talk = Talk(until=time.monotonic() - 1)
    outcome = await tried(replace(CHARGE, status=status), handler, talk)
    assert (outcome.status, outcome.again, talk.exchanges) == (ended, True, [])


async def test_an_approval_waits_for_a_provider_that_does_not_answer_and_sending_does_not() -> None:
    context = speaking(lambda _request: httpx2.Response(500, text="no"))
    owed = Money(1, "RUB")
    with pytest.raises(SilentProviderError) as silent:
        await check_balance(context, "mock", "main", owed)
    assert (silent.value.status, silent.value.retry_after_s) == (503, 5)
    key = ("mock", "main", "RUB")
    await refresh(context, [key])
    assert context.balances.enough(key, owed)
    await context.close()
