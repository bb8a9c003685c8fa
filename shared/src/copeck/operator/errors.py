"""How a command ends when it cannot do what was asked; each way has an exit status of its own."""

from typing import ClassVar


class OperatorError(Exception):
    """Something that a person must know, in one line. Exit status 1: what was asked for is not there or not allowed."""

    exit_code: ClassVar[int] = 1


class UnreachableError(OperatorError):
    """A server does not answer, or a setting that leads to it is missing. Exit status 3."""

    exit_code = 3


FINDINGS = 4
"""Exit status of a check that ran to its end and found something wrong."""
