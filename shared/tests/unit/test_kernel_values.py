"""Ids, clocks, errors and settings: what every service builds on."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import ClassVar
from uuid import RFC_4122, UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from copeck.kernel.clock import ManualClock, SystemClock
from copeck.kernel.errors import DomainError, InvalidValueError, NotFoundError
from copeck.kernel.ids import derived_id, first_id_at, id_at, id_day, id_time, is_v7, new_id
from copeck.kernel.settings import Settings

moments = some.integers(10**9, 10**10).map(
    lambda ms: datetime(1971, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms * 400)
)


# Ids.


def test_ids_are_version_7_and_grow() -> None:
    """Also many within one millisecond: an id sorts after every earlier one of its process."""
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(set(ids))
    assert {one.version for one in ids} == {7}
    assert {one.variant for one in ids} == {RFC_4122}
    assert abs(id_time(ids[0]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_ids_are_unique_across_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: [new_id() for _ in range(2_000)], range(8)))
    assert len({one for part in parts for one in part}) == 16_000
    assert all(part == sorted(part) for part in parts)


def test_ids_grow_though_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    after = [new_id() for _ in range(100)]
    assert [before, *after] == sorted({before, *after})


@given(moment=moments)
def test_an_id_says_when_it_was_made(moment: datetime) -> None:
    one = id_at(moment)
    assert is_v7(one)
    assert abs(moment - id_time(one)) < timedelta(milliseconds=2)
    assert id_day(one) == id_time(one).date()
    assert first_id_at(moment) <= one


def test_an_id_that_follows_from_its_cause_has_its_moment() -> None:
    cause, other = new_id(), new_id()
    one = derived_id(cause, "refund")
    assert (one.variant, is_v7(one), id_time(one)) == (RFC_4122, True, id_time(cause))
    assert one == derived_id(cause, "refund")
    assert len({one, derived_id(cause, "retry"), derived_id(other, "refund"), cause}) == 4


@pytest.mark.parametrize("wrong", [uuid4(), UUID(int=0), UUID(int=(1 << 128) - 1)])
def test_other_ids_have_no_time(wrong: UUID) -> None:
    assert not is_v7(wrong)
    with pytest.raises(ValueError, match="not a UUID version 7"):
        id_time(wrong)


def test_an_id_from_beyond_the_calendar() -> None:
    far = UUID(int=((1 << 48) - 1) << 80 | 0x7 << 76 | 0b10 << 62)
    with pytest.raises(ValueError, match="out of range"):
        id_day(far)


# Clocks.


def test_the_systems_clock_is_aware() -> None:
    assert SystemClock().now().utcoffset() == timedelta(0)


def test_a_clock_that_is_moved_by_hand() -> None:
    start = datetime(2026, 3, 1, 15, tzinfo=timezone(timedelta(hours=3)))
    clock = ManualClock(start)
    assert clock.now() == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert clock.advance(timedelta(hours=1)) == clock.now() == datetime(2026, 3, 1, 13, tzinfo=UTC)
    clock.set(datetime(2026, 1, 1, tzinfo=UTC))
    assert clock.now().tzinfo is UTC
    with pytest.raises(ValueError, match="aware"):
        ManualClock(datetime(2026, 1, 1))  # noqa: DTZ001  that is what is refused


# Errors.


@pytest.mark.parametrize(
    ("error", "type_name", "status"),
    [(DomainError, "refused", 409), (NotFoundError, "not-found", 404), (InvalidValueError, "invalid-value", 422)],
)
def test_errors_say_what_a_caller_may_see(error: type[DomainError], type_name: str, status: int) -> None:
    assert (error.type, error.status) == (type_name, status)
    assert error().detail == str(error()) == error.title
    told = error("too late", field="expires_at")
    assert (told.detail, told.field, str(told)) == ("too late", "expires_at", "too late")


# Settings.


class Some(Settings):
    service: ClassVar[str] = "some"
    secret: str = ""
    numbers: tuple[int, ...] = ()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("COPECK_"):
            monkeypatch.delenv(name)


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPECK_SECRET", "word")
    monkeypatch.setenv("COPECK_LISTEN_PORT", "9000")
    monkeypatch.setenv("COPECK_NUMBERS", "[1, 2]")
    settings = Some()
    assert (settings.secret, settings.listen_port, settings.numbers) == ("word", 9000, (1, 2))


def test_a_file_holds_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As secrets are mounted: the newline at the end is the editor's, and the file wins over the environment."""
    (tmp_path / "secret").write_text("from file\n", encoding="utf-8")
    (tmp_path / "numbers").write_text("[3]\n", encoding="utf-8")
    monkeypatch.setenv("COPECK_SECRET", "from environment")
    monkeypatch.setenv("COPECK_SECRET_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("COPECK_NUMBERS_FILE", str(tmp_path / "numbers"))
    settings = Some()
    assert (settings.secret, settings.numbers) == ("from file", (3,))
    assert Some(secret="from the caller").secret == "from the caller"


def test_an_empty_name_of_a_file_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files write `NAME_FILE=` for what is not used."""
    monkeypatch.setenv("COPECK_SECRET_FILE", "")
    assert Some().secret == ""


def test_a_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wrong mount is told at the start, not taken for an empty secret."""
    monkeypatch.setenv("COPECK_SECRET_FILE", str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError):
        Some()


def test_a_file_that_is_too_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "large").write_text("x" * ((1 << 20) + 1), encoding="utf-8")
    monkeypatch.setenv("COPECK_SECRET_FILE", str(tmp_path / "large"))
    with pytest.raises(ValueError, match="larger than"):
        Some()


def test_settings_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants others starts the process again; a value that makes no sense stops it at the start."""
    with pytest.raises(ValidationError):
        Some().secret = "other"  # type: ignore[misc]
    monkeypatch.setenv("COPECK_LOG_LEVEL", "LOUD")
    with pytest.raises(ValidationError):
        Some()
