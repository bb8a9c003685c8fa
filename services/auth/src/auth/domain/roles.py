"""Who may be what."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from uuid import UUID

from auth.domain.errors import RolesRefusedError

ROLES = ("customer", "recipient", "merchant", "manager", "operator")
INITIAL_ROLES = frozenset({"customer"})


def check_change(actor: UUID, subject: UUID, present: AbstractSet[str], wanted: AbstractSet[str]) -> None:
    """Refuse what would lock operators out: nobody takes the role from themselves."""
    if actor == subject and "operator" in present and "operator" not in wanted:
        raise RolesRefusedError("an operator cannot give up the role; another operator has to take it", "roles")


def within(wanted: Iterable[str], own: AbstractSet[str]) -> frozenset[str]:
    """Return the roles of a new API key; it can have no role that its owner lacks."""
    chosen = frozenset(wanted)
    if not chosen <= own:
        raise RolesRefusedError(f"the account lacks the roles {', '.join(sorted(chosen - own))}", "roles")
    return chosen or frozenset(own)
