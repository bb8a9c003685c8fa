"""Searching, in a text of the least that a locale knows."""

import pytest
import sqlalchemy as sa

from copeck.storage.search import contains

from .conftest import Probe

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("text", "typed", "found"),
    [
        ("Большой Латте", "латт", True),
        ("большой латте", "БОЛЬШОЙ", True),
        ("Large LATTE", "latte", True),
        ("Аванс 10%", "10%", True),
        ("Аванс 100", "10%", False),
        ("a_b", "A_B", True),
        ("axb", "a_b", False),
        ("a\\b", "A\\B", True),
        ("латте", "лате", False),
    ],
)
async def test_a_text_is_found_whatever_is_a_capital(probe: Probe, text: str, typed: str, *, found: bool) -> None:
    # As a column of a database that was made with the locale C.
    column = sa.literal(text).collate("C")
    async with probe.database.reading() as tx:
        assert await tx.scalar(sa.select(contains(column, typed))) is found
