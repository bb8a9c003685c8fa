"""What the API of wallets and their payments takes and gives."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from copeck.kernel.money import Money
from copeck.web.models import AnswerModel, StrictModel
from copeck.web.money import MoneyModel, SumModel
from payments_gateway.api.payout_models import FailureModel, RecipientModel, shown_hindrance
from payments_gateway.domain.commissions import CommissionKind, Rule
from payments_gateway.domain.hindrances import hindrance_of
from payments_gateway.domain.wallets import ENDED, Language, PaymentKind, Status, WalletPayment, title_of
from payments_gateway.handlers.wallet_judging import URL
from payments_gateway.store.wallet_payments import Booked
from payments_gateway.store.wallets import Movement

Description = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Sandbox = Annotated[
    Literal["mock"] | None,
    Field(description="Sandbox only: the mock gateway, which needs no page. Else the shop is chosen by routing."),
]
Agreed = Annotated[
    MoneyModel | None,
    Field(description="The commission that the preview told. Another one by now answers 409 `commission-changed`."),
]


class DepositRequest(StrictModel):
    """Money to be put into the caller's wallet."""

    amount: MoneyModel
    description: Description = ""
    commission: Agreed = None
    provider: Sandbox = None


class WithdrawalRequest(StrictModel):
    """Money to be paid out of the caller's wallet; the commission is taken on top."""

    amount: MoneyModel
    recipient: RecipientModel
    description: Description = ""
    commission: Agreed = None
    provider: Sandbox = None


class PayRequest(StrictModel):
    """An invoice to be paid from the caller's wallet, whole or not at all."""

    invoice_id: UUID


class AcceptedPayment(AnswerModel):
    """A payment that was asked for. The same key gets the same answer; `url` tells how it goes on."""

    id: UUID
    kind: PaymentKind
    status: Status
    amount: MoneyModel
    commission: MoneyModel
    total: MoneyModel = Field(description="What the wallet gains by a deposit, and what it loses by the others.")
    last_error: str | None
    pay_url: str | None = Field(description="Where a deposit is paid; null where nothing has to be opened.")
    url: str


class TransferModel(AnswerModel):
    """One transfer of the books. `direction` and `balance_after` are the wallet's; null where it is not touched."""

    at: datetime
    kind: str
    title: str = Field(description="The kind in words.")
    debit: str
    credit: str
    amount: MoneyModel
    direction: Literal["debit", "credit"] | None
    balance_after: SumModel | None


class PaymentModel(AnswerModel):
    """A deposit, a withdrawal or a payment from the balance, as the owner of the wallet sees it."""

    id: UUID
    kind: PaymentKind
    status: Status
    state: str | None = Field(description="The status of the invoice or the payout behind it; null while undecided.")
    amount: MoneyModel
    commission: MoneyModel
    total: MoneyModel
    description: str
    recipient: str | None = Field(description="Of a withdrawal, masked.")
    invoice_id: UUID | None
    payout_id: UUID | None
    last_error: str | None = Field(
        description="Why it failed or ended, or what it waits for, in one word: `insufficient_funds`, `stopped`."
    )
    waits_for: FailureModel | None = Field(description="What stands in its way, while it goes on by itself.")
    attempts: int
    next_retry_at: datetime | None
    pay_url: str | None = Field(description="Where a deposit can be paid now.")
    requested_at: datetime
    updated_at: datetime
    url: str


class PaymentHistoryModel(PaymentModel):
    """A payment with every transfer of it, the oldest first."""

    timeline: list[TransferModel]


class WalletModel(AnswerModel):
    """One wallet. `held` is what payouts on their way took out already, `pending` what deposits on their way bring."""

    currency: str
    available: SumModel
    held: SumModel
    pending: SumModel


class WalletList(AnswerModel):
    """The caller's wallets, one a currency."""

    items: list[WalletModel]


class OpenWallet(StrictModel):
    """The wallet to open."""

    currency: Annotated[str, Field(min_length=3, max_length=3, examples=["RUB"])]


class WalletOpened(AnswerModel):
    """A wallet that was asked for. `open` turns true once the state updater has opened it."""

    currency: str
    open: bool
    url: str


class MovementModel(AnswerModel):
    """One line of a wallet's history."""

    at: datetime
    kind: str
    title: str = Field(description="The kind in words.")
    direction: Literal["debit", "credit"]
    amount: MoneyModel
    balance_after: SumModel
    description: str
    payment_id: UUID | None = Field(description="The deposit, the withdrawal or the payment that it belongs to.")
    invoice_id: UUID | None
    payout_id: UUID | None


class RuleModel(AnswerModel):
    """What one kind of operation costs in one currency."""

    currency: str
    kind: CommissionKind
    rate_basis_points: int = Field(description="200 are 2 %.")
    minimum: MoneyModel
    maximum: MoneyModel | None
    rounding: Literal["half-even"] = Field(description="The share is rounded half-even to the minor unit.")
    version: int = Field(description="0: the default rate, which nobody has changed.")
    changed_by: str | None
    changed_at: datetime | None


class RuleHistoryModel(RuleModel):
    """A commission, and what was in force before it."""

    versions: list[RuleModel] = Field(description="What managers have set, the newest first; the last hundred.")


class RuleChange(StrictModel):
    """A new rule. It holds from the next request on; what was agreed before stays as it was."""

    rate_basis_points: Annotated[int, Field(ge=0, le=10_000)]
    minimum: MoneyModel | None = None
    maximum: MoneyModel | None = None


class PreviewRequest(StrictModel):
    """A deposit or a withdrawal that somebody thinks about."""

    kind: CommissionKind
    amount: MoneyModel


class PreviewModel(AnswerModel):
    """What an operation would cost now. Send `commission` along, and nobody pays another one than was shown."""

    kind: CommissionKind
    amount: MoneyModel
    commission: MoneyModel
    total_credited: MoneyModel | None = Field(description="What a deposit brings: the amount less the commission.")
    total_debited: MoneyModel | None = Field(description="What a withdrawal takes: the amount and the commission.")
    rule: RuleModel


class SwitchModel(AnswerModel):
    """A stop switch."""

    name: str
    stopped: bool
    reason: str
    version: int = Field(description="0: nobody has touched it.")
    changed_by: str | None
    changed_at: datetime | None


class SwitchChange(StrictModel):
    """What a switch is set to; the reason is told to whoever is refused."""

    stopped: bool
    reason: Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$")]


def money(minor: int, currency: str) -> MoneyModel:
    """Show minor units."""
    return MoneyModel.of(Money(minor, currency))


def rule_model(rule: Rule) -> RuleModel:
    """Show a rule."""
    return RuleModel(
        currency=rule.currency,
        kind=rule.kind,
        rate_basis_points=rule.rate_basis_points,
        minimum=money(rule.minimum_minor, rule.currency),
        maximum=None if rule.maximum_minor is None else money(rule.maximum_minor, rule.currency),
        rounding="half-even",
        version=rule.version,
        changed_by=rule.changed_by or None,
        changed_at=rule.changed_at,
    )


def payment_model(found: WalletPayment, pay_url: str) -> PaymentModel:
    """Show a payment; `pay_url` is shown only while a deposit waits for its payer."""
    sign = -1 if found.kind is PaymentKind.DEPOSIT else 1
    waits = found.kind is PaymentKind.DEPOSIT and found.status in (Status.REQUESTED, Status.PENDING)
    said = "" if found.status in ENDED else found.in_its_way
    hindrance = hindrance_of(said, outcome_unknown=found.outcome_unknown)
    return PaymentModel(
        id=found.payment_id,
        kind=found.kind,
        status=found.status,
        state=found.state,
        amount=money(found.amount_minor, found.currency),
        commission=money(found.commission_minor, found.currency),
        total=money(found.amount_minor + sign * found.commission_minor, found.currency),
        description=found.description,
        recipient=found.recipient or None,
        invoice_id=found.invoice_id,
        payout_id=found.payment_id if found.kind is PaymentKind.WITHDRAWAL else None,
        last_error=(hindrance.code if hindrance else found.last_error) or None,
        waits_for=shown_hindrance(hindrance) if hindrance else None,
        attempts=found.attempts,
        next_retry_at=found.next_retry_at,
        pay_url=pay_url if waits else None,
        requested_at=found.requested_at,
        updated_at=found.updated_at,
        url=f"{URL}/{found.payment_id}",
    )


def transfer_model(booked: Booked, account: str, language: Language) -> TransferModel:
    """Show a transfer from a wallet's side."""
    direction: Literal["debit", "credit"] | None = None
    balance = None
    if account in (booked.debit_account, booked.credit_account):
        direction = "debit" if booked.debit_account == account else "credit"
        balance = booked.debit_balance_minor if direction == "debit" else booked.credit_balance_minor
    return TransferModel(
        at=booked.at,
        kind=booked.kind,
        title=title_of(booked.kind, direction or "", language),
        debit=booked.debit_account,
        credit=booked.credit_account,
        amount=money(booked.amount_minor, booked.currency),
        direction=direction,
        balance_after=None if balance is None else SumModel.of_minor(balance, booked.currency),
    )


def movement_model(moved: Movement, language: Language) -> MovementModel:
    """Show a line of a wallet's history."""
    direction: Literal["debit", "credit"] = "debit" if moved.direction == "debit" else "credit"
    return MovementModel(
        at=moved.at,
        kind=moved.kind,
        title=title_of(moved.kind, direction, language),
        direction=direction,
        amount=money(moved.amount_minor, moved.currency),
        balance_after=SumModel.of_minor(moved.balance_after_minor, moved.currency),
        description=moved.description,
        payment_id=moved.payment_id,
        invoice_id=moved.invoice_id,
        payout_id=moved.payout_id,
    )
