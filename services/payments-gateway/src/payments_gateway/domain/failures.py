"""Why a payment failed, in words of our own that programs and pages understand, whoever the provider is."""

from enum import StrEnum


class Failure(StrEnum):
    """The reason of a decline as a payer or a program needs to know it."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    EXPIRED_CARD = "expired_card"
    WRONG_CARD_DATA = "wrong_card_data"
    LIMIT_EXCEEDED = "limit_exceeded"
    AUTHENTICATION_FAILED = "authentication_failed"
    CARD_BLOCKED = "card_blocked"
    NOT_PERMITTED = "not_permitted"
    BANK_REFUSED = "bank_refused"
    TRY_LATER = "try_later"
    NOT_ACCEPTED = "not_accepted"
    PAYER_CANCELED = "payer_canceled"
    DECLINED = "declined"
