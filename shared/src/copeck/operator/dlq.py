"""`copeck dlq`: messages that a service rejected. Their queues are emptied by a person, never by a timer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import aio_pika
import aiormq
import typer
from rich.console import Console

from copeck.messaging import topology
from copeck.messaging.deadletters import SCAN_MAX, DeadLetter, DeadLetters
from copeck.operator import context, registry, store
from copeck.operator.errors import OperatorError, UnreachableError
from copeck.operator.output import Json, emit, moment, table

app = typer.Typer(
    help="Messages that a service rejected: look, send again, drop.", no_args_is_help=True, rich_markup_mode=None
)

Queue = Annotated[str, typer.Argument(help="A dead-letter queue, as `copeck dlq list` names it.")]
MessageId = Annotated[str, typer.Argument(help="A message id.")]
MessageIds = Annotated[list[str], typer.Argument(help="Message ids.")]
_Answer = TypeVar("_Answer")


def dead_queues() -> list[str]:
    """Return every dead-letter queue of the topology."""
    return sorted(queue.name for queue in topology.queues() if queue.dead_letters is None)


def _ask(question: Callable[[DeadLetters], Awaitable[_Answer]]) -> _Answer:
    letters = DeadLetters(context.broker_url())

    async def ask() -> _Answer:
        return await question(letters)

    try:
        return asyncio.run(ask())
    except aiormq.exceptions.DeliveryError as error:
        raise OperatorError(f"the queue did not take the message; nothing was removed: {error}") from error
    except ValueError as error:
        raise OperatorError(str(error)) from error
    except (OSError, TimeoutError, aio_pika.exceptions.AMQPError, aiormq.exceptions.AMQPError) as error:
        raise UnreachableError(f"the broker is not reached or refuses: {type(error).__name__} {error}") from error


def _known(queue: str) -> str:
    if queue not in dead_queues():
        raise OperatorError(f"no dead-letter queue {queue}; there are {', '.join(dead_queues())}")
    return queue


def _reasons(letters: list[DeadLetter]) -> dict[str, str]:
    if not letters:
        return {}
    with context.database() as connection:
        return store.reasons(connection, [letter.message_id for letter in letters])


def _document(letter: DeadLetter, reasons: dict[str, str]) -> dict[str, Any]:
    return {
        "message_id": letter.message_id,
        "queue": letter.dead_queue,
        "source_queue": letter.source_queue,
        "type": letter.type,
        "sender": letter.sender,
        "died_at": letter.died_at,
        "cause": letter.cause,
        "reason": reasons.get(letter.message_id, ""),
    }


@app.command("list")
def list_(
    queue: Annotated[
        str | None, typer.Argument(help="One dead-letter queue; without it, how many are in each.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=SCAN_MAX, help="At most this many, the oldest first.")] = 100,
    as_json: Json = False,
) -> None:
    """Count the messages of every dead-letter queue, or list those of one with their reasons.

    Example: copeck dlq list subscriptions.events.dead
    """
    if queue is None:
        names = dead_queues()

        async def count(letters: DeadLetters) -> list[int]:
            return [await letters.count(name) for name in names]

        counts = [{"queue": name, "messages": number} for name, number in zip(names, _ask(count), strict=True)]
        cells = [(row["queue"], row["messages"]) for row in counts]
        emit(
            {"queues": counts},
            as_json,
            lambda console: console.print(table("Dead letters", ("queue", "messages"), cells, right=("messages",))),
        )
        return
    letters = _ask(lambda found: found.list(_known(queue), limit))
    reasons = _reasons(letters)
    rows = [_document(letter, reasons) for letter in letters]

    def show(console: Console) -> None:
        columns = ("message", "type", "from queue", "died", "cause", "reason")
        names = ("message_id", "type", "source_queue", "died_at", "cause", "reason")
        console.print(table(f"{queue}: {len(rows)} shown", columns, [[row[name] for name in names] for row in rows]))

    emit({"queue": queue, "messages": rows}, as_json, show)


@app.command()
def show(queue: Queue, message_id: MessageId, as_json: Json = False) -> None:
    """Show one message whole: attributes, body, why it died.

    Example: copeck dlq show subscriptions.events.dead 0190f5c2-…
    """
    letter = _ask(lambda found: found.show(_known(queue), message_id))
    if letter is None:
        raise OperatorError(f"no message {message_id} in {queue}")
    document = _document(letter, _reasons([letter])) | {"headers": letter.headers, "body": letter.body}

    def tell(console: Console) -> None:
        cells = [(name, moment(value) if name == "died_at" else value) for name, value in document.items()]
        console.print(table(f"Message {message_id}", ("what", "value"), cells))

    emit(document, as_json, tell)


@app.command()
def redrive(
    queue: Queue,
    message_ids: Annotated[list[str] | None, typer.Argument(help="Message ids; or --all.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every message of the queue.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=SCAN_MAX, help="At most this many.")] = SCAN_MAX,
    as_json: Json = False,
) -> None:
    """Send messages again, each to the queue in which it died. The inbox recognises what had its effect already.

    Example: copeck dlq redrive subscriptions.events.dead --all
    """
    if bool(message_ids) == everything:
        raise OperatorError("name the messages, or say --all")
    chosen = None if everything else set(message_ids or ())
    count = _ask(lambda found: found.redrive(_known(queue), chosen, limit))
    _record("dlq.redrive", queue, f"{count} messages: {', '.join(sorted(chosen)) if chosen else 'all'}")
    _outcome("sent again", queue, count, chosen, as_json)


@app.command()
def drop(
    queue: Queue,
    message_ids: MessageIds,
    reason: Annotated[str, typer.Option(help="Why they are not needed; it is recorded with your name.")],
    as_json: Json = False,
) -> None:
    """Delete messages, on the record.

    Example: copeck dlq drop gateway.events.dead 0190f5c2-… --reason "test traffic of the 3rd"
    """
    if not reason.strip():
        raise OperatorError("a reason must be given")
    chosen = set(message_ids)
    letters = _ask(lambda found: found.list(_known(queue), SCAN_MAX))
    lost = sorted(chosen - {letter.message_id for letter in letters})
    if lost:
        raise OperatorError(f"not in {queue}, so nothing was dropped: {', '.join(lost)}")
    # Recorded first: a message that is gone without a trace is what this tool exists to prevent.
    for letter in letters:
        if letter.message_id in chosen:
            _record("dlq.drop", queue, f"{reason} | {letter.message_id} {letter.type} {letter.body[:1500]}")
    count = _ask(lambda found: found.drop(queue, chosen))
    _outcome("dropped", queue, count, chosen, as_json)


def _record(action: str, subject: str, detail: str) -> None:
    with context.database(writes=True) as connection:
        registry.load_function(registry.ACTION_LOG)(connection, context.actor(), action, subject, detail)


def _outcome(word: str, queue: str, count: int, chosen: set[str] | None, as_json: bool) -> None:
    emit(
        {"queue": queue, "action": word, "count": count},
        as_json,
        lambda console: console.print(f"{count} messages of {queue} {word}"),
    )
    if chosen is not None and count < len(chosen):
        raise OperatorError(f"{len(chosen) - count} of the messages named were not in {queue}")
