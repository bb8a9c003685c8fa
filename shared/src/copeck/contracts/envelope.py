"""The envelope: CloudEvents 1.0 attributes as AMQP headers (binary content mode), JSON as the body."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from copeck.contracts.base import ContractError, Message
from copeck.contracts.registry import Entry, entry_of, routing_key
from copeck.kernel.clock import Clock, SystemClock
from copeck.kernel.ids import is_v7, new_id

BODY_BYTES_MAX = 64 * 1024
CONTENT_TYPE = "application/json"
_PREFIX = "cloudEvents:"
_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message with everything that travels beside its data.

    `id` is its message id and dedupe key (UUIDv7); `source` the sending service; `subject` the aggregate;
    `correlation_id` holds a whole story together; `cause_id` is the message that led to this one;
    `sender` is the broker-verified user, known only on arrival.
    """

    id: UUID
    type: str
    version: int
    source: str
    subject: str
    time: datetime
    data: Message
    traceparent: str | None = None
    correlation_id: str | None = None
    cause_id: UUID | None = None
    sender: str | None = None

    @classmethod
    def new(
        cls,
        data: Message,
        *,
        source: str,
        clock: Clock = _clock,
        id: UUID | None = None,
        traceparent: str | None = None,
        correlation_id: str | None = None,
        cause_id: UUID | None = None,
    ) -> "Envelope":
        """Wrap data for sending; the subject is the aggregate that the data names."""
        return cls(
            id=id or new_id(),
            type=data.TYPE,
            version=data.VERSION,
            source=source,
            subject=data.subject(),
            time=clock.now(),
            data=data,
            traceparent=traceparent,
            correlation_id=correlation_id,
            cause_id=cause_id,
        )

    @property
    def entry(self) -> Entry:
        """Return what the registry says of the type."""
        return entry_of(self.type)

    @property
    def exchange(self) -> str:
        """Return the exchange to publish to."""
        return self.entry.exchange

    @property
    def routing_key(self) -> str:
        """Return the routing key to publish with."""
        return routing_key(self.data)

    def headers(self) -> dict[str, str]:
        """Return the AMQP headers."""
        headers = {
            "cloudEvents:specversion": "1.0",
            "cloudEvents:id": str(self.id),
            "cloudEvents:source": self.source,
            "cloudEvents:type": f"{self.type}.v{self.version}",
            "cloudEvents:subject": self.subject,
            "cloudEvents:time": self.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        }
        if self.traceparent:
            headers["cloudEvents:traceparent"] = self.traceparent
        if self.correlation_id:
            headers["cloudEvents:correlationid"] = self.correlation_id
        if self.cause_id:
            headers["cloudEvents:causeid"] = str(self.cause_id)
        return headers

    def body(self) -> bytes:
        """Return the data as JSON bytes."""
        return self.data.__pydantic_serializer__.to_json(self.data)

    @classmethod
    def parse(
        cls,
        headers: dict[str, Any],
        body: bytes,
        *,
        message_id: str | None = None,
        sender: str | None = None,
    ) -> "Envelope":
        """Read a message; ContractError with a reason for every way in which it can be wrong."""
        type_name, version = _type_of(headers)
        entry = entry_of(type_name)
        identifier = _uuid_of(headers, "id")
        if identifier is None or not is_v7(identifier):
            raise ContractError("the id is not a UUID version 7")
        if message_id is not None and message_id != str(identifier):
            raise ContractError("the message id of the broker and the id of the envelope differ")
        if len(body) > BODY_BYTES_MAX:
            raise ContractError(f"the body is larger than {BODY_BYTES_MAX} bytes")
        try:
            data = entry.model.__pydantic_validator__.validate_json(body)
            time = datetime.fromisoformat(_text_of(headers, "time") or "")
        except ValidationError as error:
            raise ContractError(describe(error)) from error
        except ValueError as error:
            raise ContractError(f"the time is not a time: {error}") from error
        return cls(
            id=identifier,
            type=type_name,
            version=version,
            source=_text_of(headers, "source") or "",
            subject=_text_of(headers, "subject") or "",
            time=time,
            data=data,
            traceparent=_text_of(headers, "traceparent"),
            correlation_id=_text_of(headers, "correlationid"),
            cause_id=_uuid_of(headers, "causeid"),
            sender=sender,
        )


def describe(error: ValidationError) -> str:
    """Say which fields are wrong and why, without their values: they may be what must not be logged."""
    parts = (
        f"{'.'.join(str(step) for step in item['loc']) or 'body'}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)[:5]
    )
    return "; ".join(parts)


def _type_of(headers: dict[str, Any]) -> tuple[str, int]:
    text = _text_of(headers, "type") or ""
    name, _, version = text.rpartition(".v")
    if not name or not version.isdigit() or len(version) > 3:
        raise ContractError(f"the type {text[:80]!r} is not a name with a version")
    model_version = entry_of(name).model.VERSION
    if int(version) > model_version:
        raise ContractError(f"{name} is known up to version {model_version}, not {version}")
    return name, int(version)


def _text_of(headers: dict[str, Any], name: str) -> str | None:
    value = headers.get(_PREFIX + name)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value[:512] if isinstance(value, str) else None


def _uuid_of(headers: dict[str, Any], name: str) -> UUID | None:
    text = _text_of(headers, name)
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError as error:
        raise ContractError(f"{name} is not a UUID") from error
