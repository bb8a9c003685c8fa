"""What every provider must do, whoever it is: each inherits `ProviderContract` and brings only its own words."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx2
import pytest

from copeck.kernel.money import Money
from payments_gateway.domain.provider import (
    Answer,
    AttemptStatus,
    CheckAnswer,
    NotificationKind,
    Provider,
    RawCallback,
    Shop,
    UnreadableCallback,
    Verdict,
    WidgetOrder,
)
from payments_gateway.providers.cloudpayments import CloudPayments, webhook
from payments_gateway.providers.cloudpayments.client import CloudPaymentsClient
from payments_gateway.providers.registry import PROVIDERS

INVOICE = UUID("0190a5b0-0000-7000-8000-00000000000a")
REFUND = UUID("0190a5b0-0000-7000-8000-00000000000c")
SHOP = Shop("cloudpayments", "main", "pk_test", "secret_value", "http://provider.test", "http://widget.test/w.js")
Handler = Callable[[httpx2.Request], httpx2.Response]


class ProviderContract:
    """The suite; a provider's class says how its wire looks."""

    shop: Shop = SHOP

    def provider(self, handler: Handler) -> Provider:
        """Return the provider, speaking to a handler instead of the network."""
        raise NotImplementedError

    def paid(self) -> RawCallback:
        """Return an authentic callback that says that INVOICE was paid: 199.00 roubles."""
        raise NotImplementedError

    def accepted(self) -> httpx2.Response:
        """Return the answer to a refund that was made."""
        raise NotImplementedError

    def rejected(self) -> httpx2.Response:
        """Return the answer to a refund that was refused."""
        raise NotImplementedError

    async def refund(self, handler: Handler) -> Answer:
        client = self.provider(handler).client
        amount = Money(10, "RUB")
        return await client.refund(self.shop, key="refund:1", transaction_id="5", amount=amount, refund_id=REFUND)

    async def test_a_refund_that_was_made(self) -> None:
        answer = await self.refund(lambda _request: self.accepted())
        assert answer.verdict is Verdict.SUCCEEDED
        assert answer.transaction_id

    async def test_a_refund_that_was_refused_says_why(self) -> None:
        answer = await self.refund(lambda _request: self.rejected())
        assert answer.verdict is Verdict.REJECTED
        assert answer.reason

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 302])
    async def test_i08_a_status_that_proves_nothing_is_unknown(self, status: int) -> None:
        answer = await self.refund(lambda _request: httpx2.Response(status, text="no"))
        assert answer.verdict is Verdict.UNKNOWN

    @pytest.mark.parametrize("body", ["", "<html>", "[]", "{}", '"x"', '{"Success": "yes"}'])
    async def test_i08_an_answer_that_makes_no_sense_is_unknown(self, body: str) -> None:
        answer = await self.refund(lambda _request: httpx2.Response(200, text=body))
        assert answer.verdict is Verdict.UNKNOWN

    @pytest.mark.parametrize(
        "error", [httpx2.ReadTimeout, httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError]
    )
    async def test_i08_a_connection_that_breaks_is_unknown(self, error: type[httpx2.RequestError]) -> None:
        def broken(request: httpx2.Request) -> httpx2.Response:
            raise error("broken", request=request)

        assert (await self.refund(broken)).verdict is Verdict.UNKNOWN

    @pytest.mark.parametrize("error", [httpx2.ConnectError, httpx2.ConnectTimeout])
    async def test_a_call_that_was_never_sent_may_be_made_again(self, error: type[httpx2.RequestError]) -> None:
        def refused(request: httpx2.Request) -> httpx2.Response:
            raise error("refused", request=request)

        assert (await self.refund(refused)).verdict is Verdict.NOT_SENT

    async def test_keys_that_are_refused_execute_nothing(self) -> None:
        assert (await self.refund(lambda _request: httpx2.Response(401))).verdict is Verdict.NOT_SENT

    async def test_i12_the_amount_is_exact_and_the_key_travels(self) -> None:
        seen: list[httpx2.Request] = []

        def keep(request: httpx2.Request) -> httpx2.Response:
            seen.append(request)
            return self.accepted()

        answer = await self.refund(keep)
        assert b"0.10" in seen[0].content
        assert "refund:1" in str(seen[0].headers)
        assert str(REFUND).encode() in seen[0].content
        assert self.shop.api_secret not in json.dumps([answer.exchange.request, answer.exchange.response])

    async def test_a_question_that_cannot_be_asked_proves_nothing(self) -> None:
        client = self.provider(lambda _request: httpx2.Response(500)).client
        assert not (await client.get(self.shop, transaction_id="5")).known
        assert not (await client.find(self.shop, invoice_id=INVOICE)).known

    def test_an_authentic_callback_is_read(self) -> None:
        provider = self.provider(lambda _request: self.accepted())
        raw = self.paid()
        assert provider.verify(self.shop, raw)
        read = provider.read(NotificationKind.PAY, raw)
        assert (read.invoice_id, read.status) == (INVOICE, AttemptStatus.SUCCEEDED)

    def test_i07_a_changed_callback_is_forged(self) -> None:
        provider = self.provider(lambda _request: self.accepted())
        raw = self.paid()
        changed = RawCallback(raw.method, raw.body.replace(b"199.00", b"1.00"), raw.headers, raw.content_type)
        assert changed.body != raw.body
        assert not provider.verify(self.shop, changed)
        other = Shop(self.shop.provider, "other", "pk_other", "another_secret")
        assert not provider.verify(other, raw)

    def test_nonsense_is_unreadable(self) -> None:
        provider = self.provider(lambda _request: self.accepted())
        with pytest.raises(UnreadableCallback):
            provider.read(NotificationKind.PAY, RawCallback("POST", b"\xff\xfe", {}, "application/json"))

    def test_every_check_has_an_answer(self) -> None:
        provider = self.provider(lambda _request: self.accepted())
        answers = [json.dumps(dict(provider.answer(answer))) for answer in CheckAnswer]
        assert len(set(answers)) == len(CheckAnswer)

    def test_the_widget_knows_the_invoice_and_no_secret(self) -> None:
        provider = self.provider(lambda _request: self.accepted())
        order = WidgetOrder(INVOICE, None, Money(19900, "RUB"), "Кино", "customer:1", "ru", two_stage=False)
        text = str(provider.widget(self.shop, order))
        assert str(INVOICE) in text
        assert self.shop.api_secret not in text
        assert provider.widget_origins(self.shop)

    def test_the_secret_never_prints(self) -> None:
        assert self.shop.api_secret not in repr(self.shop)


class TestCloudPayments(ProviderContract):
    """CloudPayments fulfils the contract."""

    def provider(self, handler: Handler) -> Provider:
        return CloudPayments(CloudPaymentsClient(transport=httpx2.MockTransport(handler)))

    def paid(self) -> RawCallback:
        body = f"TransactionId=5&Amount=199.00&Currency=RUB&InvoiceId={INVOICE}&Status=Completed".encode()
        headers = {
            "content-hmac": webhook.signature(self.shop.api_secret, body),
            "x-content-hmac": webhook.signature(self.shop.api_secret, webhook.decoded(body)),
        }
        return RawCallback("POST", body, headers, "application/x-www-form-urlencoded")

    def accepted(self) -> httpx2.Response:
        return httpx2.Response(200, json={"Success": True, "Model": {"TransactionId": 9}})

    def rejected(self) -> httpx2.Response:
        return httpx2.Response(200, json={"Success": False, "Message": "the rest is smaller"})

    async def test_not_found_is_an_answer(self) -> None:
        client = self.provider(
            lambda _request: httpx2.Response(200, json={"Success": False, "Message": "Not found"})
        ).client
        found = await client.find(self.shop, invoice_id=INVOICE)
        assert found.known
        assert found.transactions == ()

    async def test_the_request_is_signed_in(self) -> None:
        seen: list[Any] = []

        def keep(request: httpx2.Request) -> httpx2.Response:
            seen.append(request)
            return self.accepted()

        await self.refund(keep)
        assert seen[0].headers["x-request-id"] == "refund:1"
        assert seen[0].headers["authorization"].startswith("Basic ")
        assert seen[0].url.path == "/payments/refund"


def test_every_provider_is_registered_under_its_own_name() -> None:
    assert {name: provider.code for name, provider in PROVIDERS.items()} == {name: name for name in PROVIDERS}
