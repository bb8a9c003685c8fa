"""`copeck quarantine`: messages to the updater that could not be judged."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from billing_state_updater.decoding import ORIGINAL_SENDER
from billing_state_updater.store import operators as store
from copeck.contracts.base import Command, ContractError
from copeck.contracts.envelope import Envelope
from copeck.contracts.registry import shard_of, shard_queue
from copeck.kernel.ids import new_id
from copeck.messaging.publisher import OutgoingMessage, Publisher
from copeck.operator.context import actor, broker_url, database
from copeck.operator.errors import OperatorError
from copeck.operator.output import Json, emit, moment, table

app = typer.Typer(
    help="Messages that could not be judged: look, send again, close.", no_args_is_help=True, rich_markup_mode=None
)

_LIMIT_MAX = 10_000
Identity = Annotated[UUID, typer.Argument(help="The id that `copeck quarantine list` shows.")]


def _one(identity: UUID) -> dict[str, Any]:
    with database() as connection:
        found = store.quarantined_one(connection, identity)
    if found is None:
        raise OperatorError(f"no message {identity} in quarantine")
    return found


def _type(row: dict[str, Any]) -> str:
    return str(row["headers"].get("cloudEvents:type", ""))


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Those that are resolved too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=_LIMIT_MAX, help="At most this many, the oldest first.")] = 100,
    as_json: Json = False,
) -> None:
    """List the messages that wait for a decision, with the reasons why they could not be judged.

    Example: copeck quarantine list --all
    """
    with database() as connection:
        rows = store.quarantined(connection, resolved=everything, limit=limit)
    listed = [
        {
            "id": row["id"],
            "at": row["at"],
            "shard": row["shard"],
            "type": _type(row),
            "sender": row["sender"],
            "message_id": row["message_id"],
            "reason": row["reason"],
            "resolved_at": row["resolved_at"],
            "resolution": row["resolution"],
        }
        for row in rows
    ]

    def show(console: Console) -> None:
        names = ("id", "at", "type", "sender", "reason", "resolution")
        console.print(table(f"Quarantine: {len(listed)} shown", names, [[row[n] for n in names] for row in listed]))

    emit({"messages": listed}, as_json, show)


@app.command()
def show(identity: Identity, as_json: Json = False) -> None:
    """Show one message whole, as it arrived.

    Example: copeck quarantine show 5f0c1a52-…
    """
    row = _one(identity)

    def tell(console: Console) -> None:
        cells = [(name, moment(value) if name in ("at", "resolved_at") else value) for name, value in row.items()]
        console.print(table(f"Quarantine {identity}", ("what", "value"), cells))

    emit(row, as_json, tell)


@app.command()
def replay(identity: Identity, as_json: Json = False) -> None:
    """Send a message again, once what made it unreadable is mended; it is judged as if it came now.

    It gets a new id with the old one as its cause, and keeps the sender whom the broker verified. A replay that broke
    off is repeated under the same new id, so that it has one effect.

    Example: copeck quarantine replay 5f0c1a52-…
    """
    row = _one(identity)
    if row["resolved_at"] is not None:
        raise OperatorError(f"{identity} was resolved at {moment(row['resolved_at'])}: {row['resolution']}")
    if not row["body"] or not _type(row):
        raise OperatorError(f"{identity} holds no message that could be sent: {row['reason']}")
    with database(writes=True) as connection:
        message_id = store.begin_replay(connection, identity, new_id(), actor())
    if message_id is None:
        raise OperatorError(f"{identity} was resolved by somebody else just now")
    message = again(row, message_id)
    asyncio.run(_publish(message))
    resolution = f"replayed as {message_id} to {message.routing_key}"
    with database(writes=True) as connection:
        store.resolve(connection, identity, resolution, actor())
    emit(
        {"id": identity, "message_id": message_id, "queue": message.routing_key, "resolution": resolution},
        as_json,
        lambda console: console.print(resolution),
    )


@app.command()
def close(
    identity: Identity,
    reason: Annotated[str, typer.Option(help="Why nothing has to be done; it is recorded with your name.")],
    as_json: Json = False,
) -> None:
    """Close a message without sending it again, on the record.

    Example: copeck quarantine close 5f0c1a52-… --reason "a test of the provider's; refunded by hand, ticket 812"
    """
    if not reason.strip():
        raise OperatorError("a reason must be given")
    _one(identity)
    with database(writes=True) as connection:
        if not store.resolve(connection, identity, f"closed: {reason}", actor()):
            raise OperatorError(f"{identity} is resolved already")
    emit({"id": identity, "resolution": reason}, as_json, lambda console: console.print(f"{identity} is closed"))


def again(row: dict[str, Any], message_id: UUID) -> OutgoingMessage:
    """Return the message as it is sent again: through the default exchange, straight to its shard's queue."""
    headers = {name: value for name, value in row["headers"].items() if isinstance(value, str)}
    headers["cloudEvents:id"] = str(message_id)
    if original := _uuid_or_none(row["message_id"]):
        headers["cloudEvents:causeid"] = str(original)
    # An operator may send any message, so the one whom the broker once verified is named: the updater believes this
    # header from the user operator alone.
    headers.setdefault(ORIGINAL_SENDER, row["sender"])
    return OutgoingMessage(str(message_id), "", shard_queue(_shard(row, headers)), bytes(row["body"]), headers, "")


def _shard(row: dict[str, Any], headers: dict[str, str]) -> int:
    """Return the shard of the message's account, where it can be read; else the one that it came to."""
    try:
        data = Envelope.parse(dict(headers), bytes(row["body"])).data
    except (ContractError, ValueError):
        return int(row["shard"])
    return shard_of(data.account) if isinstance(data, Command) else int(row["shard"])


def _uuid_or_none(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


async def _publish(message: OutgoingMessage) -> None:
    publisher = await Publisher.connect(broker_url(), name="copeck-operator")
    try:
        await publisher.publish_window([message])
    finally:
        await publisher.close()
