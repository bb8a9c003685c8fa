"""Problem details (RFC 9457): every error has a stable `type`, and says which field was at fault."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from copeck.kernel.errors import DomainError
from copeck.observability.trace import current_trace

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:copeck:problem:"
_ERRORS_MAX = 20
_TEXT_CHARS_MAX = 300


class FieldProblem(BaseModel):
    """One value that was refused, and where it stood."""

    field: str
    detail: str


class ProblemModel(BaseModel):
    """The body of every error answer."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: str = Field(
        description="A stable name of the kind of problem, for programs.", examples=["urn:copeck:problem:not-found"]
    )
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    instance: str | None = Field(default=None, description="The path that was asked for.")
    field: str | None = Field(default=None, description="The field at fault, if it was one.")
    trace_id: str | None = Field(
        default=None, description="What to tell the support: it finds the request in the logs."
    )
    errors: list[FieldProblem] | None = None


class Problem(Exception):
    """An error that the caller is told about. `type` is a slug, such as "not-found"."""

    def __init__(
        self,
        status: int,
        type: str,
        title: str,
        detail: str = "",
        field: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldProblem] | None = None,
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.type = type
        self.title = title
        self.detail = detail or title
        self.field = field
        self.headers = dict(headers or {})
        self.errors = list(errors or [])


def not_found(detail: str = "There is no such thing") -> Problem:
    """What was named does not exist, or is not the caller's to see."""
    return Problem(404, "not-found", "There is no such thing", detail)


def unauthorized(detail: str = "A valid token, API key or session is needed") -> Problem:
    """Nobody is known to be calling."""
    return Problem(401, "unauthorized", "Who you are is not known", detail, headers={"WWW-Authenticate": "Bearer"})


def forbidden(detail: str = "Your roles do not allow this") -> Problem:
    """The caller is known, and may not do this."""
    return Problem(403, "forbidden", "This is not allowed", detail)


def unavailable(detail: str, retry_after_s: int = 1) -> Problem:
    """Something that the answer needs is out of reach for the moment."""
    return Problem(
        503, "unavailable", "The service is not available", detail, headers={"Retry-After": str(retry_after_s)}
    )


def problem_body(problem: Problem, *, instance: str | None = None, trace_id: str | None = None) -> dict[str, Any]:
    """Return the members of the answer; those without a value are left out."""
    body = ProblemModel(
        type=TYPE_PREFIX + problem.type,
        title=problem.title,
        status=problem.status,
        detail=problem.detail,
        instance=instance,
        field=problem.field,
        trace_id=trace_id,
        errors=problem.errors or None,
    )
    return body.model_dump(exclude_none=True)


def problem_response(
    problem: Problem,
    *,
    instance: str | None = None,
    trace_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Build the answer of a problem."""
    return JSONResponse(
        problem_body(problem, instance=instance, trace_id=trace_id),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **problem.headers, **(headers or {})},
    )


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what `responses=` of a route takes, so that the OpenAPI document names these errors.

    Those that any route may answer (400, 401, 403, 404, 413, 415, 422, 429, 503 as they apply) are added by themselves.
    """
    return {status: response_of(status) for status in statuses}


def response_of(status: int) -> dict[str, Any]:
    """Return the OpenAPI response object of one error status."""
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def current_trace_id() -> str | None:
    """Return the trace of this request, if it is traced."""
    trace = current_trace()
    return trace.trace_id if trace else None


def _respond(request: Request, problem: Problem) -> Response:
    page = getattr(request.app.state, "problem_page", None)
    if page is not None and _is_for_a_reader(request):
        shown: Response = page(request, problem, current_trace_id())
        return shown
    return problem_response(problem, instance=request.url.path, trace_id=current_trace_id())


def _is_for_a_reader(request: Request) -> bool:
    """Tell whether a browser shows the answer: it navigates, and names HTML first. Programs and scripts do not."""
    return request.headers.get("accept", "").startswith("text/html")


async def _on_problem(request: Request, error: Problem) -> Response:
    return _respond(request, error)


async def _on_domain_error(request: Request, error: DomainError) -> Response:
    headers = None if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return _respond(request, Problem(error.status, error.type, error.title, error.detail, error.field, headers=headers))


# What the framework itself refuses, by status.
HTTP_TYPES: dict[int, tuple[str, str]] = {
    400: ("malformed", "The request could not be read"),
    401: ("unauthorized", "Who you are is not known"),
    403: ("forbidden", "This is not allowed"),
    404: ("not-found", "There is no such thing"),
    405: ("method-not-allowed", "The method is not allowed here"),
    413: ("body-too-large", "The body is too large"),
    415: ("unsupported-media-type", "The body's type is not supported"),
}


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    kind, title = HTTP_TYPES.get(error.status_code, ("http-error", HTTPStatus(error.status_code).phrase))
    problem = Problem(error.status_code, kind, title, str(error.detail or title), headers=error.headers or {})
    return _respond(request, problem)


async def _on_validation_error(request: Request, error: RequestValidationError) -> Response:
    return _respond(request, validation_problem(error.errors(), request.headers.get("content-type", "")))


def validation_problem(errors: Sequence[Mapping[str, Any]], content_type: str = "application/json") -> Problem:
    """Turn pydantic's errors into one problem: 400 for a body that is no JSON, 415 for another type, else 422."""
    if any(error.get("type") == "json_invalid" and error["loc"][:1] == ("body",) for error in errors):
        return Problem(400, "malformed", "The body is not valid JSON", "The body could not be read as JSON", "body")
    whole_body = any(tuple(error["loc"]) == ("body",) and error.get("type") != "missing" for error in errors)
    if whole_body and not _is_json(content_type):
        return Problem(
            415, "unsupported-media-type", "The body's type is not supported", "Send application/json", "body"
        )
    fields = [FieldProblem(field=_field(error["loc"]), detail=_text(error)) for error in errors[:_ERRORS_MAX]]
    first = fields[0] if fields else FieldProblem(field="body", detail="The request is not valid")
    return Problem(
        422, "invalid-value", "A value is not valid", f"{first.field}: {first.detail}", first.field, errors=fields
    )


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _field(location: Sequence[Any]) -> str:
    parts = [str(part) for part in location]
    if len(parts) > 1 and parts[0] in {"body", "query", "path", "header", "cookie"}:
        parts = parts[1:]
    return ".".join(parts)[:_TEXT_CHARS_MAX] or "body"


def _text(error: Mapping[str, Any]) -> str:
    # Pydantic's message, never its `input`: that may hold a password or a card number.
    return str(error.get("msg", "not valid"))[:_TEXT_CHARS_MAX].encode("utf-8", "replace").decode()


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error that a route raises as problem details; what nobody foresaw is left to the error boundary."""
    handlers: dict[type[Exception], Any] = {
        Problem: _on_problem,
        DomainError: _on_domain_error,
        HTTPException: _on_http_exception,
        RequestValidationError: _on_validation_error,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
