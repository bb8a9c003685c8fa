"""Changing what deposits and withdrawals cost: a new version, written down with who did it."""

from dataclasses import replace

from copeck.kernel.errors import InvalidValueError
from copeck.kernel.money import EXPONENTS
from copeck.web.etag import check_if_match
from payments_gateway.domain.commissions import CommissionKind, Rule
from payments_gateway.handlers.context import Context
from payments_gateway.store import audit, commissions

SUBJECT = "commission"


def check_currency(currency: str) -> str:
    """Return a currency that there may be wallets in; InvalidValueError for any other text."""
    if currency not in EXPONENTS:
        raise InvalidValueError(f"a currency is one of {', '.join(sorted(EXPONENTS))}", "currency")
    return currency


async def history_of(context: Context, currency: str, kind: CommissionKind) -> tuple[Rule, list[Rule]]:
    """Return the rule in force, and every one that was set, the newest first."""
    async with context.database.reading() as tx:
        versions = await commissions.versions(tx, check_currency(currency), kind)
    rate = context.settings.transaction_fee_basis_points
    return versions[0] if versions else Rule(currency, kind, rate), versions


async def rules(context: Context) -> list[Rule]:
    """Return the rules in force, of every currency and kind."""
    async with context.database.reading() as tx:
        known = await commissions.newest(tx)
    rate = context.settings.transaction_fee_basis_points
    return [
        known.get((currency, kind)) or Rule(currency, kind, rate)
        for currency in sorted(EXPONENTS)
        for kind in CommissionKind
    ]


async def change(context: Context, wanted: Rule, if_match: str, actor: str) -> Rule:
    """Put a rule in force; 412 when it was changed since it was read. What was in force stays on record."""
    if wanted.maximum_minor is not None and wanted.maximum_minor < wanted.minimum_minor:
        raise InvalidValueError("the maximum is below the minimum", "maximum")
    now = context.clock.now()
    rate = context.settings.transaction_fee_basis_points
    async with context.database.transaction() as tx:
        before = await commissions.rule_of(tx, wanted.currency, wanted.kind, rate)
        check_if_match(if_match, before.version)
        rule = replace(wanted, version=before.version + 1, changed_by=actor, changed_at=now)
        if not await commissions.add(tx, rule, now):
            # Somebody else's change was committed between the two statements.
            check_if_match("", rule.version)
        detail = {"before": _shown(before), "after": _shown(rule)}
        await audit.note(tx, SUBJECT, f"{rule.currency}:{rule.kind.value}", "change", actor, detail, now)
    return rule


def _shown(rule: Rule) -> dict[str, int | None]:
    return {
        "version": rule.version,
        "rate_basis_points": rule.rate_basis_points,
        "minimum_minor": rule.minimum_minor,
        "maximum_minor": rule.maximum_minor,
    }
