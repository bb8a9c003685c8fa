"""What stands in the way of money that is to be sent, told to whoever waits for it. Pure."""

from dataclasses import dataclass

from payments_gateway.domain.sending import BALANCE_SHORT

_WORDS = {
    "stopped": "A manager has stopped it; it goes on when they let it",
    "breaker_open": "The provider does not answer well, so that it is left alone for a while",
    BALANCE_SHORT: "The provider's balance is too low; it goes on when there is enough",
}
_LATER = ("not_sent_yet", "The provider has not taken it yet; it is tried again")
_UNKNOWN = ("outcome_unknown", "The provider has not said what became of it; it is being asked")


@dataclass(frozen=True, slots=True)
class Hindrance:
    """A word for programs, what it means, and what was said: the manager's reason, or the provider's."""

    code: str
    words: str
    reason: str


def hindrance_of(said: str, *, outcome_unknown: bool = False) -> Hindrance | None:
    """Read what an unfinished operation keeps as its reason: `stopped: <why>`, a word of ours, or a provider's text."""
    if not said:
        return None
    code, _, reason = said.partition(":")
    if code in _WORDS:
        return Hindrance(code, _WORDS[code], reason.strip())
    return Hindrance(*(_UNKNOWN if outcome_unknown else _LATER), said)
