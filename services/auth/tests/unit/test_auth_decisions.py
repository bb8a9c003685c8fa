"""The decisions of auth, without input or output."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from auth.cache import Known, ShortCache
from auth.domain.errors import RolesRefusedError, WeakPasswordError
from auth.domain.origins import from_our_page
from auth.domain.passwords import check_password
from auth.domain.refresh import TokenState, Verdict, judge
from auth.domain.roles import check_change, within
from auth.domain.rotation import KeyState, next_step
from auth.secrets import digest, new_key_id, new_secret
from auth.signing import Sealer, SealError, load_private, make_key

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
GRACE = timedelta(seconds=5)


def state(
    *, won: bool = False, used_ago_s: float | None = None, expired: bool = False, revoked: bool = False,
    family_over: bool = False, active: bool = True,
) -> TokenState:  # fmt: skip
    return TokenState(
        won=won,
        used_at=NOW if won else (NOW - timedelta(seconds=used_ago_s) if used_ago_s is not None else None),
        expires_at=NOW if expired else LATER,
        family_expires_at=NOW if family_over else LATER,
        family_revoked=revoked,
        user_active=active,
    )


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (None, Verdict.INVALID),
        (state(won=True), Verdict.ROTATE),
        (state(won=True, expired=True), Verdict.INVALID),
        (state(won=True, family_over=True), Verdict.INVALID),
        (state(won=True, revoked=True), Verdict.INVALID),
        (state(won=True, active=False), Verdict.INVALID),
        (state(used_ago_s=0), Verdict.IN_PROGRESS),
        (state(used_ago_s=5), Verdict.IN_PROGRESS),
        (state(used_ago_s=5.1), Verdict.REUSED),
        (state(used_ago_s=1, revoked=True), Verdict.INVALID),
        (state(used_ago_s=500, expired=True), Verdict.REUSED),
    ],
)
def test_refresh_verdicts(found: TokenState | None, verdict: Verdict) -> None:
    assert judge(found, NOW, GRACE) is verdict


OURS = frozenset({"https://pay.example.org"})


@pytest.mark.parametrize(
    ("method", "origin", "site", "allowed"),
    [
        ("GET", "https://evil.example", "cross-site", True),
        ("POST", "https://pay.example.org", None, True),
        ("POST", "https://pay.example.org.evil.example", None, False),
        ("POST", "http://pay.example.org", None, False),
        ("POST", "null", "same-origin", False),
        ("POST", None, "same-origin", True),
        ("POST", None, "same-site", False),
        ("POST", None, "none", False),
        ("POST", None, None, False),
        ("delete", "https://evil.example", None, False),
    ],
)
def test_only_our_pages_may_use_a_session(method: str, origin: str | None, site: str | None, allowed: bool) -> None:
    assert from_our_page(method, origin, site, OURS) is allowed


@pytest.mark.parametrize("password", ["short", "PASSWORD123", "aaaaaaaaaa", "anna@example.org", "ab" * 129])
def test_weak_passwords(password: str) -> None:
    with pytest.raises(WeakPasswordError) as refused:
        check_password(password, "Anna@example.org")
    assert refused.value.field == "password"
    assert password not in str(refused.value)


def test_long_passwords_are_welcome() -> None:
    check_password("correct horse battery staple", "anna@example.org")


def test_operators_cannot_lock_themselves_out() -> None:
    me = uuid4()
    with pytest.raises(RolesRefusedError):
        check_change(me, me, {"operator", "manager"}, {"manager"})
    check_change(me, me, {"operator", "manager"}, {"operator"})
    check_change(me, uuid4(), {"operator"}, set())


def test_a_key_can_do_no_more_than_its_owner() -> None:
    assert within([], {"customer", "merchant"}) == {"customer", "merchant"}
    assert within(["merchant"], {"customer", "merchant"}) == {"merchant"}
    with pytest.raises(RolesRefusedError):
        within(["operator"], {"customer"})


CACHE, LIFE = timedelta(minutes=6), timedelta(minutes=11)


def key(kid: str, state: str, ago_s: float = 0.0) -> KeyState:
    then = NOW - timedelta(seconds=ago_s)
    return KeyState(kid, state, then, then, then)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keys", "action", "kid"),
    [
        ([], "publish", None),
        ([key("b", "published")], "activate", "b"),
        ([key("a", "active")], "publish", None),
        ([key("a", "active"), key("b", "published", 359)], None, "b"),
        ([key("a", "active"), key("b", "published", 360)], "activate", "b"),
        ([key("b", "active"), key("a", "retiring", 659)], None, "a"),
        ([key("b", "active"), key("a", "retiring", 660)], "retire", "a"),
        ([key("b", "active"), key("a", "retired", 9999)], "publish", None),
    ],
)
def test_steps_of_a_rotation(keys: list[KeyState], action: str | None, kid: str | None) -> None:
    step = next_step(keys, NOW, cache=CACHE, token_life=LIFE)
    assert (step.action, step.kid) == (action, kid)


def test_a_young_key_is_left_alone() -> None:
    step = next_step([key("a", "active", 60)], NOW, cache=CACHE, token_life=LIFE, age_min=timedelta(days=1))
    assert step.action is None


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_private_keys_are_sealed(algorithm: str) -> None:
    sealer = Sealer("s" * 32)
    made = make_key(algorithm, sealer)  # type: ignore[arg-type]
    assert "d" not in made.public_jwk
    assert made.public_jwk["kid"] == made.kid
    load_private(made.kid, made.private_sealed, sealer)
    with pytest.raises(SealError):
        load_private(made.kid, made.private_sealed, Sealer("t" * 32))
    with pytest.raises(SealError):
        load_private("another", made.private_sealed, sealer)


def test_a_short_signing_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="COPECK_SIGNING_SECRET"):
        Sealer("short")


def test_secrets_are_long_and_stored_as_digests() -> None:
    secret = new_secret()
    assert len(secret) >= 43
    assert secret != new_secret()
    assert len(digest(secret)) == 32
    assert new_key_id().startswith("ck_")


def test_the_cache_is_short_and_bounded() -> None:
    cache = ShortCache(life_s=60, entries_max=2)
    people = [Known(uuid4(), frozenset(), "key:1") for _ in range(3)]
    for number, known in enumerate(people):
        cache.put(bytes([number]), known)
    assert cache.get(b"\x00") is None
    assert cache.get(b"\x02") == people[2]
    cache.drop_user(people[2].user_id)
    assert cache.get(b"\x02") is None
    stale = ShortCache(life_s=-1)
    stale.put(b"x", people[0])
    assert stale.get(b"x") is None
