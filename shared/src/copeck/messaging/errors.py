"""What can go wrong on the bus, in the caller's terms."""

from dataclasses import dataclass
from typing import Literal

from aiormq.exceptions import AMQPError


class MessagingError(Exception):
    """The base of every error of the bus."""


class BrokerUnavailableError(MessagingError):
    """The broker could not be reached, or the connection broke; what was under way has an unknown outcome."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One message of a window that the broker did not take."""

    index: int
    message_id: str
    exchange: str
    routing_key: str
    kind: Literal["returned", "nacked", "timeout", "connection", "refused"]
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.message_id} to {self.exchange}/{self.routing_key}: {self.kind} {self.detail}".rstrip()


class PublishError(MessagingError):
    """Some messages of a window are not confirmed. `confirmed` holds the indices of those that are."""

    def __init__(self, failures: list[Failure], confirmed: frozenset[int]) -> None:
        self.failures = failures
        self.confirmed = confirmed
        more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
        super().__init__(f"not published: {failures[0]}{more}")

    @property
    def transient(self) -> bool:
        """True when no failure is about a message itself, so that the same window may be sent again as it is."""
        return all(failure.kind in ("timeout", "connection") for failure in self.failures)


def is_broker_fault(error: BaseException) -> bool:
    """Tell whether an error is the broker's or the network's, so that trying again later makes sense."""
    if isinstance(error, PublishError):
        return error.transient
    return isinstance(error, BrokerUnavailableError | AMQPError | ConnectionError | TimeoutError)
