"""What the compatibility routes share: both forms of an address, the optional key, ids, answers with exact numbers."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Response
from pydantic import BeforeValidator, WithJsonSchema

from copeck.kernel.errors import NotFoundError
from copeck.web.problems import Problem
from payments_gateway.domain.compatibility import reference_of
from payments_gateway.exact_json import exact_json

F = TypeVar("F", bound=Callable[..., Any])

_KEY = re.compile(r"[\x21-\x7e]{1,150}")
_NUMBER_MAX = 10**18 - 1


def served(router: APIRouter, method: str, path: str, **options: Any) -> Callable[[F], F]:
    """Serve an address as the old service wrote it, and, unmentioned, with or without its trailing slash."""

    def add(endpoint: F) -> F:
        other = path.removesuffix("/") if path.endswith("/") else f"{path}/"
        router.add_api_route(path, endpoint, methods=[method], **options)
        router.add_api_route(other, endpoint, methods=[method], **{**options, "include_in_schema": False})
        return endpoint

    return add


async def optional_key(
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            max_length=150,
            description="Optional, as it was. With one, a repeated call has no second effect.",
            examples=["123e4567-e89b-12d3-a456-426614174000"],
            json_schema_extra={"minLength": 1, "pattern": "^[!-~]+$", "x-optional": True},
        ),
    ] = None,
) -> str | None:
    """Return the caller's key, if there is one; 400 when it is not 1 to 150 printable characters without spaces."""
    if key is not None and not _KEY.fullmatch(key):
        raise Problem(
            400,
            "malformed",
            "The request could not be read",
            "An Idempotency-Key has 1 to 150 printable characters without spaces",
            "Idempotency-Key",
        )
    return key


OptionalKey = Annotated[str | None, Depends(optional_key)]


def _reference(value: Any) -> int | UUID:
    if isinstance(value, int | str) and not isinstance(value, bool):
        with suppress(NotFoundError):
            return reference_of(value)
    raise ValueError("an id is a small number or a UUID")


UserReference = Annotated[
    int | UUID,
    BeforeValidator(_reference),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 0, "maximum": _NUMBER_MAX}, {"type": "string", "format": "uuid"}],
            "description": "The user's number, or their UUID.",
            "examples": [1],
        }
    ),
]


def _in_path(what: str) -> Callable[[str], int | UUID]:
    def read(
        reference: Annotated[str, Path(alias="id", max_length=36, description="The small number, or the UUID.")],
    ) -> int | UUID:
        return reference_of(reference, what)

    return read


PaymentId = Annotated[int | UUID, Depends(_in_path("payment"))]
PayoutId = Annotated[int | UUID, Depends(_in_path("payout"))]


def exact(document: Mapping[str, Any], status_code: int = 200) -> Response:
    """Answer with numbers that have exactly their digits."""
    return Response(exact_json(document), status_code, media_type="application/json")
