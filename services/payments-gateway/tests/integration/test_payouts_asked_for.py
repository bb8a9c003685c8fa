"""Payouts as people ask for them: rights, keys, lists, switches, and what is kept of a recipient. No updater runs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from copeck.kernel.clock import ManualClock
from copeck.testkit.tokens import TokenMint
from payments_gateway import tables
from payments_gateway.composition import make_context
from payments_gateway.domain import recipients
from payments_gateway.domain.switches import Switch
from payments_gateway.settings import GatewaySettings
from payments_gateway.store import payouts_state, switches

from .payout_house import PHONE, PREFIX, SBP, SECRET, SHOPS, House, house_of

pytestmark = pytest.mark.integration

TOKEN = {"kind": "card_token", "token": "tk_020a924486aa4df254331afa"}
ACCOUNT = {"kind": "account", "account": "40817810099910004312", "bic": "044525225", "name": "Анна Петрова"}


@pytest.fixture
def payout_settings(database_urls: dict[str, str], jwks_url: str) -> GatewaySettings:
    return GatewaySettings.model_validate(
        {"database_url": database_urls["gateway"], "shops": SHOPS, "jwks_url": jwks_url}
    )


@pytest.fixture
async def house(payout_settings: GatewaySettings, clock: ManualClock, token_mint: TokenMint) -> AsyncIterator[House]:
    context = make_context(payout_settings, pool_size=8)
    context.clock = clock
    async with house_of(payout_settings, context, token_mint) as made:
        yield made
    await context.close()


async def table(house: House, name: str) -> list[dict[str, Any]]:
    async with house.context.database.reading() as tx:
        return [row._asdict() for row in await tx.execute(sa.select(tables.metadata.tables[f"gateway.{name}"]))]


async def test_one_key_from_fifty_clients_is_one_payout_and_one_answer(house: House) -> None:
    body = {"source": "house:payouts", "amount": {"value": "1.00", "currency": "RUB"}, "recipient": SBP}
    manager = house.manager
    answers = await asyncio.gather(*(manager.call("POST", "/payouts", key="one", json=body) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert len(await table(house, "payout_requests")) == len(await table(house, "outbox")) == 1
    assert answers[0].headers["location"] == f"{PREFIX}/payouts/{answers[0].json()['id']}"
    other = await manager.call("POST", "/payouts", key="one", json=body | {"description": "other"})
    assert (other.status_code, other.json()["type"]) == (422, "urn:copeck:problem:idempotency-key-reused")
    assert (await manager.call("POST", "/payouts", key=None, json=body)).status_code == 400
    # Another person's key of the same name is another key.
    assert (await house.other_manager.call("POST", "/payouts", key="one", json=body)).status_code == 202
    assert len(await table(house, "payout_requests")) == 2


async def test_what_waits_shares_a_commit_and_each_gets_its_own_answer(house: House) -> None:
    asked = await asyncio.gather(*(house.ask(value=f"{number}.00") for number in range(1, 41)))
    assert {answer.json()["amount"]["value"] for answer in asked} == {f"{number}.00" for number in range(1, 41)}
    assert len(await table(house, "outbox")) == len(await table(house, "payout_requests")) == 40


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": {"value": "0.00", "currency": "RUB"}}, "amount"),
        ({"amount": {"value": "1.005", "currency": "RUB"}}, "amount.value"),
        ({"amount": {"value": "1.00", "currency": "XXX"}}, "amount.currency"),
        ({"source": "fees:commission"}, "source"),
        ({"recipient": SBP | {"phone": "8916"}}, "recipient.phone"),
        ({"recipient": {"kind": "card_token", "token": "4242424242424242"}}, "recipient.token"),
        ({"recipient": SBP | {"token": "x"}}, "recipient.token"),
        ({"recipient": SBP | {"pan": "x"}}, "recipient.pan"),
        ({"description": "to 4242 4242 4242 4242"}, "description"),
        ({"description": "x" * 201}, "description"),
        ({"provider": "nobody"}, "provider"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_what_cannot_be_paid_is_refused_with_its_field(house: House, changes: dict[str, Any], field: str) -> None:
    answer = await house.ask(**changes)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert "4242 4242" not in answer.text
    assert await table(house, "payout_requests") == []


async def test_the_provider_is_chosen_by_routing_in_production(
    payout_settings: GatewaySettings, token_mint: TokenMint
) -> None:
    settings = payout_settings.model_copy(update={"environment": "production"})
    context = make_context(settings, pool_size=2)
    async with house_of(settings, context, token_mint) as house:
        assert (await house.ask(provider="mock")).json()["field"] == "provider"
        assert (await house.ask()).status_code == 202
    await context.close()
    bare = settings.model_copy(update={"shops": ()})
    context = make_context(bare, pool_size=2)
    async with house_of(bare, context, token_mint) as house:
        answer = await house.ask()
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:copeck:problem:no-payout-shop")
    await context.close()


async def test_each_role_sees_and_pays_what_is_its_own(house: House) -> None:
    merchant, recipient, customer = (house.someone(role) for role in ("merchant", "recipient", "nothing"))
    operator = house.someone("operator")
    own = f"merchant:{merchant.user_id}"
    for who, source, status in (
        (house.manager, "house:payouts", 202),
        (house.manager, own, 202),
        (merchant, own, 202),
        (merchant, "house:payouts", 403),
        (merchant, f"merchant:{uuid4()}", 403),
        (recipient, "house:payouts", 403),
        (operator, "house:payouts", 403),
        (customer, "wallet", 403),
    ):
        assert (await house.ask(who, source=source)).status_code == status, (who, source)
    named = await house.payout(recipient_user_id=str(recipient.user_id))
    for who, sees in ((house.manager, 4), (operator, 4), (merchant, 2), (recipient, 1)):
        assert len((await who.call("GET", "/payouts")).json()["items"]) == sees
    assert (await customer.call("GET", "/payouts")).status_code == 403
    assert (await house.client.get(f"{PREFIX}/payouts")).status_code == 401
    for who, status in ((house.manager, 200), (operator, 200), (recipient, 200), (merchant, 404), (customer, 404)):
        assert (await who.call("GET", f"/payouts/{named}")).status_code == status
    shown = await house.seen(named, recipient)
    assert (shown["requested_by"], [step["actor"] for step in shown["history"]]) == (None, [None])
    # To see is not to command.
    for action in ("submit", "approve", "cancel", "retry"):
        for who, status in ((recipient, 403), (operator, 403), (merchant, 404), (customer, 404)):
            assert (await who.call("POST", f"/payouts/{named}/{action}")).status_code == status, (who, action)
    assert (await recipient.call("DELETE", f"/payouts/{named}")).status_code == 403


async def test_a_wallets_owner_sees_a_withdrawal_and_pays_its_commission(house: House) -> None:
    merchant = house.someone("merchant")
    answer = (await house.ask(merchant, source="wallet", value="100.00")).json()
    assert (answer["source"], answer["commission"]["value"]) == (f"wallet:{merchant.user_id}", "2.00")
    assert (await house.seen(answer["id"], merchant))["commission"]["value"] == "2.00"


async def stop(house: House, name: str, *, stopped: bool) -> None:
    async with house.context.database.transaction() as tx:
        known = await switches.get(tx, name)
        version = 1 + (known.version if known else 0)
        switch = Switch(name, stopped, "the bank has a holiday", version, "user:x", None)
        assert await switches.put(tx, switch, house.context.clock.now())


@pytest.mark.parametrize("name", ["payouts", "provider:mock"])
async def test_stop_switches_refuse_at_once_and_say_why(house: House, name: str) -> None:
    body = {"source": "house:payouts", "amount": {"value": "1.00", "currency": "RUB"}, "recipient": SBP}
    first = await house.manager.call("POST", "/payouts", key="one", json=body)
    draft = await house.payout(draft=True)
    await stop(house, name, stopped=True)
    answer = await house.ask()
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:copeck:problem:stopped")
    assert "the bank has a holiday" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0
    assert (await house.manager.call("POST", f"/payouts/{draft}/submit")).status_code == 503
    # What was answered before is answered still, and canceling moves nothing out.
    again = await house.manager.call("POST", "/payouts", key="one", json=body)
    assert (again.status_code, again.text) == (202, first.text)
    assert (await house.manager.call("POST", f"/payouts/{draft}/cancel")).status_code == 202
    await stop(house, name, stopped=False)
    assert (await house.ask()).status_code == 202


async def test_lists_are_searched_narrowed_and_ordered(house: House) -> None:
    first = await house.payout(value="10.00", description="Гонорар за май")
    second = await house.payout(value="30.00", recipient=TOKEN)
    third = await house.payout(value="20.00", recipient=ACCOUNT, draft=True)
    manager = house.manager

    async def ids(**query: Any) -> list[str]:
        answer = await manager.call("GET", "/payouts", params=query)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    assert await ids() == [third, second, first]
    assert await ids(order="requested_at") == [first, second, third]
    assert await ids(order="amount") == [first, third, second]
    assert await ids(order="-amount") == [second, third, first]
    assert await ids(search="гонорар") == [first]
    assert await ids(search=PHONE) == await ids(search="+7 916 123-45-67") == [first]
    assert await ids(search=TOKEN["token"][-4:]) == [second]
    assert await ids(search="100%") == []
    assert await ids(amount_from="15.00", amount_to="25", currency="RUB") == [third]
    assert await ids(currency="USD") == []
    assert await ids(source="house:payouts", order="requested_at", limit=1) == [first]
    assert await ids(status="requested") == [third, second, first]
    assert await ids(status=["failed", "completed"]) == []
    now = house.context.clock.now()
    assert await ids(requested_from=now.isoformat()) == [third, second, first]
    assert await ids(requested_to=now.isoformat()) == []
    for order in ("requested_at", "-requested_at", "amount", "-amount"):
        pages: list[str] = []
        query: dict[str, Any] = {"order": order, "limit": 1}
        while True:
            page = (await manager.call("GET", "/payouts", params=query)).json()
            pages += [item["id"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert pages == await ids(order=order)
    for wrong in ({"cursor": "x"}, {"amount_from": "1"}, {"currency": "XXX"}, {"amount_to": "x", "currency": "RUB"},
                  {"status": "lost"}, {"requested_from": "yesterday"}, {"order": "id"}):  # fmt: skip
        assert (await manager.call("GET", "/payouts", params=wrong)).status_code == 422, wrong
    cursor = (await manager.call("GET", "/payouts", params={"limit": 1})).json()["next_cursor"]
    assert (await manager.call("GET", "/payouts", params={"cursor": cursor, "order": "amount"})).status_code == 422


async def test_a_description_is_changed_by_whoever_read_it(house: House) -> None:
    payout_id = await house.payout(description="first")
    path = f"/payouts/{payout_id}"
    tag = (await house.manager.call("GET", path)).headers["etag"]
    change = {"description": "second"}
    assert (await house.manager.call("PATCH", path, json=change)).status_code == 428
    done = await house.manager.call("PATCH", path, json=change, headers={"If-Match": tag})
    assert (done.status_code, done.json()["description"]) == (200, "second")
    assert done.headers["etag"] != tag
    late = await house.manager.call("PATCH", path, json={"description": "third"}, headers={"If-Match": tag})
    assert late.status_code == 412
    (deed,) = [step for step in done.json()["history"] if step["event"] == "describe"]
    assert (deed["actor"], deed["detail"]) == (house.manager.actor, {"before": "first", "after": "second"})
    stranger = house.someone("recipient")
    assert (await stranger.call("PATCH", path, json=change, headers={"If-Match": "*"})).status_code == 404


async def test_i14_no_recipient_is_kept_or_sent_in_the_clear(
    house: House, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    payouts = [await house.payout(recipient=recipient) for recipient in (SBP, TOKEN, ACCOUNT)]
    text = "amount,currency,recipient_kind,recipient,bank_id,bic,name,description\n"
    text += f"1.00,RUB,sbp,{PHONE},100000000004,,Anna,ok\n"
    text += f"1.00,RUB,card_token,{TOKEN['token']},,,,ok\n"
    text += f"1.00,RUB,account,{ACCOUNT['account']},,044525225,Anna,ok\n"
    text += f"1.00,RUB,sbp,{PHONE},,,Anna,call {PHONE}\n"
    upload = await house.manager.call("POST", "/payouts/batches", content=text, headers={"Content-Type": "text/csv"})
    assert upload.status_code == 202, upload.text
    seen = [upload.text, (await house.manager.call("GET", "/payouts")).text]
    seen.append((await house.manager.call("GET", f"{upload.json()['url'][len(PREFIX) :]}/result.csv")).text)
    seen += [str(await house.seen(payout_id)) for payout_id in payouts]
    seen += [str(await table(house, one.name)) for one in tables.metadata.sorted_tables]
    whole = "\n".join([*seen, caplog.text, *capfd.readouterr()])
    for secret in (PHONE, PHONE[1:], TOKEN["token"], ACCOUNT["account"], "Петрова"):
        assert secret not in whole, secret
    assert "***4312" in whole
    async with house.context.database.reading() as tx:
        ((sealed, _),) = (await payouts_state.sealed_recipients(tx, [UUID(payouts[0])])).values()
    assert recipients.unseal(SECRET, sealed, payouts[0]).phone == PHONE
