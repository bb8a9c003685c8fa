"""Commissions as rows: every change is a new version, the newest counts, none is ever lost."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from payments_gateway.domain.commissions import CommissionKind, Rule
from payments_gateway.tables import commission_rules

_RULE = (
    commission_rules.c.currency,
    commission_rules.c.kind,
    commission_rules.c.rate_basis_points,
    commission_rules.c.minimum_minor,
    commission_rules.c.maximum_minor,
    commission_rules.c.version,
    commission_rules.c.changed_by,
    commission_rules.c.changed_at,
)
_NEWEST = (
    sa.select(*_RULE)
    .ext(distinct_on(commission_rules.c.currency, commission_rules.c.kind))
    .order_by(commission_rules.c.currency, commission_rules.c.kind, commission_rules.c.version.desc())
)
_OF = (
    sa.select(*_RULE)
    .where(commission_rules.c.currency == sa.bindparam("currency"), commission_rules.c.kind == sa.bindparam("kind"))
    .order_by(commission_rules.c.version.desc())
    .limit(sa.bindparam("at_most"))
)


def _rule(row: Sequence[Any]) -> Rule:
    currency, kind, *rest = row
    return Rule(currency, CommissionKind(kind), *rest)


async def rule_of(tx: AsyncConnection, currency: str, kind: CommissionKind, default_basis_points: int) -> Rule:
    """Return the rule in force: the newest version, or the default rate while nobody has set one."""
    row = (await tx.execute(_OF, {"currency": currency, "kind": kind.value, "at_most": 1})).first()
    return Rule(currency, kind, default_basis_points) if row is None else _rule(row)


async def newest(tx: AsyncConnection) -> dict[tuple[str, CommissionKind], Rule]:
    """Return every rule that was set, by currency and kind; those that were not are left out."""
    return by_name((await tx.execute(_NEWEST)).all())


def newest_query() -> tuple[sa.Select[Any], dict[str, Any]]:
    """Return the query of every rule in force."""
    return _NEWEST, {}


def by_name(rows: Iterable[Sequence[Any]]) -> dict[tuple[str, CommissionKind], Rule]:
    """Return the rows of that query as rules."""
    return {(rule.currency, rule.kind): rule for rule in map(_rule, rows)}


async def versions(tx: AsyncConnection, currency: str, kind: CommissionKind, limit: int = 100) -> list[Rule]:
    """Return what was in force one after the other, the newest first."""
    rows = await tx.execute(_OF, {"currency": currency, "kind": kind.value, "at_most": limit})
    return [_rule(row) for row in rows]


async def add(tx: AsyncConnection, rule: Rule, now: datetime) -> bool:
    """Keep a new version; False when another's change came first."""
    statement = (
        insert(commission_rules)
        .values(
            currency=rule.currency,
            kind=rule.kind.value,
            version=rule.version,
            rate_basis_points=rule.rate_basis_points,
            minimum_minor=rule.minimum_minor,
            maximum_minor=rule.maximum_minor,
            changed_by=rule.changed_by,
            changed_at=now,
        )
        .on_conflict_do_nothing()
        .returning(commission_rules.c.version)
    )
    return (await tx.execute(statement)).first() is not None
