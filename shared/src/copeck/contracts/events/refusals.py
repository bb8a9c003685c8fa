"""What a command was answered that the state of its aggregate did not allow."""

from typing import ClassVar
from uuid import UUID

from copeck.contracts.base import Message, Text, Word


class CommandRefused(Message):
    """A command that the state of its aggregate did not allow. Nothing changed."""

    TYPE: ClassVar[str] = "command.refused"

    command_id: UUID
    command_type: Word
    aggregate: Word
    status: Text = ""
    code: Word
    detail: Text = ""

    def subject(self) -> str:
        """Return the aggregate's id."""
        return self.aggregate
