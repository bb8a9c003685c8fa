"""Recipients: what is one, what is refused and why, what is seen of it, and what it is sealed into."""

from typing import Any

import pytest

from payments_gateway.domain import recipients, sealing
from payments_gateway.domain.recipients import Recipient, RecipientError, RecipientKind, holds_card_number, parse

SBP = {"kind": "sbp", "phone": "+79161234567", "bank_id": "100000000004"}
TOKEN = {"kind": "card_token", "token": "tk_020a924486aa4df254331afa33f2a"}
ACCOUNT = {"kind": "account", "account": "40817810099910004312", "bic": "044525225", "name": "Иванов Иван Иванович"}


@pytest.mark.parametrize(
    ("values", "masked"),
    [
        (SBP, "SBP +7******4567, bank 100000000004"),
        (SBP | {"name": "anna petrova"}, "SBP +7******4567, bank 100000000004, A. P."),
        (TOKEN, "card token ***3f2a"),
        ({"kind": "card_token", "token": "short-one"}, "card token ***"),
        (ACCOUNT, "account ***4312, BIC 044525225, И. И. И."),
    ],
)
def test_a_recipient_is_seen_masked_and_prints_nothing(values: dict[str, str], masked: str) -> None:
    recipient = parse(values)
    assert recipient.masked == masked
    for name in ("token", "phone", "account"):
        detail = values.get(name, "")
        assert not detail or (detail not in repr(recipient) and detail not in masked)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "kind"),
        ({"kind": "pigeon"}, "kind"),
        ({"kind": "card_token"}, "token"),
        ({"kind": "card_token", "token": "white space"}, "token"),
        ({"kind": "card_token", "token": "x" * 129}, "token"),
        ({"kind": "card_token", "token": "4242424242424242"}, "token"),
        ({"kind": "card_token", "token": "4242-4242-4242-4242"}, "token"),
        ({"kind": "card_token", "token": "4242424242424241"}, "token"),
        (SBP | {"phone": "89161234567"}, "phone"),
        (SBP | {"phone": "+7 916 123-45-67"}, "phone"),
        (SBP | {"phone": "+7916"}, "phone"),
        (SBP | {"phone": "+٧٩١٦١٢٣٤٥٦٧"}, "phone"),
        (SBP | {"bank_id": ""}, "bank_id"),
        (SBP | {"bank_id": "x" * 33}, "bank_id"),
        (SBP | {"account": "40817810099910004312"}, "account"),
        (SBP | {"name": "x" * 141}, "name"),
        (SBP | {"name": "two\nlines"}, "name"),
        (SBP | {"name": "4242 4242 4242 4242"}, "name"),
        (ACCOUNT | {"account": "4081781009991000431"}, "account"),
        (ACCOUNT | {"bic": "04452522"}, "bic"),
        (ACCOUNT | {"name": "  "}, "name"),
        (ACCOUNT | {"phone": "+79161234567"}, "phone"),
    ],
)
def test_what_nobody_can_be_paid_by_is_refused_with_its_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(RecipientError) as refused:
        parse(values)
    assert refused.value.field == field
    detail = values.get(field)
    assert not detail or len(str(detail)) < 10 or str(detail) not in refused.value.detail


@pytest.mark.parametrize("values", [SBP, TOKEN, ACCOUNT])
def test_what_is_sealed_is_opened_by_the_same_secret_for_the_same_payout_only(values: dict[str, str]) -> None:
    recipient = parse(values)
    sealed = recipients.seal("secret", recipient, "payout-1")
    assert recipients.unseal("secret", sealed, "payout-1") == recipient
    assert sealed != recipients.seal("secret", recipient, "payout-1")
    for detail in (recipient.token, recipient.phone, recipient.account):
        assert not detail or detail.encode() not in sealed
    for secret, belongs_to, changed in (
        ("other", "payout-1", sealed),
        ("secret", "payout-2", sealed),
        ("secret", "payout-1", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        ("secret", "payout-1", b"\x02" + sealed[1:]),
        ("secret", "payout-1", b""),
    ):
        with pytest.raises(sealing.UnsealableError):
            recipients.unseal(secret, changed, belongs_to)


def test_each_purpose_has_a_key_of_its_own() -> None:
    sealed = sealing.seal("secret", "one purpose", b"plain", "row")
    with pytest.raises(sealing.UnsealableError):
        sealing.unseal("secret", "another purpose", sealed, "row")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("pay 4242 4242 4242 4242 please", True),
        ("4242-4242-4242-4242", True),
        ("invoice 4242424242424241", False),
        ("order 12345678", False),
        ("", False),
    ],
)
def test_a_card_number_in_a_free_text_is_found(text: str, *, holds: bool) -> None:
    assert holds_card_number(text) is holds


def test_a_recipient_is_a_value() -> None:
    assert parse(SBP) == Recipient(RecipientKind.SBP, phone="+79161234567", bank_id="100000000004")
