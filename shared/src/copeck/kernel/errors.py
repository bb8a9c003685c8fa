"""The base of every refusal that a caller may see."""

from typing import ClassVar


class DomainError(Exception):
    """A refusal by a business rule; the web edge answers it as problem details, a consumer sets the message aside.

    `type` is a stable slug for programs, `title` a sentence for people, `status` the HTTP status that fits;
    `retry_after_s` says when to come back, for what passes by itself.
    """

    type: ClassVar[str] = "refused"
    title: ClassVar[str] = "The request was refused"
    status: ClassVar[int] = 409
    retry_after_s: ClassVar[int | None] = None

    def __init__(self, detail: str = "", field: str | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.field = field


class NotFoundError(DomainError):
    """What was named does not exist, or is not the caller's to see."""

    type = "not-found"
    title = "There is no such thing"
    status = 404


class InvalidValueError(DomainError):
    """A value that no state of the system could accept."""

    type = "invalid-value"
    title = "A value is not valid"
    status = 422
