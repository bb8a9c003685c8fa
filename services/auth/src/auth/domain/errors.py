"""Refusals that callers see."""

from copeck.kernel.errors import DomainError


class EmailTakenError(DomainError):
    """The e-mail address has an account."""

    type = "email-taken"
    title = "The e-mail address has an account already"
    status = 409


class WeakPasswordError(DomainError):
    """The password is too easy to guess."""

    type = "weak-password"
    title = "The password is too weak"
    status = 422


class InvalidCredentialsError(DomainError):
    """E-mail and password do not belong together; which of the two is wrong is not said."""

    type = "invalid-credentials"
    title = "The e-mail address or the password is wrong"
    status = 401


class InvalidRefreshTokenError(DomainError):
    """The refresh token is unknown, over, or its family was revoked."""

    type = "invalid-refresh-token"
    title = "The refresh token is not valid; log in again"
    status = 401


class RefreshReusedError(DomainError):
    """A refresh token came back after its use: whoever holds it may be a thief, so the whole family is over."""

    type = "refresh-token-reused"
    title = "The refresh token was used before; log in again"
    status = 401


class RefreshInProgressError(DomainError):
    """The same token was used a moment ago: the other answer holds the new one."""

    type = "refresh-in-progress"
    title = "The token was refreshed a moment ago"
    status = 409


class CrossSiteError(DomainError):
    """A session was used from a page that is not ours."""

    type = "cross-site"
    title = "The request came from another site"
    status = 403


class RolesRefusedError(DomainError):
    """Roles that may not be given or taken this way."""

    type = "roles-refused"
    title = "The roles cannot be changed like this"
    status = 409


class TooManyKeysError(DomainError):
    """There are as many API keys as one account may have."""

    type = "too-many-keys"
    title = "There are too many API keys"
    status = 409


class KeyFromKeyError(DomainError):
    """An API key tried to make another one, which would outlive it."""

    type = "key-from-key"
    title = "An API key cannot manage API keys or passwords"
    status = 403


class BusyError(DomainError):
    """Too many passwords wait to be checked."""

    type = "busy"
    title = "Too many people log in at the moment"
    status = 503
