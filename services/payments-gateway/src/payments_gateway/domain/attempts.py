"""How the gateway's knowledge of an attempt grows. The truth is the updater's; this is a cache of it."""

from payments_gateway.domain.provider import AttemptStatus

_S = AttemptStatus
FINISHED = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELED})
HOLDS_MONEY = frozenset({_S.AUTHORIZED, _S.SUCCEEDED})

# (known, said) -> known afterwards. Pairs that are not here change nothing: callbacks come twice and in any order.
# A failure may still be followed by a success (a bank that answers late); money received is never forgotten.
TRANSITIONS: dict[tuple[AttemptStatus, AttemptStatus], AttemptStatus] = {
    (_S.CREATED, _S.PENDING): _S.PENDING,
    (_S.CREATED, _S.UNKNOWN): _S.UNKNOWN,
    (_S.CREATED, _S.AUTHORIZED): _S.AUTHORIZED,
    (_S.CREATED, _S.SUCCEEDED): _S.SUCCEEDED,
    (_S.CREATED, _S.FAILED): _S.FAILED,
    (_S.CREATED, _S.CANCELED): _S.CANCELED,
    (_S.PENDING, _S.UNKNOWN): _S.UNKNOWN,
    (_S.PENDING, _S.AUTHORIZED): _S.AUTHORIZED,
    (_S.PENDING, _S.SUCCEEDED): _S.SUCCEEDED,
    (_S.PENDING, _S.FAILED): _S.FAILED,
    (_S.PENDING, _S.CANCELED): _S.CANCELED,
    (_S.UNKNOWN, _S.PENDING): _S.PENDING,
    (_S.UNKNOWN, _S.AUTHORIZED): _S.AUTHORIZED,
    (_S.UNKNOWN, _S.SUCCEEDED): _S.SUCCEEDED,
    (_S.UNKNOWN, _S.FAILED): _S.FAILED,
    (_S.UNKNOWN, _S.CANCELED): _S.CANCELED,
    (_S.AUTHORIZED, _S.SUCCEEDED): _S.SUCCEEDED,
    (_S.AUTHORIZED, _S.CANCELED): _S.CANCELED,
    (_S.FAILED, _S.AUTHORIZED): _S.AUTHORIZED,
    (_S.FAILED, _S.SUCCEEDED): _S.SUCCEEDED,
    (_S.CANCELED, _S.SUCCEEDED): _S.SUCCEEDED,
}


def advance(known: AttemptStatus, said: AttemptStatus) -> AttemptStatus:
    """Return what is known after something more was said."""
    return TRANSITIONS.get((known, said), known)
