"""Bodies of old callers: numbers of JSON are amounts in major units, read as decimals from the text, never floats."""

import json
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from copeck.kernel.money import EXPONENTS

_TEXT = r"^[0-9]{1,8}(\.[0-9]{1,2})?$"


class ExactRequest(Request):
    """A request whose JSON has no floats."""

    async def json(self) -> Any:
        """Return the body with a Decimal for every number that has a fraction or an exponent."""
        if not hasattr(self, "_exact"):
            text = (await self.body()).decode("utf-8")
            self._exact = json.loads(text, parse_float=Decimal, parse_constant=lambda word: _no_number(word, text))
        return self._exact


def _no_number(word: str, text: str) -> None:
    raise json.JSONDecodeError(f"{word} is not a number of JSON", text, text.find(word))


class ExactRoute(APIRoute):
    """A route that reads its body with ExactRequest."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, given the exact request in place of the usual one."""
        handle = super().get_route_handler()

        async def exact(request: Request) -> Response:
            return await handle(ExactRequest(request.scope, request.receive))

        return exact


class OldBody(BaseModel):
    """The base of bodies: what the old services did not know they left alone, and so do we."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise ValueError("an amount is a number or text, in major units")
    return value


Major = Annotated[
    Decimal,
    BeforeValidator(_number),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _TEXT}],
            "description": 'Major units: 200, 200.5 or "200.50". More digits than the currency has are refused.',
            "examples": [200],
        }
    ),
]


def _known(currency: str) -> str:
    if currency not in EXPONENTS:
        raise ValueError(f"the currency is not known; one of {', '.join(sorted(EXPONENTS))}")
    return currency


Currency = Annotated[
    str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": sorted(EXPONENTS), "examples": ["RUB"]})
]
