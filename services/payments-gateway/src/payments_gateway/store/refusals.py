"""Commands that the updater refused, noted where whoever asked looks: in the request that became the command."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from copeck.contracts.events import CommandRefused

_PAYOUT = """
UPDATE gateway.payout_requests SET refused_code = :code, refused_reason = :reason
WHERE payout_id = :subject AND refused_code IS NULL
"""
# The message that carries a wallet owner's request has the request's own id.
_WALLET = """
UPDATE gateway.wallet_payments SET refused_code = :code, refused_reason = :reason
WHERE payment_id = :command AND refused_code IS NULL
"""
_CORRECTION = """
UPDATE gateway.corrections SET refused_code = :code, refused_reason = :reason, status = 'refused'
WHERE id = :subject AND refused_code IS NULL
"""
# A draft that was deleted while it was being submitted: its cancel came too late, so that it is shown again.
_DELETED = """
UPDATE gateway.payout_requests AS asked SET deleted_at = NULL, deleted_by = NULL, version = version + 1
WHERE asked.payout_id = :subject AND asked.deleted_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM state_api.payouts_v1 AS payout WHERE payout.id = asked.payout_id AND payout.status = 'canceled'
)
"""
_STATEMENTS: dict[str, tuple[tuple[str, str], ...]] = {
    "payout.request": (("subject", _PAYOUT), ("command", _WALLET)),
    "payout.cancel": (("subject", _DELETED),),
    "invoice.issue": (("command", _WALLET),),
    "wallet.pay": (("command", _WALLET),),
    "ledger.correct": (("subject", _CORRECTION),),
}


async def note(tx: AsyncConnection, refused: CommandRefused) -> None:
    """Keep why a command was refused; the first reason stays, so that the same event twice changes nothing."""
    try:
        subject = UUID(refused.aggregate)
    except ValueError:
        return
    told = {"code": refused.code, "reason": refused.detail[:500]}
    ids = {"subject": subject, "command": refused.command_id}
    for name, statement in _STATEMENTS.get(refused.command_type, ()):
        typed = sa.text(statement).bindparams(sa.bindparam(name, type_=PG_UUID(as_uuid=True)))
        values = {key: value for key, value in (told | {name: ids[name]}).items() if f":{key}" in statement}
        await tx.execute(typed, values)
