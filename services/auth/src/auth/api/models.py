"""Bodies of requests and answers."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field

from auth.domain.passwords import LENGTH_MIN
from auth.store.api_keys import ApiKey
from auth.store.users import User
from copeck.web.models import AnswerModel, StrictModel

Role = Literal["customer", "recipient", "merchant", "manager", "operator"]


def _address(value: str) -> str:
    """Check the form alone: whether mail arrives there, only a letter can tell. Private domains are welcome."""
    try:
        found = validate_email(value, check_deliverability=False, globally_deliverable=False, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError("this is not an e-mail address") from error
    if "." not in found.domain:
        raise ValueError("the address has no domain with a dot")
    return found.normalized


Email = Annotated[
    str,
    Field(min_length=3, max_length=254, examples=["anna@example.org"], json_schema_extra={"format": "email"}),
    AfterValidator(_address),
]
Password = Annotated[str, Field(min_length=1, max_length=256, examples=["a long secret of mine"])]
NewPassword = Annotated[str, Field(min_length=LENGTH_MIN, max_length=256, examples=["a long secret of mine"])]
Proof = Annotated[str | None, Field(max_length=2000, description="The answer of a challenge, once one is asked for.")]


class RegisterBody(StrictModel):
    """A new account."""

    email: Email
    password: NewPassword
    challenge: Proof = None


class LoginBody(StrictModel):
    """E-mail address and password. `session` asks for a cookie in place of tokens."""

    email: Email
    password: Password
    session: bool = False
    challenge: Proof = None


class RefreshBody(StrictModel):
    """The refresh token, good once."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=200)]


class LogoutBody(StrictModel):
    """What to end, besides the session of the cookie and the tokens of the Authorization header."""

    refresh_token: Annotated[str | None, Field(max_length=200)] = None


class PasswordBody(StrictModel):
    """A change of the password."""

    current_password: Password
    new_password: NewPassword


class RolesBody(StrictModel):
    """All roles that the user shall have."""

    roles: Annotated[list[Role], Field(max_length=5)]


class ApiKeyBody(StrictModel):
    """A new API key. Without roles it gets those of its owner; it can never do more than its owner."""

    name: Annotated[str, Field(min_length=1, max_length=100, examples=["nightly report"])]
    roles: Annotated[list[Role], Field(max_length=5, default_factory=list)]
    expires_at: Annotated[datetime | None, Field(description="When it stops working; never, if left out.")] = None


class UserAnswer(AnswerModel):
    """A user."""

    id: UUID
    email: str
    status: Literal["active", "blocked"]
    roles: list[Role]
    version: int
    created_at: datetime

    @classmethod
    def of(cls, user: User) -> "UserAnswer":
        """Show a user; the password's hash stays inside."""
        return cls.model_validate(
            {
                "id": user.id,
                "email": user.email,
                "status": user.status,
                "roles": sorted(user.roles),
                "version": user.version,
                "created_at": user.created_at,
            }
        )


class MeAnswer(UserAnswer):
    """The caller, and through what they call."""

    client: str


class LoginAnswer(AnswerModel):
    """Tokens, or the end of the session whose cookie was set."""

    user: UserAnswer
    access_token: str | None = None
    token_type: Literal["Bearer"] | None = None
    expires_in: int | None = Field(default=None, description="Seconds until the access token is over.")
    refresh_token: str | None = None
    refresh_expires_at: datetime | None = None
    session_expires_at: datetime | None = None


class LoginPlaceAnswer(AnswerModel):
    """A place where the caller is logged in."""

    id: UUID
    kind: Literal["session", "token"]
    created_at: datetime
    expires_at: datetime
    address: str
    agent: str
    current: bool


class ApiKeyAnswer(AnswerModel):
    """An API key without its secret."""

    id: str
    name: str
    roles: list[Role]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> "ApiKeyAnswer":
        """Show a key."""
        return cls.model_validate(
            {
                "id": key.id,
                "name": key.name,
                "roles": sorted(key.roles),
                "created_at": key.created_at,
                "expires_at": key.expires_at,
                "revoked_at": key.revoked_at,
                "used_at": key.used_at,
            }
        )


class NewApiKeyAnswer(ApiKeyAnswer):
    """A key that was just made: the only time that its secret is shown."""

    secret: str


class AuditAnswer(AnswerModel):
    """Something that was done to a user."""

    id: int
    at: datetime
    actor: str
    action: str
    details: dict[str, object]
