"""Whether a request with a session's cookie comes from a page of ours (CSRF)."""

from collections.abc import Set as AbstractSet

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def from_our_page(method: str, origin: str | None, fetch_site: str | None, ours: AbstractSet[str]) -> bool:
    """Tell whether the request may use a session.

    Safe methods may: they change nothing. Others need an Origin of ours; where a browser sends none, its
    Sec-Fetch-Site must say that it is the same origin. A client that sends neither is no browser with a cookie.
    """
    if method.upper() in SAFE_METHODS:
        return True
    if origin is not None:
        return origin in ours
    return fetch_site == "same-origin"
