"""Users, payments, health and the mock gateway, as the payment processing service had them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AliasChoices, Field

from copeck.kernel.errors import InvalidValueError
from copeck.web.limits import rate_limit
from copeck.web.models import AnswerModel
from copeck.web.problems import problem_responses
from payments_gateway.api.callers import Anybody, Manager
from payments_gateway.api.compatibility.exact import Currency, ExactRoute, Major, OldBody
from payments_gateway.api.compatibility.routes import OptionalKey, PaymentId, UserReference, exact, served
from payments_gateway.api.pay import ContextDep
from payments_gateway.domain.compatibility import CURRENCY, amount_of, major, payment_status, recipient_of
from payments_gateway.domain.payouts import Caller
from payments_gateway.domain.wallets import PaymentKind
from payments_gateway.handlers import compatibility as handlers
from payments_gateway.handlers import compatibility_mock
from payments_gateway.handlers.compatibility import Seen
from payments_gateway.handlers.context import Context
from payments_gateway.handlers.wallet_requests import WalletRequests

router = APIRouter(tags=["payments"], route_class=ExactRoute)

StatusWord = Literal["NEW", "PROCESSING", "SUCCESS", "failed"]
_MONEY = [Depends(rate_limit("compatibility-payments", "6000/minute"))]


class UserCreate(OldBody):
    """A user with money to begin with."""

    balance: Major = Decimal(0)


class UserModel(AnswerModel):
    """A user's wallet."""

    id: int
    balance: float = Field(description="In roubles.")


class DepositCreate(OldBody):
    """Money that comes in; `amount` does as well as `deposit`."""

    user_id: UserReference
    deposit: Major = Field(validation_alias=AliasChoices("deposit", "amount"))


class WithdrawalCreate(OldBody):
    """Money that goes out; `amount` does as well as `withdraw`."""

    user_id: UserReference
    withdraw: Major = Field(validation_alias=AliasChoices("withdraw", "amount"))
    recipient: str | dict[str, Any] | None = Field(
        default=None,
        max_length=500,
        description="Where to; the old service had no such member, and left out it is the user's account there.",
    )


class PaymentAccepted(AnswerModel):
    """A payment that was asked for."""

    payment_id: int
    status: StatusWord


class PaymentModel(AnswerModel):
    """A payment and how it stands. Amounts are in roubles."""

    id: int
    user_id: int
    type: Literal["deposit", "withdraw"]
    amount: float
    commission: float
    status: StatusWord
    attempts: int
    last_error: str | None = Field(examples=["insufficient_funds"])
    next_retry_at: datetime | None
    created_at: datetime
    updated_at: datetime


class MockPayment(OldBody):
    """A payment at the mock gateway: a deposit under a new id, unless it says otherwise."""

    payment_id: int | Annotated[str, Field(min_length=1, max_length=150)] | None = None
    type: Literal["deposit", "withdraw"] = "deposit"
    amount: Major
    currency: Currency = CURRENCY
    recipient: str | None = Field(default=None, max_length=200)


class HealthModel(AnswerModel):
    """The service answers."""

    status: Literal["ok"]


class MockAnswer(AnswerModel):
    """What the mock gateway said."""

    status: str
    transaction_id: str | None = None
    payment_id: str | None = None
    error: str | None = None


def _said_or_refused(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document statuses that the mock gateway answers in its own words, and we in ours."""
    own = {"application/json": {"schema": {"$ref": "#/components/schemas/MockAnswer"}}}
    documented = problem_responses(*statuses)
    return {status: {**found, "content": found["content"] | own} for status, found in documented.items()}


async def _requests(request: Request) -> WalletRequests:
    requests: WalletRequests = request.app.state.wallet_requests
    return requests


Requests = Annotated[WalletRequests, Depends(_requests)]


@served(
    router, "POST", "/users/", status_code=201, response_model=UserModel, responses=problem_responses(403),
    summary="Create a user with a balance", dependencies=_MONEY,
)  # fmt: skip
async def create_user(body: UserCreate, caller: Anybody, context: ContextDep) -> Response:
    """Open a wallet with an opening balance, from `opening:sandbox`: sandbox only.

    A manager's call makes a user whom nobody can log in as. Anybody else gets the number of their own wallet, with
    what is on it.
    """
    user = await handlers.open_user(context, caller, amount_of(body.balance, "balance", zero=True))
    return exact({"id": user.number, "balance": major(user.balance_minor)}, 201)


@served(
    router, "POST", "/payments/deposit", response_model=PaymentAccepted,
    responses=problem_responses(403, 404, 409, 503), summary="Deposit", dependencies=_MONEY,
)  # fmt: skip
async def deposit(
    body: DepositCreate, caller: Anybody, context: ContextDep, requests: Requests, key: OptionalKey
) -> Response:
    """Take a deposit through the mock gateway; the wallet gets it less the commission. Answers at once.

    A key that the user has used already, for whatever payment, returns that payment.
    """
    amount = amount_of(body.deposit, "deposit")
    seen = await handlers.ask_payment(context, requests, caller, PaymentKind.DEPOSIT, body.user_id, amount, key)
    return _accepted(seen)


@served(
    router, "POST", "/payments/withdraw", response_model=PaymentAccepted,
    responses=problem_responses(403, 404, 409, 503), summary="Withdraw", dependencies=_MONEY,
)  # fmt: skip
async def withdraw(
    body: WithdrawalCreate, caller: Anybody, context: ContextDep, requests: Requests, key: OptionalKey
) -> Response:
    """Pay out of a wallet through the mock gateway; the wallet gives the amount and the commission. Answers at once.

    Where the wallet has less, the payment becomes `failed` with `last_error` insufficient_funds, and nothing is
    debited. A key that the user has used already, for whatever payment, returns that payment.
    """
    amount = amount_of(body.withdraw, "withdraw")
    recipient = recipient_of(body.recipient) if body.recipient is not None else None
    seen = await handlers.ask_payment(
        context, requests, caller, PaymentKind.WITHDRAWAL, body.user_id, amount, key, recipient
    )
    return _accepted(seen)


@served(router, "GET", "/payments/{id}", response_model=PaymentModel, summary="Show a payment")
async def get_payment(payment_id: PaymentId, caller: Anybody, context: ContextDep) -> Response:
    """Show a payment that was made here: managers anybody's, others their own."""
    return await _shown(context, caller, payment_id)


@served(router, "GET", "/health", response_model=HealthModel, summary="Health")
async def health() -> HealthModel:
    """Say that the service answers; what it needs to work is asked at `/readyz`."""
    return HealthModel(status="ok")


@served(
    router, "POST", "/mock-gateway/pay", response_model=MockAnswer, summary="Pay at the mock gateway",
    responses={402: {"model": MockAnswer, "description": "Too little there."}, **_said_or_refused(409, 422)},
    dependencies=_MONEY,
)  # fmt: skip
async def mock_pay(
    _caller: Manager,
    context: ContextDep,
    key: OptionalKey,
    body: MockPayment,
) -> Response:
    """Pass a payment on to the mock gateway and return its answer: sandbox only. No book of ours knows of it."""
    amount = amount_of(body.amount, "amount", body.currency)
    payment: dict[str, Any] = {"payment_id": body.payment_id, "type": body.type, "recipient": body.recipient}
    payment |= {"amount": amount.value, "currency": amount.currency}
    known = {name: value for name, value in payment.items() if value is not None}
    passed = await compatibility_mock.pass_on(context, known, key)
    if passed.status in (400, 413):
        raise InvalidValueError(str(passed.body.get("error", "the mock gateway cannot read it"))[:200], "body")
    return exact(passed.body, passed.status)


def _accepted(seen: Seen) -> Response:
    return exact({"payment_id": seen.number, "status": payment_status(seen.payment.status)})


async def _shown(context: Context, caller: Caller, reference: Any) -> Response:
    seen = await handlers.see_payment(context, caller, reference)
    payment = seen.payment
    return exact(
        {
            "id": seen.number,
            "user_id": seen.user,
            "type": "deposit" if payment.kind is PaymentKind.DEPOSIT else "withdraw",
            "amount": major(payment.amount_minor, payment.currency),
            "commission": major(payment.commission_minor, payment.currency),
            "status": payment_status(payment.status),
            "attempts": payment.attempts,
            "last_error": payment.last_error or None,
            "next_retry_at": _moment(payment.next_retry_at),
            "created_at": _moment(payment.requested_at),
            "updated_at": _moment(payment.updated_at),
        }
    )


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
