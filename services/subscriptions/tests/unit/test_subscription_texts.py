"""The cabinet's texts: both languages say everything, and every status has a name."""

import pytest

from copeck.web.translations import check_texts
from subscriptions.domain.machine import Status
from subscriptions.pages.texts import EN, TEXTS

pytestmark = pytest.mark.unit


def test_both_languages_have_every_text() -> None:
    check_texts(TEXTS)


def test_every_status_has_a_name() -> None:
    from typing import get_args

    from subscriptions.api.models import InvoiceStatusName

    assert {f"status_{status}" for status in Status} <= set(EN)
    assert {f"invoice_{status}" for status in get_args(InvoiceStatusName)} <= set(EN)
