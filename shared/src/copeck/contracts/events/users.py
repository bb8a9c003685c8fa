"""What happens to a user."""

from typing import ClassVar
from uuid import UUID

from pydantic import Field

from copeck.contracts.base import Message


class UserEvent(Message):
    """The public state of a user."""

    user_id: UUID
    version: int = Field(ge=1)
    roles: tuple[str, ...] = ()

    def subject(self) -> str:
        """Return the user's id."""
        return str(self.user_id)


class UserRegistered(UserEvent):
    """Somebody made an account."""

    TYPE: ClassVar[str] = "user.registered"


class UserRolesChanged(UserEvent):
    """An operator gave or took roles."""

    TYPE: ClassVar[str] = "user.roles_changed"


USER: tuple[type[UserEvent], ...] = (UserRegistered, UserRolesChanged)
