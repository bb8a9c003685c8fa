"""Merchants' own shops: who may see what, at which shop an invoice is paid, and whose word counts for what."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
import sqlalchemy as sa

from copeck.contracts import events
from copeck.contracts.envelope import Envelope
from copeck.kernel.clock import ManualClock
from copeck.kernel.ids import new_id
from copeck.testkit.tokens import TokenMint
from payments_gateway import tables
from payments_gateway.domain.provider import Shop
from payments_gateway.handlers import events as event_handler
from payments_gateway.handlers import janitor, operations
from payments_gateway.handlers.merchant_shops import find_shop, shops_to_compare
from payments_gateway.settings import GatewaySettings
from tests.support.wallet_site import WalletSite, wallet_site, with_wallets

from .conftest import MERCHANT_SECRET, PREFIX, SECRET, Emulator, invoice_event, payment, signed

pytestmark = pytest.mark.integration

CREDENTIALS = {"provider": "cloudpayments", "public_id": "pk_merchant", "api_secret": MERCHANT_SECRET}


class House:
    """A gateway that seals merchants' credentials, its manager, and one merchant."""

    def __init__(self, site: WalletSite) -> None:
        self.site, self.context = site, site.context
        self.manager = site.somebody("manager")
        self.merchant = uuid4()
        self.path = f"/merchants/{self.merchant}/shop"

    async def with_shop(self) -> str:
        """Give the merchant its shop; return its name."""
        answer = await self.manager.put(self.path, CREDENTIALS, None)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["shop"])

    async def invoice(self, beneficiary: str = "", **changes: Any) -> UUID:
        """Tell the gateway of an order's invoice; the merchant's own unless another beneficiary is named."""
        invoice_id, event = invoice_event(
            kind="coffee",
            product="coffee",
            account=f"merchant:{self.merchant}",
            beneficiary=beneficiary or f"receivable:{self.merchant}",
            **changes,
        )
        await self.tell(event)
        return invoice_id

    async def tell(self, data: Any) -> None:
        await event_handler.Events(self.context).handle(Envelope.new(data, source="state-updater"))

    async def start(self, invoice_id: UUID) -> httpx2.Response:
        return await self.site.client.post(f"{PREFIX}/pay/{invoice_id}", headers={"Idempotency-Key": str(uuid4())})

    async def notify(self, shop: str, fields: dict[str, Any], secret: str, kind: str = "pay") -> httpx2.Response:
        body, headers = signed(fields, secret)
        return await self.site.client.post(f"{PREFIX}/paid/cloudpayments/{shop}/{kind}", content=body, headers=headers)

    async def table(self, name: str) -> list[dict[str, Any]]:
        async with self.context.database.reading() as tx:
            return [row._asdict() for row in await tx.execute(sa.select(tables.metadata.tables[f"gateway.{name}"]))]

    async def reports(self) -> list[dict[str, Any]]:
        return [json.loads(row["body"]) for row in await self.table("outbox")]


@pytest.fixture
async def house(
    settings: GatewaySettings, clock: ManualClock, token_mint: TokenMint, jwks_url: str, redis_url: str
) -> AsyncIterator[House]:
    told = with_wallets(settings, jwks_url, redis_url=redis_url, merchant_shops_secret=_secret("s" * 40))
    async with wallet_site(told, token_mint, clock) as site:
        yield House(site)


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


async def test_credentials_are_sealed_at_rest_and_masked_when_read(house: House) -> None:
    name = await house.with_shop()
    shown = (await house.manager.get(house.path)).json()
    assert shown["api_secret"] == "••••" + MERCHANT_SECRET[-4:]
    assert shown["notification_urls"]["pay"].endswith(f"/payments/api/v1/paid/cloudpayments/{name}/pay")
    stored = str(await house.table("merchant_shops")) + str(await house.table("audit"))
    assert "pk_merchant" in stored
    assert MERCHANT_SECRET not in stored
    shop = await find_shop(house.context, "cloudpayments", name)
    assert shop is not None
    assert (shop.api_secret, shop.merchant) == (MERCHANT_SECRET, str(house.merchant))
    assert MERCHANT_SECRET not in repr(shop)


@pytest.mark.parametrize("role", ["customer", "merchant", "recipient"])
async def test_only_managers_have_to_do_with_credentials(house: House, role: str) -> None:
    somebody = house.site.somebody(role)
    await house.with_shop()
    assert (await somebody.put(house.path, CREDENTIALS, None)).status_code == 403
    assert (await somebody.get(house.path)).status_code == 403
    assert (await somebody._call("DELETE", house.path, headers={"If-Match": "*"})).status_code == 403
    assert (await house.site.somebody("operator").get(house.path)).status_code == 200
    assert (await house.site.somebody("operator").put(house.path, CREDENTIALS, "*")).status_code == 403


async def test_a_change_names_what_was_read_and_a_public_id_has_one_shop(house: House) -> None:
    await house.with_shop()
    changed = CREDENTIALS | {"api_secret": "another secret"}
    assert (await house.manager.put(house.path, changed, None)).status_code == 428
    assert (await house.manager.put(house.path, changed, '"7"')).status_code == 412
    assert (await house.manager.put(house.path, changed, '"1"')).json()["version"] == 2
    other = f"/merchants/{uuid4()}/shop"
    for taken in ("pk_merchant", "pk_test"):
        answer = await house.manager.put(other, CREDENTIALS | {"public_id": taken}, None)
        assert (answer.status_code, answer.json()["field"]) == (409, "public_id")
        assert answer.json()["type"].endswith("public-id-taken")
    assert (await house.manager.put(other, CREDENTIALS | {"provider": "mock"}, None)).status_code == 422
    assert (await house.manager.get(other)).status_code == 404


async def test_without_a_shop_there_is_no_sale(house: House) -> None:
    invoice_id = await house.invoice()
    answer = await house.start(invoice_id)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:copeck:problem:merchant-without-shop")
    page = await house.site.client.get(f"/pay/{invoice_id}?lang=en")
    assert page.status_code == 409
    assert "The seller takes no payments now" in page.text
    assert await house.table("attempts") == []
    assert await house.reports() == []


async def test_an_order_is_paid_at_the_merchants_own_shop_by_its_secret(house: House) -> None:
    name = await house.with_shop()
    invoice_id = await house.invoice()
    started = (await house.start(invoice_id)).json()
    assert (started["shop"], started["widget"]["publicTerminalId"]) == (name, "pk_merchant")
    page = await house.site.client.get(f"/pay/{invoice_id}?lang=en")
    assert page.status_code == 200
    forged = await house.notify(name, payment(invoice_id), SECRET)
    assert forged.status_code == 403
    assert [report["status"] for report in await house.reports()] == ["pending"]
    paid = await house.notify(name, payment(invoice_id), MERCHANT_SECRET)
    assert paid.json() == {"code": 0}
    last = (await house.reports())[-1]
    assert (last["status"], last["shop"], last["invoice_id"]) == ("succeeded", name, str(invoice_id))


async def test_no_shop_speaks_for_invoices_that_are_paid_elsewhere(house: House) -> None:
    """A merchant holds the secret of its shop, and could sign that anybody's order was paid."""
    name = await house.with_shop()
    own = await house.invoice()
    ours = await house.invoice(f"merchant:{house.merchant}")
    others = await house.invoice(f"receivable:{uuid4()}")
    for shop, secret, invoice_id in (
        (name, MERCHANT_SECRET, ours),
        (name, MERCHANT_SECRET, others),
        ("main", SECRET, own),
    ):
        for kind in ("check", "pay"):
            answer = await house.notify(shop, payment(invoice_id), secret, kind)
            assert answer.json() == {"code": 10}
    assert {row["verdict"] for row in await house.table("callbacks")} == {"foreign"}
    assert await house.reports() == []
    assert await house.table("attempts") == []


async def test_it_cannot_be_paid_from_a_wallet(house: House) -> None:
    await house.with_shop()
    invoice_id = await house.invoice()
    answer = await house.site.somebody().post("/payments/pay", {"invoice_id": str(invoice_id)})
    assert (answer.status_code, answer.json()["field"]) == (409, "invoice_id")


async def test_a_shop_that_is_taken_away_takes_no_payments_but_callbacks(house: House) -> None:
    name = await house.with_shop()
    begun, later = await house.invoice(), await house.invoice()
    await house.start(begun)
    gone = await house.manager._call("DELETE", house.path, headers={"If-Match": '"1"'})
    assert gone.status_code == 204
    assert (await house.manager.get(house.path)).status_code == 404
    assert (await house.start(later)).status_code == 409
    assert (await house.notify(name, payment(begun), MERCHANT_SECRET)).json() == {"code": 0}
    await house.tell(invoice_event(events.InvoicePaid, invoice_id=begun, version=2, status="paid")[1])
    assert (await house.site.client.get(f"/pay/{begun}?lang=en")).status_code == 200
    assert [shop.shop for shop in await shops_to_compare(house.context)] == [name]
    again = (await house.manager.put(house.path, CREDENTIALS, None)).json()
    assert again["shop"] == name


async def test_a_shop_that_fails_or_hangs_holds_up_neither_upkeep_nor_the_others(
    house: House, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [await house.with_shop()]
    for public_id in ("pk_second", "pk_third"):
        path = f"/merchants/{uuid4()}/shop"
        answer = await house.manager.put(path, CREDENTIALS | {"public_id": public_id}, None)
        names.append(str(answer.json()["shop"]))
    hanging, failing, well = sorted(names)
    seen: list[str] = []

    async def compare(_: Any, shop: Shop) -> int:
        if not shop.merchant:
            return 0
        seen.append(shop.shop)
        if shop.shop == hanging:
            await asyncio.Event().wait()
        if shop.shop == failing:
            raise ValueError("this list makes no sense")
        return 1

    monkeypatch.setattr(janitor, "reconcile", compare)
    monkeypatch.setattr(janitor, "MERCHANTS_SHOPS_S", 1.0)
    assert (await janitor.sweep(house.context))["found"] == 0
    assert seen == [hanging]
    clock.advance(timedelta(minutes=1))
    assert (await janitor.sweep(house.context))["found"] == 1
    assert seen == [hanging, failing, well, hanging]
    clock.advance(timedelta(minutes=1))
    house.context.settings = house.context.settings.model_copy(update={"merchant_shops_secret": _secret("t" * 40)})
    assert await shops_to_compare(house.context) == []
    assert {row["tried_at"] for row in await house.table("reconciled") if row["shop"] in names} == {clock.now()}


async def test_upkeep_is_done_before_any_shop_is_asked(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.with_shop()
    done: list[str] = []

    def noting(name: str) -> Any:
        async def note(*_: Any, **__: Any) -> int:
            done.append(name)
            return 0

        return note

    monkeypatch.setattr(janitor, "reconcile", noting("shop"))
    monkeypatch.setattr(janitor.catch_up, "run", noting("catch up"))
    monkeypatch.setattr(janitor.operation_store, "maintain", noting("partitions"))
    monkeypatch.setattr(janitor.callback_store, "trim_forged", noting("trim"))
    await janitor.sweep(house.context)
    assert done[:3] == ["catch up", "partitions", "trim"]
    assert done[3:] == ["shop"] * (len(house.context.shops.all()) + 1)


async def test_another_public_id_is_another_shop(house: House) -> None:
    name = await house.with_shop()
    answer = await house.manager.put(house.path, CREDENTIALS | {"public_id": "pk_next"}, '"1"')
    assert answer.json()["shop"] != name
    started = (await house.start(await house.invoice())).json()
    assert started["widget"]["publicTerminalId"] == "pk_next"
    old = await find_shop(house.context, "cloudpayments", name)
    assert old is not None
    assert old.public_id == "pk_merchant"


async def test_another_secret_of_the_installation_opens_nothing_and_sells_nothing(house: House) -> None:
    name = await house.with_shop()
    house.context.settings = house.context.settings.model_copy(update={"merchant_shops_secret": _secret("t" * 40)})
    assert (await house.manager.get(house.path)).json()["api_secret"] is None
    assert (await house.start(await house.invoice())).status_code == 409
    assert (await house.notify(name, payment(new_id()), MERCHANT_SECRET)).status_code == 404


async def test_without_a_secret_of_the_installation_nothing_is_kept(site: WalletSite) -> None:
    answer = await site.somebody("manager").put(f"/merchants/{uuid4()}/shop", CREDENTIALS, None)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:copeck:problem:merchant-shops-off")


async def test_it_is_refunded_from_the_shop_that_was_paid(house: House, emulator: Emulator) -> None:
    house.context.settings = house.context.settings.model_copy(update={"cloudpayments_api_url": emulator.url})
    name = await house.with_shop()
    invoice_id = await house.invoice()
    await house.start(invoice_id)
    body = {
        "Amount": "199.00", "Currency": "RUB", "IpAddress": "127.0.0.1", "InvoiceId": str(invoice_id),
        "CardCryptogramPacket": await emulator.card(),
    }  # fmt: skip
    answer = await emulator.client.post("/payments/cards/charge", json=body, auth=("pk_merchant", MERCHANT_SECRET))
    transaction = answer.json()["Model"]["TransactionId"]
    assert (await house.notify(name, payment(invoice_id, transaction), MERCHANT_SECRET)).json() == {"code": 0}
    taken: list[UUID] = []
    house.context.enqueue = taken.extend
    await house.tell(
        events.RefundRequested(
            refund_id=new_id(),
            invoice_id=invoice_id,
            version=1,
            status="requested",
            origin="requested",
            account=f"merchant:{house.merchant}",
            amount_minor=19900,
            currency="RUB",
            provider="cloudpayments",
            shop=name,
            transaction=str(transaction),
        )
    )
    (operation_id,) = taken
    assert await operations.execute(house.context, operation_id) == "succeeded"
    (refund,) = await emulator.log("payment.refunded")
    assert (refund["invoice_id"], refund["public_id"]) == (str(invoice_id), "pk_merchant")
