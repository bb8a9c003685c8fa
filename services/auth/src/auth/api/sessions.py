"""Registering, logging in, refreshing, logging out."""

from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from auth.api.common import SESSION_COOKIE, UseContext, UseOrigin
from auth.api.models import LoginAnswer, LoginBody, LogoutBody, RefreshBody, RegisterBody, UserAnswer
from auth.domain.errors import CrossSiteError
from auth.domain.origins import from_our_page
from auth.handlers import accounts, login
from auth.handlers.login import TokenPair
from auth.store.users import email_key
from copeck.web.auth import AUDIENCE_EDGE, TokenVerifier
from copeck.web.limits import check_limit, rate_limit
from copeck.web.problems import Problem, problem_responses

router = APIRouter(tags=["sessions"])

EMAIL_LOGINS = "10/minute"


def _pair(pair: TokenPair) -> LoginAnswer:
    return LoginAnswer(
        user=UserAnswer.of(pair.user),
        access_token=pair.access_token,
        token_type="Bearer",  # noqa: S106 - the name of a scheme
        expires_in=pair.access_s,
        refresh_token=pair.refresh_token,
        refresh_expires_at=pair.refresh_expires_at,
    )


@router.post(
    "/register",
    status_code=201,
    responses=problem_responses(409),
    dependencies=[Depends(rate_limit("register", "10/minute"))],
)
async def register(body: RegisterBody, context: UseContext, origin: UseOrigin) -> UserAnswer:
    """Make a customer's account."""
    user = await accounts.register(
        context, email=body.email, password=body.password, proof=body.challenge, address=origin.address
    )
    return UserAnswer.of(user)


@router.post(
    "/login",
    response_model_exclude_none=True,
    responses=problem_responses(401, 403),
    dependencies=[Depends(rate_limit("login", "30/minute"))],
)
async def log_in(
    body: LoginBody, request: Request, response: Response, context: UseContext, origin: UseOrigin
) -> LoginAnswer:
    """Get tokens; or, with `session`, the cookie of a session, which only pages of ours may use."""
    await check_limit(request, "login-email", EMAIL_LOGINS, email_key(body.email))
    if body.session:
        _check_page(request, context)
    user = await login.check_login(
        context, email=body.email, password=body.password, proof=body.challenge, origin=origin
    )
    if not body.session:
        return _pair(await login.begin_tokens(context, user, origin))
    session = await login.begin_session(context, user, origin)
    response.set_cookie(
        SESSION_COOKIE,
        session.secret,
        max_age=context.settings.session_s,
        httponly=True,
        samesite="lax",
        secure=context.settings.cookie_is_secure,
        path="/",
    )
    return LoginAnswer(user=UserAnswer.of(user), session_expires_at=session.expires_at)


@router.post(
    "/token/refresh",
    response_model_exclude_none=True,
    responses=problem_responses(401, 409),
    dependencies=[Depends(rate_limit("refresh", "60/minute"))],
)
async def refresh(body: RefreshBody, context: UseContext) -> LoginAnswer:
    """Exchange a refresh token for a new pair. A token that is used twice ends its whole family."""
    return _pair(await login.refresh(context, body.refresh_token))


@router.post(
    "/logout",
    status_code=204,
    responses=problem_responses(403),
    dependencies=[Depends(rate_limit("logout", "60/minute"))],
)
async def log_out(request: Request, response: Response, context: UseContext, body: LogoutBody | None = None) -> None:
    """End the session of the cookie, the tokens of the Authorization header, and the family of the refresh token."""
    secret = request.cookies.get(SESSION_COOKIE)
    if secret is not None:
        _check_page(request, context)
    await login.log_out(
        context,
        session_secret=secret,
        refresh_token=body.refresh_token if body is not None else None,
        family_id=await _family(request, context),
    )
    response.delete_cookie(
        SESSION_COOKIE, path="/", httponly=True, samesite="lax", secure=context.settings.cookie_is_secure
    )


async def _family(request: Request, context: UseContext) -> UUID | None:
    """Return the family of the access token in the header; one that is no good needs no logging out."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        principal = await TokenVerifier(context.ring, audience=AUDIENCE_EDGE).verify(token)
        return UUID(principal.client.partition(":")[2])
    except (Problem, ValueError):
        return None


def _check_page(request: Request, context: UseContext) -> None:
    """Refuse other sites' pages: they could log a browser in as somebody else, or out."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if origin is None and site is None:
        # No browser: it has no user whose cookies could be abused.
        return
    if not from_our_page(request.method, origin, site, context.settings.origins):
        raise CrossSiteError("a session may only be used from our own pages", "Origin")
