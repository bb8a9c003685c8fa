"""Manual corrections of the books: two accounts, a reason, two people."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from copeck.web.idempotency import IdempotencyKey, RequestHash
from copeck.web.limits import rate_limit
from copeck.web.models import AnswerModel, StrictModel
from copeck.web.money import MoneyModel
from copeck.web.pagination import Cursor, Page
from copeck.web.problems import problem_responses
from copeck.web.wait import PreferWait, wait_until
from payments_gateway.api.callers import BackOffice, Manager, after_id, user_limit
from payments_gateway.api.pay import ContextDep
from payments_gateway.api.payout_models import money
from payments_gateway.api.payouts import free_text, positive
from payments_gateway.handlers import corrections as handlers
from payments_gateway.handlers.context import Context
from payments_gateway.store import corrections
from payments_gateway.store.corrections import Correction

router = APIRouter(tags=["corrections"])

Account = Annotated[
    str,
    Field(
        pattern=r"^[a-z_]+(:[A-Za-z0-9_.\-]{1,64}){1,3}$",
        max_length=120,
        examples=["suspense:late"],
        description="An account of the books.",
    ),
]
Reason = Annotated[str, Field(min_length=3, max_length=128, pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$")]
StatusName = Literal["requested", "approved", "booked", "rejected", "refused"]
KeptStatus = Literal["requested", "approved", "rejected", "refused"]


class CorrectionCreate(StrictModel):
    """Money to be moved in the books: the debit account gives, the credit account gets."""

    debit: Account
    credit: Account
    amount: MoneyModel
    reason: Reason


class RejectCorrection(StrictModel):
    """Why a correction is turned down."""

    reason: Reason


class CorrectionModel(AnswerModel):
    """A correction. `approved` is on its way to the books, `booked` is in them, `refused` is what they refused."""

    id: UUID
    status: StatusName
    debit: str
    credit: str
    amount: MoneyModel
    reason: str
    requested_by: str
    requested_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    rejected_reason: str | None = Field(description="Why whoever decided turned it down.")
    booked_at: datetime | None
    refused_code: str | None
    refused_reason: str | None
    url: str


def _show(found: Correction, booked_at: datetime | None, rejected_reason: str | None) -> CorrectionModel:
    return CorrectionModel(
        id=found.id,
        status="booked" if booked_at else found.status,  # type: ignore[arg-type]
        debit=found.debit,
        credit=found.credit,
        amount=money(found.amount_minor, found.currency),
        reason=found.reason,
        requested_by=found.requested_by,
        requested_at=found.requested_at,
        decided_by=found.decided_by,
        decided_at=found.decided_at,
        rejected_reason=rejected_reason,
        booked_at=booked_at,
        refused_code=found.refused_code,
        refused_reason=found.refused_reason,
        url=handlers.url_of(found.id),
    )


async def _read(context: Context, correction_id: UUID) -> CorrectionModel:
    async with context.database.reading() as tx:
        found = await handlers.find(tx, correction_id)
        booked = await corrections.booked(tx, [correction_id])
        reasons = await handlers.rejections(tx, [found])
    return _show(found, booked.get(correction_id), reasons.get(correction_id))


@router.post(
    "/corrections",
    status_code=201,
    summary="Ask for a correction",
    responses=problem_responses(403),
    dependencies=[Depends(rate_limit("corrections", "60/minute"))],
)
async def request_correction(
    body: CorrectionCreate,
    caller: Manager,
    context: ContextDep,
    key: IdempotencyKey,
    digest: RequestHash,
    response: Response,
) -> CorrectionModel:
    """Ask for money to be moved in the books; another manager approves it."""
    answer = await handlers.request(
        context,
        caller,
        (key, digest),
        debit=body.debit,
        credit=body.credit,
        amount=positive(body.amount.money()),
        reason=free_text(body.reason, "reason"),
    )
    correction_id = UUID(answer.body["id"])
    response.headers["Location"] = handlers.url_of(correction_id)
    return await _read(context, correction_id)


@router.get("/corrections", summary="List corrections", responses=problem_responses(403))
async def list_corrections(
    _: BackOffice,
    context: ContextDep,
    cursor: Cursor,
    status: Annotated[KeptStatus | None, Query(description="`approved` holds those that are booked, too.")] = None,
    account: Annotated[
        str | None, Query(max_length=120, pattern=r"^[a-z_]+:[A-Za-z0-9_.:\-]+$", description="On either side.")
    ] = None,
) -> Page[CorrectionModel]:
    """Show corrections, the newest first."""
    async with context.database.reading() as tx:
        found = await corrections.search(
            tx, status=status, account=account, after=after_id(cursor), limit=cursor.limit + 1
        )
        booked = await corrections.booked(tx, [one.id for one in found])
        reasons = await handlers.rejections(tx, found)
    return cursor.page(
        found, lambda one: (str(one.id),), lambda one: _show(one, booked.get(one.id), reasons.get(one.id))
    )


@router.get("/corrections/{correction_id}", summary="Show a correction", responses=problem_responses(403, 404))
async def get_correction(correction_id: UUID, _: BackOffice, context: ContextDep) -> CorrectionModel:
    """Show a correction, and whether it is in the books."""
    return await _read(context, correction_id)


_LIMITED = [Depends(user_limit("correction-decisions", "600/minute"))]
_DECIDED: dict[int | str, dict[str, Any]] = problem_responses(403, 404, 409)


@router.post(
    "/corrections/{correction_id}/approve",
    status_code=202,
    summary="Approve a correction",
    responses=_DECIDED,
    dependencies=_LIMITED,
)
async def approve_correction(
    correction_id: UUID, caller: Manager, context: ContextDep, wait_s: PreferWait, response: Response
) -> CorrectionModel:
    """Agree to a correction that another manager asked for. `Prefer: wait=5` waits until the books have it, or refuse.

    Agreeing again changes nothing, so that no idempotency key is needed.
    """
    await handlers.approve(context, caller, correction_id)
    response.headers["Location"] = handlers.url_of(correction_id)

    async def ended() -> CorrectionModel | None:
        shown = await _read(context, correction_id)
        return shown if shown.status in ("booked", "refused") else None

    waited = await wait_until(ended, wait_s) if wait_s else None
    return waited or await _read(context, correction_id)


@router.post(
    "/corrections/{correction_id}/reject",
    summary="Reject a correction",
    responses=_DECIDED,
    dependencies=_LIMITED,
)
async def reject_correction(
    correction_id: UUID, body: RejectCorrection, caller: Manager, context: ContextDep
) -> CorrectionModel:
    """Turn a correction down; who asked for it may take it back so."""
    await handlers.reject(context, caller, correction_id, free_text(body.reason, "reason"))
    return await _read(context, correction_id)
