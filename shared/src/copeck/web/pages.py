"""HTML pages: Jinja2 with escaping, a base template, two languages, our own style sheet, a strict policy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined, select_autoescape

from copeck.web.csp import ContentPolicy
from copeck.web.docs import Assets, asset_version, shared_asset
from copeck.web.problems import Problem
from copeck.web.translations import LANGUAGE_COOKIE, LANGUAGES, Texts, language_of

_TEMPLATES = Path(__file__).parent / "templates"
_LANGUAGE_COOKIE_S = 365 * 24 * 3600


class Pages:
    """A service's pages: its templates (over the shared `base.html`), its texts, its own static files.

    `folder` holds `templates/` and, if there are any, `static/`; the latter is served at `<prefix>/assets/app/`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        prefix: str,
        texts: Mapping[str, Mapping[str, str]],
        policy: ContentPolicy | None = None,
    ) -> None:
        self._prefix = prefix
        self._texts = texts
        self._policy = policy or ContentPolicy()
        self._static = folder / "static"
        self._environment = Environment(
            loader=ChoiceLoader([FileSystemLoader(folder / "templates"), FileSystemLoader(_TEMPLATES)]),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def mount(self, app: FastAPI) -> None:
        """Serve the service's static files, and show its readers errors as pages."""
        app.state.problem_page = self.problem
        if self._static.is_dir():
            app.mount(f"{self._prefix}/assets/app", Assets(directory=self._static), name=f"pages:{self._prefix}")

    def problem(self, request: Request, problem: Problem, trace_id: str | None) -> HTMLResponse:
        """Show an error to a reader; what programs get says more."""
        texts = self.texts(request)
        heading = texts("not_found_title" if problem.status == 404 else "error_title")
        text = texts("not_found_text" if problem.status == 404 else "error_text")
        response = self.render(
            request,
            "message.html",
            {"heading": heading, "text": text, "trace_id": trace_id},
            status=problem.status,
        )
        response.headers.update(problem.headers)
        return response

    def asset(self, name: str) -> str:
        """Return the URL of a static file: `copeck/…` is shared, anything else the service's own."""
        if name.startswith("copeck/"):
            return shared_asset(self._prefix, name.removeprefix("copeck/"))
        return f"{self._prefix}/assets/app/{name}?v={asset_version(self._static / name)}"

    def texts(self, request: Request) -> Texts:
        """Return the texts in the reader's language."""
        return Texts(language_of(request), self._texts)

    def render(
        self,
        request: Request,
        template: str,
        context: Mapping[str, Any] | None = None,
        *,
        status: int = 200,
        policy: ContentPolicy | None = None,
    ) -> HTMLResponse:
        """Render a page. Templates know `t` (texts), `lang`, `asset()`, `language_urls` and what `context` gives."""
        texts = self.texts(request)
        html = self._environment.get_template(template).render(
            t=texts,
            lang=texts.language,
            asset=self.asset,
            language_urls={code: request.url.path + _query(request, code) for code in LANGUAGES},
            **(context or {}),
        )
        response = HTMLResponse(
            html,
            status_code=status,
            headers={
                "Content-Security-Policy": (policy or self._policy).header(),
                "Content-Language": texts.language,
                "Vary": "Accept-Language, Cookie",
                "Cache-Control": "no-store",
            },
        )
        if request.query_params.get("lang") in LANGUAGES:
            response.set_cookie(
                LANGUAGE_COOKIE, texts.language, max_age=_LANGUAGE_COOKIE_S, samesite="lax", httponly=True, path="/"
            )
        return response


def _query(request: Request, language: str) -> str:
    query = request.url.include_query_params(lang=language).query
    return f"?{query}" if query else ""
