"""The `Idempotency-Key` of requests that move money; storage keeps the answers (copeck.storage.idempotency)."""

import hashlib
import re
from typing import Annotated

from fastapi import Depends, Header, Request

from copeck.web.problems import Problem

_KEY = re.compile(r"^[\x21-\x7e]{1,200}$")


async def idempotency_key(
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            max_length=200,
            description="Required. Chosen by the caller; the same key with the same body gets the same answer.",
            examples=["0f7cfb6e-0f2e-4a55-9a3b-6a4a3f5e7a10"],
            # Said in the document alone: what does not fit is answered by 400 below, as a missing key is.
            json_schema_extra={"minLength": 1, "pattern": "^[!-~]+$"},
        ),
    ] = None,
) -> str:
    """Return the caller's key; 400 when it is missing or is not 1 to 200 printable ASCII characters without spaces."""
    if key is None or not _KEY.match(key):
        raise Problem(
            400,
            "idempotency-key-required",
            "Idempotency-Key is required",
            "Send a header Idempotency-Key of 1 to 200 printable characters, a new one for each intended operation",
            "Idempotency-Key",
        )
    return key


IdempotencyKey = Annotated[str, Depends(idempotency_key)]


async def request_hash(request: Request) -> str:
    """Return the digest of method, path, query and raw body: what tells a repeat from another request."""
    digest = hashlib.sha256()
    for part in (request.method, request.scope["path"], request.scope.get("query_string", b"").decode("latin-1")):
        digest.update(part.encode("utf-8", "surrogatepass"))
        digest.update(b"\x00")
    digest.update(await request.body())
    return digest.hexdigest()


RequestHash = Annotated[str, Depends(request_hash)]
