"""Whole lives of payouts, batches and corrections, with a real updater, its books, and the word of the provider."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from copeck.contracts import commands
from copeck.contracts.envelope import Envelope
from copeck.contracts.events import CommandRefused, PayoutPending
from copeck.kernel.money import Money
from copeck.testkit.rabbit import Broker
from copeck.testkit.tokens import TokenMint
from copeck.testkit.waiting import eventually
from payments_gateway import tables
from payments_gateway.composition import make_context
from payments_gateway.domain.routing import Shops
from payments_gateway.handlers import batches, metrics, operations
from payments_gateway.handlers.events import Events
from payments_gateway.settings import GatewaySettings
from payments_gateway.store import operations as operation_store
from tests.support.updater import rows, send

from .payout_house import House, decided, house_of
from .payout_world import MOCK_SECRET, MockGateway, mock_process

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ABOVE = "150000.00"


@pytest.fixture(scope="module")
async def mock_running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MockGateway]:
    async with mock_process(tmp_path_factory.mktemp("mock")) as running:
        yield running


@pytest.fixture
async def provider(mock_running: MockGateway) -> MockGateway:
    await mock_running.client.post("/sandbox/reset")
    return mock_running


@pytest.fixture
async def house(
    provider: MockGateway,
    database_urls: dict[str, str],
    broker: Broker,
    jwks_url: str,
    token_mint: TokenMint,
    service_environment: Callable[..., dict[str, str]],
) -> AsyncIterator[House]:
    shop = {"provider": "mock", "shop": "main", "public_id": "mock_test", "api_secret": MOCK_SECRET}
    settings = GatewaySettings.model_validate(
        {"database_url": database_urls["gateway"], "shops": [shop], "jwks_url": jwks_url,
         "mock_gateway_url": provider.url}
    )  # fmt: skip
    context = make_context(settings, pool_size=8)
    async with house_of(settings, context, token_mint) as made:
        made.database_url = database_urls["admin"]
        async with decided(made, broker, service_environment):
            yield made
    await context.close()


async def transfers(house: House, payout_id: str) -> list[tuple[Any, ...]]:
    statement = "SELECT debit_account, credit_account, amount_minor, kind FROM state.transfers WHERE aggregate_id = %s"
    return await rows(house.database_url, f"{statement} ORDER BY at, n", UUID(payout_id))


async def test_a_payout_is_made_and_its_history_tells_of_it(house: House) -> None:
    payout_id = await house.payout()
    assert (await house.becomes(payout_id, "pending"))["attempts"] == 1
    await house.report(payout_id, "processing")
    await house.becomes(payout_id, "processing")
    refused = await house.manager.call("POST", f"/payouts/{payout_id}/cancel")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:copeck:problem:payout-status")
    await house.report(payout_id, "completed", transaction="tx-1")
    done = await house.becomes(payout_id, "completed")
    assert (done["transaction"], done["last_error"], done["failure"]) == ("tx-1", None, None)
    assert [step["event"] for step in done["history"]] == ["asked_for", "requested", "started", "completed"]
    assert (await transfers(house, payout_id))[-1] == (
        "payouts:in_transit",
        "provider:mock:main",
        15_000,
        "payout_settlement",
    )
    listed = (await house.manager.call("GET", "/payouts", params={"status": "completed"})).json()["items"]
    assert [item["id"] for item in listed] == [payout_id]


async def test_a_failed_payout_says_why_and_is_tried_again(house: House) -> None:
    payout_id = await house.payout()
    await house.report(payout_id, "unknown")

    async def unknown() -> bool:
        return bool((await house.seen(payout_id))["outcome_unknown"])

    await eventually(unknown, timeout_s=20)
    early = await house.manager.call("POST", f"/payouts/{payout_id}/retry")
    assert (early.status_code, early.json()["type"]) == (409, "urn:copeck:problem:payout-outcome-unknown")
    await house.report(payout_id, "failed", failure_code="rejected", failure_reason="the bank says no")
    await house.becomes(payout_id, "failed")
    (failed,) = (await house.manager.call("GET", "/payouts", params={"status": "failed"})).json()["items"]
    assert (failed["last_error"], failed["failure"]["words"]) == ("rejected", "The provider refused")
    again = await house.manager.call("POST", f"/payouts/{payout_id}/retry", key="r", wait=True)
    assert (again.status_code, again.json()["status"]) == (200, "pending")
    once = await house.manager.call("POST", f"/payouts/{payout_id}/retry", key="r")
    assert once.json()["command_id"] == again.json()["command_id"]
    assert (await house.seen(payout_id))["attempts"] == 2
    assert len([row for row in await transfers(house, payout_id) if row[3] == "payout"]) == 2


async def test_a_short_source_ends_as_failed_with_nothing_debited(house: House) -> None:
    merchant = house.someone("merchant")
    source = f"merchant:{merchant.user_id}"
    answer = (await house.ask(merchant, source=source)).json()
    assert (answer["status"], answer["last_error"]) == ("failed", "insufficient_funds")
    assert "nothing was debited" in answer["failure"]["words"]
    assert await transfers(house, answer["id"]) == []
    refused = await merchant.call("POST", f"/payouts/{answer['id']}/retry", wait=True)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:copeck:problem:command-refused")
    assert "insufficient_funds" in refused.json()["detail"]
    # Whoever was not waiting finds it in the history, beside who asked for it.
    *_, deed, step = (await house.seen(answer["id"], merchant))["history"]
    assert (deed["event"], deed["actor"], step["event"]) == ("retry", merchant.actor, "refused")
    assert (step["detail"]["asked_for"], step["detail"]["code"]) == ("retry", "insufficient_funds")
    assert step["detail"]["command_id"] == deed["detail"]["command_id"]
    assert step["detail"]["reason"] in refused.json()["detail"]


async def test_a_retry_waits_for_the_second_manager_who_was_never_asked(house: House) -> None:
    """Above the limit a short source fails at once, and nobody skips the approval by trying it again."""
    merchant = house.someone("merchant")
    source = f"merchant:{merchant.user_id}"
    answer = (await house.ask(merchant, source=source, value=ABOVE)).json()
    assert (answer["status"], answer["last_error"]) == ("failed", "insufficient_funds")
    assert await transfers(house, answer["id"]) == []
    path = f"/payouts/{answer['id']}"
    assert (await house.manager.call("POST", f"{path}/approve")).status_code == 409
    made = await correction(house, credit=source, amount={"value": "200000.00", "currency": "RUB"})
    await house.other_manager.call("POST", f"/corrections/{made['id']}/approve", wait=True)
    again = await merchant.call("POST", f"{path}/retry", wait=True)
    assert (again.status_code, again.json()["status"]) == (200, "awaiting_approval")
    assert (again.json()["last_error"], await transfers(house, answer["id"])) == (None, [])
    assert (await house.seen(answer["id"]))["attempts"] == 0
    done = await house.manager.call("POST", f"{path}/approve", wait=True)
    assert (done.status_code, done.json()["status"]) == (200, "pending")
    assert [row[3] for row in await transfers(house, answer["id"])] == ["payout"]
    await house.report(answer["id"], "failed", failure_code="rejected")
    await house.becomes(answer["id"], "failed")
    # It has been agreed to, and is tried again without asking anew.
    last = await merchant.call("POST", f"{path}/retry", wait=True)
    assert (last.status_code, last.json()["status"]) == (200, "pending")


async def test_above_the_limit_another_manager_approves_if_the_provider_has_the_money(
    house: House, provider: MockGateway
) -> None:
    await provider.balance("149999.99")
    payout_id = await house.payout(value=ABOVE)
    assert (await house.becomes(payout_id, "awaiting_approval"))["needs_approval"] is True
    path = f"/payouts/{payout_id}/approve"
    own = await house.manager.call("POST", path)
    assert (own.status_code, own.json()["type"]) == (403, "urn:copeck:problem:own-payout")
    short = await house.other_manager.call("POST", path)
    assert (short.status_code, short.json()["type"]) == (409, "urn:copeck:problem:provider-balance-short")
    assert "149999.99 RUB" in short.json()["detail"]
    assert await transfers(house, payout_id) == []
    assert (await house.seen(payout_id))["status"] == "awaiting_approval"
    await provider.balance(ABOVE)
    done = await house.other_manager.call("POST", path, wait=True)
    assert (done.status_code, done.json()["status"]) == (200, "pending")
    shown = await house.seen(payout_id)
    assert (shown["requested_by"], shown["approved_by"]) == (house.manager.actor, house.other_manager.actor)
    assert (await house.other_manager.call("POST", path)).status_code == 409


async def test_the_updater_refuses_ones_own_approval_too(house: House) -> None:
    payout_id = await house.payout(value=ABOVE)
    await house.becomes(payout_id, "awaiting_approval")
    assert house.broker is not None
    word = commands.PayoutApprove(account="house:payouts", payout_id=UUID(payout_id), actor=house.manager.actor)
    (command_id,) = await send(house.broker, "gateway", [word])

    async def refused() -> bool:
        found = await rows(house.database_url, "SELECT code FROM state.refusals WHERE command_id = %s", command_id)
        return found == [("own_payout",)]

    await eventually(refused, timeout_s=20)
    assert (await house.seen(payout_id))["status"] == "awaiting_approval"


async def test_a_draft_is_submitted_canceled_or_deleted(house: House) -> None:
    draft, other, third = [await house.payout(draft=True) for _ in range(3)]
    manager = house.manager
    assert (await house.becomes(draft, "draft"))["attempts"] == 0
    sent = await manager.call("POST", f"/payouts/{draft}/submit", wait=True)
    assert (sent.status_code, sent.json()["status"]) == (200, "pending")
    assert (await manager.call("POST", f"/payouts/{draft}/submit")).status_code == 409
    assert (await manager.call("DELETE", f"/payouts/{draft}")).status_code == 409
    back = await manager.call("POST", f"/payouts/{draft}/cancel", json={"reason": "too early"}, wait=True)
    assert back.json()["status"] == "canceled"
    assert [row[3] for row in await transfers(house, draft)] == ["payout", "payout_reversal"]
    for payout_id in (draft, other):
        assert (await manager.call("DELETE", f"/payouts/{payout_id}")).status_code == 204
        assert (await manager.call("GET", f"/payouts/{payout_id}")).status_code == 404
        assert (await manager.call("DELETE", f"/payouts/{payout_id}")).status_code == 404

    async def canceled() -> bool:
        return await rows(house.database_url, "SELECT status FROM state.payouts WHERE id = %s", UUID(other)) == [
            ("canceled",)
        ]

    await eventually(canceled, timeout_s=20)
    listed = (await manager.call("GET", "/payouts")).json()["items"]
    assert [item["id"] for item in listed] == [third]
    async with house.context.database.reading() as tx:
        deeds = (await tx.execute(sa.select(tables.audit.c.action).order_by(tables.audit.c.id))).scalars().all()
    assert deeds == ["submit", "cancel", "delete", "delete"]


async def begun(house: House, payout_id: str) -> UUID:
    """Have a payout announced, and the updater take that; returns the operation that is to send it."""
    told = PayoutPending(
        payout_id=UUID(payout_id), version=1, status="pending", account="house:payouts", amount_minor=15_000,
        currency="RUB", provider="mock", shop="main", recipient="***", attempt=1,
    )  # fmt: skip
    await Events(house.context).handle(Envelope.new(told, source="state-updater"))
    [(operation_id,)] = await rows(house.database_url, "SELECT id FROM gateway.operations")
    assert await operations.execute(house.context, operation_id) == "announced"
    await house.becomes(payout_id, "processing")
    return UUID(str(operation_id))


@pytest.mark.parametrize("waits_for", ["balance", "shop"])
async def test_a_manager_stops_what_is_under_way_and_was_never_sent(
    house: House, provider: MockGateway, waits_for: str
) -> None:
    payout_id = await house.payout()
    operation_id = await begun(house, payout_id)
    if waits_for == "balance":
        # It was there when this payout was announced, and others had it.
        house.context.balances.learn(("mock", "main", "RUB"), Money(0, "RUB"), time.monotonic() + 60)
    else:
        house.context.shops = Shops([])
    alarm = metrics.OPERATIONS_ALARM.labels("payout")._value
    before = alarm.get()
    assert await operations.execute(house.context, operation_id) == "put off"
    assert alarm.get() == before + (waits_for == "shop")
    why = {"balance": "provider_balance_short", "shop": "the shop is not configured"}[waits_for]
    waiting = "SELECT status, attempts, failure_reason FROM gateway.operations"
    assert await rows(house.database_url, waiting) == [("ready", 0, why)]
    path, body = f"/payouts/{payout_id}/cancel", {"reason": "no money till Monday"}
    stopped = await house.manager.call("POST", path, key="stop", json=body, wait=True)
    assert (stopped.status_code, stopped.json()["status"]) == (200, "failed")
    assert (await house.manager.call("POST", path, key="stop", json=body)).status_code == 202
    shown = await house.seen(payout_id)
    assert (shown["last_error"], shown["failure"]["reason"]) == ("canceled_before_sending", "no money till Monday")
    assert [row[3] for row in await transfers(house, payout_id)] == ["payout", "payout_reversal"]
    assert await operations.execute(house.context, operation_id) == "finished"
    assert await provider.transfers() == {}
    again = await house.manager.call("POST", f"/payouts/{payout_id}/retry", wait=True)
    assert (again.json()["status"], (await house.seen(payout_id))["attempts"]) == ("pending", 2)


async def test_i08_what_may_have_been_sent_is_stopped_by_nobody(house: House, provider: MockGateway) -> None:
    payout_id = await house.payout()
    operation_id = await begun(house, payout_id)
    await provider.arm("error_before")
    assert await operations.execute(house.context, operation_id) == "unknown"
    late = await house.manager.call("POST", f"/payouts/{payout_id}/cancel")
    assert (late.status_code, late.json()["type"]) == (409, "urn:copeck:problem:payout-status")


async def test_i08_a_stop_that_comes_while_it_is_sent_is_refused(house: House) -> None:
    payout_id = await house.payout()
    operation_id = await begun(house, payout_id)
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

    async def waits() -> bool:
        return bool(await rows(house.database_url, waiting))

    async with house.context.database.transaction() as tx:
        await operation_store.locked(tx, [operation_id])
        stop = asyncio.create_task(house.manager.call("POST", f"/payouts/{payout_id}/cancel"))
        await eventually(waits, timeout_s=20)
        now = house.context.clock.now()
        await operation_store.lease(tx, [operation_id], uuid4(), now, now + timedelta(minutes=1))
    assert (await stop).status_code == 409
    assert await rows(house.database_url, "SELECT status, failure_code FROM gateway.operations") == [("calling", "")]


async def correction(house: House, **changes: Any) -> dict[str, Any]:
    body = {"debit": "suspense:late", "credit": "revenue:cinema", "reason": "booked late",
            "amount": {"value": "10.00", "currency": "RUB"}} | changes  # fmt: skip
    answer = await house.manager.call("POST", "/corrections", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_two_managers_correct_the_books(house: House) -> None:
    made = await correction(house)
    path = f"/corrections/{made['id']}"
    assert made["status"] == "requested"
    own = await house.manager.call("POST", f"{path}/approve")
    assert (own.status_code, own.json()["type"]) == (403, "urn:copeck:problem:own-correction")
    done = await house.other_manager.call("POST", f"{path}/approve", wait=True)
    assert (done.status_code, done.json()["status"]) == (202, "booked")
    again = await house.other_manager.call("POST", f"{path}/approve")
    assert (again.status_code, again.json()["status"]) == (202, "booked")
    assert await transfers(house, made["id"]) == [("suspense:late", "revenue:cinema", 1000, "correction")]
    assert (await house.other_manager.call("POST", f"{path}/reject", json={"reason": "no, wait"})).status_code == 409
    shown = (await house.someone("operator").call("GET", path)).json()
    assert (shown["decided_by"], shown["booked_at"] is not None) == (house.other_manager.actor, True)
    rejected = await correction(house)
    answer = await house.other_manager.call("POST", f"/corrections/{rejected['id']}/reject", json={"reason": "why?"})
    assert (answer.status_code, answer.json()["status"]) == (200, "rejected")
    late = await house.other_manager.call("POST", f"/corrections/{rejected['id']}/approve")
    assert (late.status_code, late.json()["type"]) == (409, "urn:copeck:problem:correction-decided")
    listed = (await house.manager.call("GET", "/corrections", params={"account": "revenue:cinema"})).json()["items"]
    assert [(item["status"], item["rejected_reason"]) for item in listed] == [("rejected", "why?"), ("booked", None)]
    assert (await house.manager.call("GET", f"/corrections/{rejected['id']}")).json()["rejected_reason"] == "why?"
    for wrong in ({"debit": "nothing:x"}, {"credit": "suspense:late"}, {"amount": {"value": "0", "currency": "RUB"}}):
        body = {"debit": "suspense:late", "credit": "bank:settlement", "reason": "why", **wrong}
        body.setdefault("amount", {"value": "1.00", "currency": "RUB"})
        assert (await house.manager.call("POST", "/corrections", json=body)).status_code == 422, wrong
    for who in (house.someone("merchant"), house.someone("recipient"), house.someone("nothing")):
        assert (await who.call("GET", "/corrections")).status_code == 403
        assert (await who.call("POST", f"{path}/approve")).status_code == 403


async def test_a_correction_that_the_books_refuse_says_so(house: House) -> None:
    made = await correction(house, debit=f"wallet:{uuid4()}", credit="bank:settlement")
    await house.other_manager.call("POST", f"/corrections/{made['id']}/approve")

    found: list[tuple[Any, ...]] = []

    async def refused() -> bool:
        statement = "SELECT command_id, command_type, aggregate, code, detail FROM state.refusals WHERE aggregate = %s"
        found[:] = await rows(house.database_url, statement, made["id"])
        return len(found) == 1

    await eventually(refused, timeout_s=20)
    names = ("command_id", "command_type", "aggregate", "code", "detail")
    told = CommandRefused(**dict(zip(names, found[0], strict=True)))
    await Events(house.context).handle(Envelope.new(told, source="state-updater"))
    shown = (await house.manager.call("GET", f"/corrections/{made['id']}")).json()
    assert (shown["status"], shown["refused_code"], shown["booked_at"]) == ("refused", told.code, None)
    assert shown["refused_reason"]


def file_of(lines: int, value: str = "1.00") -> bytes:
    head = "amount,currency,recipient_kind,recipient,bank_id,description,reference\n"
    body = "".join(
        f"{value},RUB,sbp,+79{number:09d},100000000004,=cmd {number},r-{number}\n" for number in range(lines)
    )
    return (head + body + "bad,RUB,sbp,+7,1,,\n").encode()


async def test_a_batch_is_sent_from_where_its_worker_died(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "CHUNK", 10)
    data, kind = file_of(35), {"Content-Type": "text/csv"}
    manager = house.manager
    made = (await manager.call("POST", "/payouts/batches", content=data, headers=kind)).json()
    batch_id = UUID(made["id"])
    assert await batches.send(house.context, batch_id, chunks_max=2) == 20
    path = f"/payouts/batches/{batch_id}"

    async def counted(expected: dict[str, int]) -> bool:
        return bool((await manager.call("GET", path)).json()["counts"] == expected)

    await eventually(lambda: counted({"pending": 20, "requested": 15}), timeout_s=20)
    monkeypatch.setattr(batches, "STUCK_AFTER", -batches.STUCK_AFTER)
    assert await batches.resume(house.context) == 15
    assert await batches.resume(house.context) == 0
    late = await manager.call("POST", f"{path}/cancel")
    assert (late.status_code, late.json()["type"]) == (409, "urn:copeck:problem:batch-status")
    await eventually(lambda: counted({"pending": 35}), timeout_s=20)
    first, second = (await manager.call("GET", "/payouts", params={"batch_id": str(batch_id), "limit": 2})).json()[
        "items"
    ]
    await house.report(first["id"], "completed")
    await house.report(second["id"], "failed", failure_code="rejected")
    await eventually(lambda: counted({"pending": 33, "completed": 1, "failed": 1}), timeout_s=20)
    shown = (await manager.call("GET", path)).json()
    assert (shown["status"], shown["sent"], shown["percent"], shown["bad"]) == ("sent", 35, 5, 1)
    assert [(line["line"], line["code"]) for line in shown["failed_lines"]] == [(second["batch_line"], "rejected")]
    result = (await manager.call("GET", f"{path}/result.csv")).text.splitlines()
    assert len(result) == 1 + 35 + 1
    assert result[-1].startswith("37,bad_line,,,RUB,***,,,,")
    assert "'=cmd 0" in result[1]
    assert sum(",completed," in line for line in result) == 1
    assert len(await rows(house.database_url, "SELECT 1 FROM state.payouts")) == 35
