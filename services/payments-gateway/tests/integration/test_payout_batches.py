"""Files of payouts: a dry run, one file one batch, two people above the limit, and ten thousand lines."""

import csv
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from copeck.contracts.envelope import Envelope
from copeck.contracts.events import CommandRefused
from copeck.kernel.clock import ManualClock
from copeck.testkit.tokens import TokenMint
from payments_gateway import tables
from payments_gateway.api.batches import BODY_BYTES_MAX
from payments_gateway.composition import make_context
from payments_gateway.domain.switches import Switch
from payments_gateway.handlers import batches as handlers
from payments_gateway.handlers.events import Events
from payments_gateway.settings import GatewaySettings
from payments_gateway.store import switches

from .payout_house import House, Someone, house_of
from .payout_world import MOCK_SECRET, MockGateway, mock_process

pytestmark = pytest.mark.integration

SHOP = {"provider": "mock", "shop": "main", "public_id": "mock_test", "api_secret": MOCK_SECRET}
KIND = {"Content-Type": "text/csv; charset=utf-8"}
HEAD = "amount,currency,recipient_kind,recipient,bank_id,reference\n"


@pytest.fixture(scope="module")
async def provider(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MockGateway]:
    """The provider whose balance an approval looks at."""
    async with mock_process(tmp_path_factory.mktemp("mock")) as running:
        yield running


@pytest.fixture
async def house(
    database_urls: dict[str, str], jwks_url: str, clock: ManualClock, token_mint: TokenMint, provider: MockGateway
) -> AsyncIterator[House]:
    settings = GatewaySettings.model_validate(
        {"database_url": database_urls["gateway"], "shops": [SHOP], "jwks_url": jwks_url,
         "payout_approval_above": {"RUB": 2_000_000}, "mock_gateway_url": provider.url}
    )  # fmt: skip
    context = make_context(settings, pool_size=4)
    context.clock = clock
    async with house_of(settings, context, token_mint) as made:
        yield made
    await context.close()


def file_of(lines: int, value: str = "1.00", bad: int = 0) -> bytes:
    good = (f"{value},RUB,sbp,+79{number:09d},100000000004,r-{number}\n" for number in range(lines))
    wrong = (f"{value},RUB,sbp,+7,100000000004,b-{number}\n" for number in range(bad))
    return (HEAD + "".join(good) + "".join(wrong)).encode()


async def upload(who: Someone, data: bytes, **query: Any) -> Any:
    return await who.call("POST", "/payouts/batches", content=data, params=query, headers=KIND)


async def count(house: House, name: str) -> int:
    async with house.context.database.reading() as tx:
        chosen = tables.metadata.tables[f"gateway.{name}"]
        return int((await tx.execute(sa.select(sa.func.count()).select_from(chosen))).scalar_one())


async def test_ten_thousand_lines_are_taken_in_a_few_seconds(house: House) -> None:
    data = file_of(10_000, bad=37)
    began = time.perf_counter()
    tried = await upload(house.manager, data, dry_run="true")
    tried_s = time.perf_counter() - began
    assert (tried.status_code, tried.json()["good"], tried.json()["bad"]) == (200, 10_000, 37)
    assert [line["line"] for line in tried.json()["bad_lines"]] == list(range(10_002, 10_039))
    assert {line["field"] for line in tried.json()["bad_lines"]} == {"recipient"}
    assert tried.json()["total"] == {"value": "10000.00", "currency": "RUB"}
    assert await count(house, "payout_requests") == await count(house, "payout_batches") == 0
    began = time.perf_counter()
    made = await upload(house.manager, data, file_name="royalties.csv")
    taken_s = time.perf_counter() - began
    assert (made.status_code, made.json()["status"], made.json()["file_name"]) == (202, "accepted", "royalties.csv")
    assert await count(house, "payout_requests") == 10_000
    assert await count(house, "payout_batch_lines") == 10_037
    began = time.perf_counter()
    assert (await house.manager.call("GET", f"/payouts/batches/{made.json()['id']}")).json()["counts"] == {
        "requested": 10_000
    }
    print(f"dry run {tried_s:.2f} s, taken {taken_s:.2f} s, progress {time.perf_counter() - began:.2f} s")
    # On a machine that does nothing else it is a fifth of this.
    assert tried_s + taken_s < 20


async def test_one_file_is_one_batch(house: House) -> None:
    data = file_of(3)
    first = await upload(house.manager, data)
    again = await upload(house.other_manager, data, file_name="another-name.csv")
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json() == again.json()
    assert first.headers["location"] == again.headers["location"] == first.json()["url"]
    assert await count(house, "payout_requests") == 3
    merchant = house.someone("merchant")
    other = await upload(merchant, data, source=f"merchant:{merchant.user_id}")
    assert (other.status_code, other.json()["type"]) == (409, "urn:copeck:problem:batch-file-used")
    assert first.json()["id"] not in other.text
    known = (await upload(house.manager, data, dry_run=True)).json()
    assert known["known_batch_id"] == first.json()["id"]


async def test_above_the_limit_the_whole_batch_waits_for_another_manager(house: House) -> None:
    data = file_of(3, "10000.00")
    assert (await upload(house.manager, data, dry_run=True)).json()["needs_approval"] is True
    made = (await upload(house.manager, data)).json()
    path = f"/payouts/batches/{made['id']}"
    assert made["status"] == "awaiting_approval"
    assert (await house.manager.call("GET", path)).json()["counts"] == {"awaiting_approval": 3}
    (payout, *_) = (await house.manager.call("GET", "/payouts", params={"status": "awaiting_approval"})).json()["items"]
    single = await house.other_manager.call("POST", f"/payouts/{payout['id']}/approve")
    assert (single.status_code, single.json()["type"]) == (409, "urn:copeck:problem:part-of-batch")
    own = await house.manager.call("POST", f"{path}/approve")
    assert (own.status_code, own.json()["type"]) == (403, "urn:copeck:problem:own-batch")
    sent: list[Any] = []
    house.context.send_batch = sent.append
    for _ in range(2):
        done = await house.other_manager.call("POST", f"{path}/approve")
        assert (done.status_code, done.json()["status"]) == (202, "accepted")
    assert [str(batch) for batch in sent] == [made["id"]]
    assert done.json()["approved_by"] == house.other_manager.actor


async def test_a_batch_that_was_not_sent_is_canceled_whole(house: House) -> None:
    made = (await upload(house.manager, file_of(3))).json()
    path = f"/payouts/batches/{made['id']}"
    for _ in range(2):
        gone = await house.manager.call("POST", f"{path}/cancel")
        assert (gone.status_code, gone.json()["status"], gone.json()["counts"]) == (200, "canceled", {"canceled": 3})
    assert (await house.other_manager.call("POST", f"{path}/approve")).status_code == 409
    assert gone.json()["percent"] == 100
    text = (await house.manager.call("GET", f"{path}/result.csv")).text
    assert text.count(",canceled,") == 3
    # The file is free again, and the batch still says which one it was.
    anew = await upload(house.manager, file_of(3))
    assert (anew.status_code, anew.json()["status"]) == (202, "accepted")
    assert anew.json()["id"] != made["id"]
    assert (await house.manager.call("GET", path)).json()["sha256"] == made["sha256"] == anew.json()["sha256"]


async def test_the_rest_of_a_batch_that_was_sent_in_part_is_canceled(
    house: House, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "CHUNK", 2)
    made = (await upload(house.manager, file_of(5, bad=1))).json()
    path, batch_id = f"/payouts/batches/{made['id']}", UUID(made["id"])
    assert await handlers.send(house.context, batch_id, chunks_max=1) == 2
    for _ in range(2):
        gone = await house.manager.call("POST", f"{path}/cancel")
        assert (gone.status_code, gone.json()["status"]) == (200, "canceled")
        assert (gone.json()["sent"], gone.json()["counts"]) == (2, {"canceled": 3, "requested": 2})
    # Neither a worker nor the janitor goes on with it.
    clock.advance(timedelta(hours=1))
    assert await handlers.send(house.context, batch_id) == await handlers.resume(house.context) == 0
    assert await count(house, "outbox") == 2
    rows = list(csv.DictReader((await house.manager.call("GET", f"{path}/result.csv")).text.splitlines()))
    assert [row["status"] for row in rows] == ["requested"] * 2 + ["canceled"] * 3 + ["bad_line"]
    assert [row["code"] for row in rows] == [""] * 2 + ["batch_canceled"] * 3 + [""]
    # The file stays taken: its first lines would be paid twice.
    again = await upload(house.manager, file_of(5, bad=1))
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (200, made["id"], "canceled")


@pytest.mark.parametrize("name", ["payouts", "provider:mock"])
async def test_a_stop_switch_holds_the_rest_of_a_batch_back(house: House, name: str) -> None:
    made = (await upload(house.manager, file_of(3))).json()
    moment = house.context.clock.now()
    async with house.context.database.transaction() as tx:
        await switches.put(tx, Switch(name, True, "audit", 1, "user:x", None), moment)
    assert await handlers.send(house.context, UUID(made["id"])) == 0
    assert await count(house, "outbox") == 0
    async with house.context.database.transaction() as tx:
        await switches.put(tx, Switch(name, False, "done", 2, "user:x", None), moment)
    assert await handlers.send(house.context, UUID(made["id"])) == 3


async def test_merchants_have_their_own_batches(house: House) -> None:
    merchant, other, customer = (house.someone(*roles, name=name) for *roles, name in (
        ("merchant", "a"), ("merchant", "b"), ("c",)
    ))  # fmt: skip
    source = f"merchant:{merchant.user_id}"
    made = (await upload(merchant, file_of(2), source=source)).json()
    path = f"/payouts/batches/{made['id']}"
    assert (await upload(merchant, file_of(4))).status_code == 403
    assert (await upload(merchant, file_of(4), source="wallet")).status_code == 422
    assert (await upload(customer, file_of(4), source="wallet")).status_code == 403
    for who, status in (
        (merchant, 200),
        (house.manager, 200),
        (house.someone("operator"), 200),
        (other, 404),
        (customer, 404),
    ):
        assert (await who.call("GET", path)).status_code == status
        assert (await who.call("GET", f"{path}/result.csv")).status_code == status
    for who, items in ((merchant, 1), (house.manager, 1), (other, 0)):
        assert len((await who.call("GET", "/payouts/batches")).json()["items"]) == items
    assert (await merchant.call("POST", f"{path}/approve")).status_code == 403
    assert (await other.call("POST", f"{path}/cancel")).status_code == 404
    assert (await house.someone("operator").call("POST", f"{path}/cancel")).status_code == 403


async def test_files_that_cannot_be_taken(house: House) -> None:
    manager = house.manager
    for data, status in ((b"", 422), (HEAD.encode(), 422), (b"a,b\n1,2\n", 422), (file_of(0, bad=3), 422),
                         (b"x" * (BODY_BYTES_MAX + 1), 413)):  # fmt: skip
        assert (await upload(manager, data)).status_code == status, data[:40]
    wrong = await manager.call("POST", "/payouts/batches", json={"a": 1})
    assert wrong.status_code == 415
    # Elsewhere a body stays small.
    large = await manager.call("POST", "/payouts", content=b" " * 70_000, headers={"Content-Type": "application/json"})
    assert large.status_code == 413
    named = await manager.call(
        "POST",
        "/payouts/batches",
        content=file_of(1),
        headers={
            **KIND,
            "Content-Disposition": "attachment; filename*=UTF-8''%D0%B3%D0%BE%D0%BD%D0%BE%D1%80%D0%B0%D1%80.csv",
        },
    )
    assert named.json()["file_name"] == "гонорар.csv"


async def test_a_draft_whose_cancel_came_too_late_is_shown_again(house: House) -> None:
    payout_id = await house.payout(draft=True)
    path = f"/payouts/{payout_id}"
    assert (await house.manager.call("DELETE", path)).status_code == 204
    assert (await house.manager.call("GET", path)).status_code == 404
    told = CommandRefused(
        command_id=uuid4(),
        command_type="payout.cancel",
        aggregate=payout_id,
        code="not_cancelable",
        detail="it is paid",
    )
    await Events(house.context).handle(Envelope.new(told, source="state-updater"))
    assert (await house.manager.call("GET", path)).status_code == 200
