"""The OpenAPI documents: FastAPI's, plus the errors that each operation may answer, worked out from what it takes."""

from collections.abc import Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from copeck.web.problems import ProblemModel, response_of

_METHODS = frozenset({"get", "post", "put", "patch", "delete", "head", "options"})
_SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token: POST /auth/api/v1/login.",
    },
    "api_key": {"type": "http", "scheme": "basic", "description": "An API key: its id and its secret."},
    "session": {"type": "apiKey", "in": "cookie", "name": "copeck_session", "description": "The cabinet's session."},
}


def build_openapi(*, title: str, version: str, description: str, routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Return the document of one API."""
    document = get_openapi(
        title=title, version=version, description=description, routes=routes, separate_input_output_schemas=True
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    problem = ProblemModel.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    components["securitySchemes"] = _SECURITY
    for path in document.get("paths", {}).values():
        shared = path.get("parameters", [])
        for method, operation in path.items():
            if method in _METHODS:
                _complete(operation, [*shared, *operation.get("parameters", [])])
    return document


# FastAPI cannot say that a header is required without also answering 422 for it; these answer 400 and 428.
_REQUIRED_HEADERS = frozenset({"idempotency-key", "if-match"})


def _plain_parameter(parameter: dict[str, Any]) -> None:
    """Take null out of a parameter's schema (an address or a header cannot say it), and name the required headers.

    A route that can do without such a header marks it by `x-optional` in its schema.
    """
    schema = parameter.get("schema", {})
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if "anyOf" in schema and len(options) == 1:
        rest = {name: value for name, value in schema.items() if name != "anyOf"}
        parameter["schema"] = {**options[0], **rest}
    optional = parameter.get("schema", {}).pop("x-optional", False)
    if parameter["in"] == "header" and parameter["name"].lower() in _REQUIRED_HEADERS and not optional:
        parameter["required"] = True


def _complete(operation: dict[str, Any], parameters: list[dict[str, Any]]) -> None:
    """Add the error answers that follow from the operation's shape; what it declares itself stays."""
    headers = {parameter["name"].lower() for parameter in parameters if parameter["in"] == "header"}
    for parameter in parameters:
        _plain_parameter(parameter)
    # 401 and 403 also come from the edge, for credentials that are no good or that another site's page sends.
    statuses = {400, 401, 403, 413, 422, 429, 500, 503}
    if operation.get("security"):
        optional = {} in operation["security"]
        operation["security"] = [{name: []} for name in _SECURITY] + ([{}] if optional else [])
    if any(parameter["in"] == "path" for parameter in parameters):
        statuses.add(404)
    if "requestBody" in operation:
        statuses.add(415)
    if "idempotency-key" in headers:
        statuses.add(409)
    if "if-match" in headers:
        statuses |= {409, 412, 428}
    responses = operation.setdefault("responses", {})
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]
    for status in sorted(statuses):
        responses.setdefault(str(status), response_of(status))
