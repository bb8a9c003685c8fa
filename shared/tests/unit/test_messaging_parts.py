"""The parts of messaging that need no broker: frames, delays, errors, settings of Celery, and how fast modules load."""

import asyncio
import subprocess
import sys

import aiormq
import pamqp.frame
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from sqlalchemy.exc import OperationalError

from copeck.contracts.commands import InvoiceExpire
from copeck.contracts.envelope import Envelope
from copeck.kernel.ids import new_id
from copeck.messaging.backoff import Backoff
from copeck.messaging.celery import make_celery, worker_command
from copeck.messaging.connection import loss_instead_of_cancellation, safe_url, user_of, with_heartbeat
from copeck.messaging.errors import BrokerUnavailableError, Failure, PublishError, is_broker_fault
from copeck.messaging.frames import encode_publish
from copeck.messaging.publisher import OutgoingMessage
from copeck.messaging.topology import CELERY_QUEUES, celery_queues
from copeck.storage.engine import driver_url, libpq_url
from copeck.storage.errors import is_transient, sqlstate_of
from copeck.storage.roles import LOGINS, ROLES, SCHEMAS

SHORT = st.text(max_size=60)


@given(
    st.dictionaries(SHORT, st.text(max_size=300), max_size=12),
    st.binary(max_size=10_000),
    SHORT,
    SHORT,
    st.integers(1, 65535),
)
def test_frames_are_what_the_library_reads(
    headers: dict[str, str], body: bytes, exchange: str, routing_key: str, channel: int
) -> None:
    data = encode_publish(
        channel=channel,
        exchange=exchange,
        routing_key=routing_key,
        body=body,
        headers=headers,
        message_id="0192f0c1-1111-7222-8333-444455556666",
        type_name="invoice.expire",
        content_type="application/json",
        user_id="reminders",
        timestamp_s=1_790_000_000,
        body_bytes_max=4000,
    )
    frames = []
    while data:
        size, number, frame = pamqp.frame.unmarshal(data)
        assert number == channel
        frames.append(frame)
        data = data[size:]
    publish, header, *bodies = frames
    assert isinstance(publish, spec.Basic.Publish)
    assert (publish.exchange, publish.routing_key, publish.mandatory, publish.immediate) == (
        exchange, routing_key, True, False,
    )  # fmt: skip
    assert isinstance(header, ContentHeader)
    properties = header.properties
    assert header.body_size == len(body)
    assert properties.headers == headers
    assert (properties.delivery_mode, properties.content_type, properties.user_id, properties.message_type) == (
        2, "application/json", "reminders", "invoice.expire",
    )  # fmt: skip
    assert properties.message_id == "0192f0c1-1111-7222-8333-444455556666"
    assert properties.timestamp is not None
    assert int(properties.timestamp.timestamp()) == 1_790_000_000
    assert all(isinstance(part, ContentBody) for part in bodies)
    assert b"".join(part.value or b"" for part in bodies if isinstance(part, ContentBody)) == body


def test_a_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="255"):
        encode_publish(
            channel=1, exchange="x" * 300, routing_key="", body=b"", headers={}, message_id="", type_name="",
            content_type="", user_id="", timestamp_s=0, body_bytes_max=4000,
        )  # fmt: skip


async def test_a_cancellation_from_inside_the_library_is_a_loss_and_ours_is_not() -> None:
    async def library() -> None:
        with loss_instead_of_cancellation():
            raise asyncio.CancelledError

    with pytest.raises(BrokerUnavailableError):
        await library()

    async def forever() -> None:
        with loss_instead_of_cancellation():
            await asyncio.Event().wait()

    task = asyncio.create_task(forever())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await forever()


def test_an_envelope_becomes_a_message() -> None:
    envelope = Envelope.new(InvoiceExpire(account="customer:1", invoice_id=new_id()), source="reminders")
    message = OutgoingMessage.of(envelope)
    assert message.message_id == str(envelope.id)
    assert message.exchange == "billing.commands"
    assert message.routing_key.startswith("invoice.expire.")
    again = Envelope.parse(dict(message.headers), message.body, message_id=message.message_id)
    assert again.data == envelope.data


def test_delays_grow_to_a_cap_with_jitter() -> None:
    backoff = Backoff(0.1, 5.0)
    for attempt, whole in ((0, 0.1), (1, 0.2), (5, 3.2), (6, 5.0), (10_000, 5.0)):
        delays = [backoff.delay_s(attempt) for _ in range(50)]
        assert whole / 2 <= min(delays) <= max(delays) <= whole
        assert len(set(delays)) > 1


def test_which_faults_are_the_brokers() -> None:
    def failed(kind: str) -> PublishError:
        return PublishError([Failure(0, "m", "e", "k", kind)], frozenset())  # type: ignore[arg-type]

    for error in (
        BrokerUnavailableError(), ConnectionResetError(), TimeoutError(), failed("timeout"), failed("connection"),
        aiormq.exceptions.ConnectionClosed(320, "x"),
    ):  # fmt: skip
        assert is_broker_fault(error), error
    for other in (failed("returned"), failed("nacked"), failed("refused"), ValueError()):
        assert not is_broker_fault(other), other
    assert "2 more" in str(PublishError([Failure(n, "m", "e", "k", "returned") for n in range(3)], frozenset()))


@pytest.mark.parametrize("code", ["40P01", "40001", "57P01", "57P02", "57P03", "08006", "53300", "55P03", "57014"])
def test_which_faults_of_postgres_pass(code: str) -> None:
    error = psycopg.errors.lookup(code)()
    wrapped = OperationalError("SELECT 1", {}, error)
    assert sqlstate_of(error) == sqlstate_of(wrapped) == code
    assert is_transient(error)
    assert is_transient(wrapped)


@pytest.mark.parametrize("code", ["23505", "23514", "22P02", "42501", "42703", "22001"])
def test_which_do_not(code: str) -> None:
    assert not is_transient(psycopg.errors.lookup(code)())


def test_a_connection_that_was_never_made_passes() -> None:
    assert is_transient(psycopg.OperationalError("connection refused"))
    assert not is_transient(KeyError())


def test_urls_show_no_password() -> None:
    url = "amqp://gateway:hunter2@rabbit:5672/billing"
    assert "hunter2" not in safe_url(url)
    assert user_of(url) == "gateway"
    assert with_heartbeat(url).query["heartbeat"] == "10"
    assert with_heartbeat(f"{url}?heartbeat=3").query["heartbeat"] == "3"
    with pytest.raises(ValueError, match="user"):
        user_of("amqp://rabbit/billing")
    assert libpq_url("postgresql+psycopg://u:p@h/d") == "postgresql://u:p@h/d"
    assert driver_url("postgresql://u:p@h/d").drivername == "postgresql+psycopg"
    with pytest.raises(ValueError, match="postgresql"):
        driver_url("mysql://u@h/d")


def test_celery_is_set_up_to_lose_nothing_and_to_use_nothing_that_goes_away() -> None:
    class Settings:
        celery_broker_url = "amqp://gateway:x@127.0.0.1:1/celery"

    app = make_celery("gateway", Settings())
    conf = app.conf
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.broker_transport_options["confirm_publish"]
    assert 0 < conf.task_soft_time_limit < conf.task_time_limit
    assert conf.task_default_queue_type == conf.broker_native_delayed_delivery_queue_type == "quorum"
    assert conf.worker_prefetch_multiplier == 1
    assert conf.accept_content == ["json"]
    for queue in conf.task_queues:
        assert queue.queue_arguments["x-queue-type"] == "quorum"
        assert queue.queue_arguments["x-delivery-limit"] > 0
        assert queue.durable
        assert not queue.auto_delete
    # Transient queues that are not exclusive, and global prefetch, are deprecated by RabbitMQ 4.
    assert not conf.worker_enable_remote_control
    assert {"--without-gossip", "--without-mingle", "--without-heartbeat"} <= set(worker_command("gateway"))
    assert set(celery_queues()) == {queue.name for queue in conf.task_queues}
    listened = worker_command("gateway")
    assert listened[listened.index("-Q") + 1].split(",") == list(CELERY_QUEUES["gateway"])
    app.close()


def test_every_service_has_a_role_and_a_schema_of_its_own() -> None:
    assert len({role.schema for role in ROLES}) == len(ROLES)
    assert {role.schema for role in ROLES} | {"state_api"} == set(SCHEMAS)
    assert {role.name for role in ROLES} < set(LOGINS)


@pytest.mark.parametrize(
    "module",
    ["copeck.messaging.consumer", "copeck.messaging.outbox", "copeck.storage.engine", "copeck.observability.logs"],
)
def test_production_code_does_not_load_the_test_kit(module: str) -> None:
    script = f"import sys, {module}; print([name for name in sys.modules if 'testkit' in name or name == 'pytest'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
