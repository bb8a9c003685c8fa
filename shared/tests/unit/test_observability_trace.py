"""W3C traceparent and correlation ids: read strictly, made well, carried across every hop."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copeck.contracts.commands import InvoiceExpire
from copeck.contracts.envelope import Envelope
from copeck.kernel.ids import new_id
from copeck.observability.trace import (
    TraceMiddleware,
    current_correlation_id,
    current_trace,
    current_traceparent,
    headers_scope,
    message_scope,
    outgoing_headers,
    parse_traceparent,
    trace_scope,
)

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_traceparent_is_read() -> None:
    trace = parse_traceparent(GOOD)
    assert trace is not None
    assert (trace.trace_id, trace.span_id, trace.sampled) == (GOOD[3:35], GOOD[36:52], True)
    assert trace.traceparent == GOOD
    unsampled = parse_traceparent(GOOD[:-2] + "00")
    assert unsampled is not None
    assert not unsampled.sampled
    assert parse_traceparent(f"01{GOOD[2:]}-more") is not None


@pytest.mark.parametrize(
    "value",
    [
        None, "", "x", GOOD[:-1], GOOD + "0", f"ff{GOOD[2:]}", f"{GOOD}-more",
        GOOD.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        GOOD.replace("b7ad6b7169203331", "0" * 16), GOOD.replace("a", "g"), "00-" + "a" * 500, GOOD + "\n" + GOOD,
    ],
)  # fmt: skip
def test_what_is_not_a_traceparent_starts_a_trace(value: str | None) -> None:
    assert parse_traceparent(value) is None
    with trace_scope(value) as trace:
        assert parse_traceparent(trace.traceparent) is not None


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    parse_traceparent(text)


def test_a_scope_goes_on_with_its_parent_and_ends() -> None:
    assert current_trace() is None
    with trace_scope(GOOD, "purchase-7") as trace:
        assert trace.trace_id == GOOD[3:35]
        assert trace.parent_span_id == GOOD[36:52] != trace.span_id
        assert current_traceparent() == trace.traceparent
        assert current_correlation_id() == "purchase-7"
        with trace_scope(current_traceparent()) as inner:
            assert inner.trace_id == trace.trace_id
        assert current_trace() == trace
    assert current_trace() is None
    assert current_correlation_id() is None
    assert outgoing_headers() == {}


@pytest.mark.parametrize("value", ["a b", "x" * 129, "line\nbreak", "<script>", ""])
def test_a_bad_correlation_id_is_replaced(value: str) -> None:
    with trace_scope(correlation_id=value) as trace:
        assert current_correlation_id() == trace.trace_id


def test_headers_carry_everything_to_the_next_hop() -> None:
    with trace_scope(GOOD, "purchase-7"):
        headers = outgoing_headers()
    with headers_scope(headers) as next_hop:
        assert next_hop.trace_id == GOOD[3:35]
        assert current_correlation_id() == "purchase-7"
    with headers_scope({"traceparent": 7, "x-correlation-id": b"x"}) as fresh:
        assert fresh.trace_id != GOOD[3:35]


def test_a_handler_runs_in_the_trace_of_its_message() -> None:
    data = InvoiceExpire(account="customer:1", invoice_id=new_id())
    with message_scope(Envelope.new(data, source="reminders", traceparent=GOOD, correlation_id="c-1")) as trace:
        assert trace.trace_id == GOOD[3:35]
        assert current_correlation_id() == "c-1"


async def test_tasks_at_the_same_time_do_not_mix() -> None:
    async def work(correlation: str) -> tuple[str | None, str | None]:
        with trace_scope(correlation_id=correlation):
            before = current_correlation_id()
            await asyncio.sleep(0.001)
            return before, current_correlation_id()

    results = await asyncio.gather(*(work(f"c-{n}") for n in range(20)))
    assert results == [(f"c-{n}", f"c-{n}") for n in range(20)]


async def test_the_middleware_answers_with_the_trace() -> None:
    sent: list[MutableMapping[str, Any]] = []
    seen: list[str | None] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        seen.append(current_correlation_id())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> MutableMapping[str, Any]:
        return {}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [(b"traceparent", GOOD.encode()), (b"x-correlation-id", b"purchase-7")]
    await TraceMiddleware(app)({"type": "http", "headers": headers}, receive, send)
    answer = dict(sent[0]["headers"])
    assert answer[b"traceparent"].decode()[3:35] == GOOD[3:35]
    assert answer[b"x-correlation-id"] == b"purchase-7"
    assert answer[b"x"] == b"y"
    assert seen == ["purchase-7"]
    await TraceMiddleware(app)({"type": "lifespan"}, receive, send)
    assert seen[-1] is None
