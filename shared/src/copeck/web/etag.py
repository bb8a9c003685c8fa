"""Optimistic locking of edits: `ETag` on what was read, `If-Match` on what is written."""

from typing import Annotated

from fastapi import Depends, Header

from copeck.web.problems import Problem


def etag_for(version: int) -> str:
    """Return the entity tag of a row's version."""
    return f'"{version}"'


async def if_match_header(
    if_match: Annotated[
        str | None,
        Header(alias="If-Match", max_length=200, description="The `ETag` of what was read, or `*`.", examples=['"1"']),
    ] = None,
) -> str:
    """Return the header; 428 when it is missing, because an edit of something unread may undo another's."""
    if if_match is None or not if_match.strip():
        raise Problem(
            428,
            "precondition-required",
            "If-Match is required",
            "Read first, and send its ETag in If-Match",
            "If-Match",
        )
    return if_match.strip()


IfMatch = Annotated[str, Depends(if_match_header)]


def check_if_match(if_match: str, version: int) -> None:
    """Let the edit through when the caller saw this version; 412 otherwise."""
    tags = {tag.strip().removeprefix("W/") for tag in if_match.split(",")}
    if "*" in tags or etag_for(version) in tags:
        return
    raise Problem(
        412,
        "version-conflict",
        "It was changed meanwhile",
        f"The version now is {etag_for(version)}: read again, then edit",
        "If-Match",
    )
