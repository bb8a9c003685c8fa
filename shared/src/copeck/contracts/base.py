"""What every message has in common: strict types, unknown fields ignored, a type and a version."""

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from copeck.kernel.money import EXPONENTS, MINOR_MAX


class ContractError(Exception):
    """A message that cannot be read: an unknown type, a body outside its contract, a bad attribute."""


class Message(BaseModel):
    """The data of one message. Contracts grow only: fields are added with defaults, never renamed or removed."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", ser_json_timedelta="float")

    TYPE: ClassVar[str]
    VERSION: ClassVar[int] = 1

    def subject(self) -> str:
        """Return the id of the aggregate that the message is about."""
        raise TypeError(f"{type(self).__name__} does not say what it is about")


class Command(Message):
    """What somebody asks of the state updater. `account` is the account whose money may move: it chooses the shard."""

    account: "AccountName"


AccountName = Annotated[str, Field(pattern=r"^[a-z_]+(:[A-Za-z0-9_.\-]{1,64}){1,3}$", max_length=120)]
"""An account of the books, or a payer that owns no wallet: `wallet:<user>`, `merchant:<id>`, `customer:<user>`."""

Currency = Annotated[str, Field(pattern="^(" + "|".join(sorted(EXPONENTS)) + ")$")]
AmountMinor = Annotated[int, Field(gt=0, le=MINOR_MAX)]
AmountMinorOrZero = Annotated[int, Field(ge=0, le=MINOR_MAX)]
Text = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
Word = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f]+$")]
References = Annotated[dict[str, str], Field(max_length=16)]

LatePolicy = Literal["refund", "wallet", "accept"]
CaptureMode = Literal["automatic", "manual"]
InvoiceKind = Literal["subscription", "coffee", "topup", "manual"]

__all__ = [
    "UUID",
    "AccountName",
    "AmountMinor",
    "AmountMinorOrZero",
    "CaptureMode",
    "Command",
    "ContractError",
    "Currency",
    "InvoiceKind",
    "LatePolicy",
    "Message",
    "References",
    "Text",
    "Word",
]
