"""What every provider must do, whoever it is: each inherits `ProviderContract` and brings only its own words."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx2
import pytest

from copeck.kernel.money import MINOR_MAX, Money
from payments_gateway.domain.provider import (
    Answer,
    AttemptStatus,
    CheckAnswer,
    NotificationKind,
    NoWidgetError,
    PayoutClient,
    PayoutOrder,
    Provider,
    RawCallback,
    Shop,
    SilentProviderError,
    UnreadableCallback,
    Verdict,
    WidgetOrder,
)
from payments_gateway.domain.recipients import Recipient, RecipientKind
from payments_gateway.providers.cloudpayments import CloudPayments, webhook
from payments_gateway.providers.cloudpayments.client import CloudPaymentsClient
from payments_gateway.providers.http import Connections
from payments_gateway.providers.mock import Mock
from payments_gateway.providers.mock.client import MockClient
from payments_gateway.providers.registry import PROVIDERS

INVOICE = UUID("0190a5b0-0000-7000-8000-00000000000a")
REFUND = UUID("0190a5b0-0000-7000-8000-00000000000c")
PAYOUT = UUID("0190a5b0-0000-7000-8000-00000000000d")
SAVED_CARD = Recipient(RecipientKind.CARD_TOKEN, token="tk_0123456789abcdef")
PHONE = Recipient(RecipientKind.SBP, phone="+79001234567", bank_id="100000000004")
SHOP = Shop("cloudpayments", "main", "pk_test", "secret_value", "http://provider.test", "http://widget.test/w.js")
Handler = Callable[[httpx2.Request], httpx2.Response]


class ProviderContract:
    """The suite; a provider's class says how its wire looks."""

    shop: Shop = SHOP

    def provider(self, handler: Handler) -> Provider:
        """Return the provider, speaking to a handler instead of the network."""
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

    def test_the_secret_never_prints(self) -> None:
        assert self.shop.api_secret not in repr(self.shop)


class PayoutContract:
    """The suite of what sends money out."""

    shop: Shop = SHOP

    def provider(self, handler: Handler) -> Provider:
        """Return the provider, speaking to a handler instead of the network."""
        raise NotImplementedError

    def paid_out(self) -> httpx2.Response:
        """Return the answer to a payout that was made, or to the question after it."""
        raise NotImplementedError

    def declined(self) -> httpx2.Response:
        """Return the answer to a payout that was refused."""
        raise NotImplementedError

    def not_there(self) -> httpx2.Response:
        """Return the answer to a question after a payout that nobody knows."""
        raise NotImplementedError

    def payouts(self, handler: Handler) -> PayoutClient:
        client = self.provider(handler).payouts
        assert client is not None
        return client

    async def pay_out(self, handler: Handler, recipient: Recipient = SAVED_CARD) -> Answer:
        order = PayoutOrder(PAYOUT, 2, Money(1010, "RUB"), recipient)
        return await self.payouts(handler).pay_out(self.shop, key=f"payout:{PAYOUT}:2", order=order)

    async def test_a_payout_that_was_made(self) -> None:
        answer = await self.pay_out(lambda _request: self.paid_out())
        assert answer.verdict is Verdict.SUCCEEDED
        assert answer.transaction_id

    async def test_a_payout_that_was_refused_says_why(self) -> None:
        answer = await self.pay_out(lambda _request: self.declined())
        assert answer.verdict is Verdict.REJECTED
        assert answer.reason

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
    async def test_a_refusal_by_status_fails_a_payout_at_once(self, status: int) -> None:
        answer = await self.pay_out(lambda _request: httpx2.Response(status, text="no"))
        assert answer.verdict is Verdict.REJECTED
        assert str(status) in (answer.reason or "")

    @pytest.mark.parametrize("status", [425, 429])
    async def test_what_was_put_off_was_not_executed(self, status: int) -> None:
        answer = await self.pay_out(lambda _request: httpx2.Response(status, text="later"))
        assert answer.verdict is Verdict.NOT_SENT

    @pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 302])
    async def test_i08_a_status_that_proves_nothing_of_a_payout_is_unknown(self, status: int) -> None:
        answer = await self.pay_out(lambda _request: httpx2.Response(status, text="no"))
        assert answer.verdict is Verdict.UNKNOWN

    @pytest.mark.parametrize("body", ["", "<html>", "[]", "{}", '{"Success": 1, "status": 1}'])
    async def test_i08_an_answer_to_a_payout_that_makes_no_sense_is_unknown(self, body: str) -> None:
        answer = await self.pay_out(lambda _request: httpx2.Response(200, text=body))
        assert answer.verdict is Verdict.UNKNOWN

    @pytest.mark.parametrize("error", [httpx2.ReadTimeout, httpx2.ReadError, httpx2.RemoteProtocolError])
    async def test_i08_a_connection_that_breaks_under_a_payout_is_unknown(
        self, error: type[httpx2.RequestError]
    ) -> None:
        def broken(request: httpx2.Request) -> httpx2.Response:
            raise error("broken", request=request)

        assert (await self.pay_out(broken)).verdict is Verdict.UNKNOWN

    async def test_a_payout_that_was_never_sent_may_be_sent_again(self) -> None:
        def refused(request: httpx2.Request) -> httpx2.Response:
            raise httpx2.ConnectError("refused", request=request)

        assert (await self.pay_out(refused)).verdict is Verdict.NOT_SENT

    @pytest.mark.parametrize("recipient", [SAVED_CARD, PHONE])
    async def test_i12_i14_amount_reference_and_key_travel_and_the_recipient_is_not_kept(
        self, recipient: Recipient
    ) -> None:
        seen: list[httpx2.Request] = []

        def keep(request: httpx2.Request) -> httpx2.Response:
            seen.append(request)
            return self.paid_out()

        answer = await self.pay_out(keep, recipient)
        assert b"10.10" in seen[0].content
        assert f"{PAYOUT}-2".encode() in seen[0].content
        assert f"payout:{PAYOUT}:2" in str(seen[0].headers)
        kept = json.dumps([answer.exchange.request, answer.exchange.response])
        for secret in (self.shop.api_secret, SAVED_CARD.token, PHONE.phone):
            assert secret not in kept

    async def test_a_payout_is_found_by_its_reference(self) -> None:
        found = await self.payouts(lambda _request: self.paid_out()).find_payout(self.shop, reference=f"{PAYOUT}-2")
        assert found.known
        (transaction,) = found.transactions
        assert (transaction.status, transaction.invoice_ref) == (AttemptStatus.SUCCEEDED, f"{PAYOUT}-2")

    async def test_a_payout_that_does_not_exist_is_certainly_not_there(self) -> None:
        found = await self.payouts(lambda _request: self.not_there()).find_payout(self.shop, reference=f"{PAYOUT}-2")
        assert (found.known, found.transactions) == (True, ())

    @pytest.mark.parametrize("status", [401, 404, 429, 500])
    async def test_a_question_after_a_payout_that_is_not_answered_proves_nothing(self, status: int) -> None:
        client = self.payouts(lambda _request: httpx2.Response(status, text="no"))
        assert not (await client.find_payout(self.shop, reference=f"{PAYOUT}-2")).known


class CallbackContract:
    """The suite of a provider that has a page and sends callbacks."""

    shop: Shop = SHOP

    def provider(self, handler: Handler) -> Provider:
        """Return the provider, speaking to a handler instead of the network."""
        raise NotImplementedError

    def accepted(self) -> httpx2.Response:
        """Return any answer."""
        raise NotImplementedError

    def paid(self) -> RawCallback:
        """Return an authentic callback that says that INVOICE was paid: 199.00 roubles."""
        raise NotImplementedError

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


class TestCloudPayments(ProviderContract, PayoutContract, CallbackContract):
    """CloudPayments fulfils the contract."""

    def provider(self, handler: Handler) -> Provider:
        return CloudPayments(CloudPaymentsClient(transport=httpx2.MockTransport(handler)))

    def paid(self) -> RawCallback:
        body = f"TransactionId=5&Amount=199.00&Currency=RUB&InvoiceId={INVOICE}&Status=Completed"
        body = f"{body}&GatewayName=Test".encode()
        headers = {
            "content-hmac": webhook.signature(self.shop.api_secret, body),
            "x-content-hmac": webhook.signature(self.shop.api_secret, webhook.decoded(body)),
        }
        return RawCallback("POST", body, headers, "application/x-www-form-urlencoded")

    def accepted(self) -> httpx2.Response:
        return httpx2.Response(200, json={"Success": True, "Model": {"TransactionId": 9}})

    def rejected(self) -> httpx2.Response:
        return httpx2.Response(200, json={"Success": False, "Message": "the rest is smaller"})

    def paid_out(self) -> httpx2.Response:
        model = {"TransactionId": 9, "Type": 2, "Status": "Completed", "InvoiceId": f"{PAYOUT}-2", "Amount": 10}
        return httpx2.Response(200, json={"Success": True, "Model": model | {"Token": SAVED_CARD.token}})

    def declined(self) -> httpx2.Response:
        model = {"TransactionId": 9, "Status": "Declined", "ReasonCode": 5051, "Reason": "InsufficientFunds"}
        return httpx2.Response(200, json={"Success": False, "Model": model})

    def not_there(self) -> httpx2.Response:
        return httpx2.Response(200, json={"Success": False, "Message": "Not found"})

    async def test_a_payout_under_way_is_pending(self) -> None:
        model = {"TransactionId": 9, "Status": "Pending", "StatusCode": 6}
        answer = await self.pay_out(lambda _request: httpx2.Response(200, json={"Success": True, "Model": model}))
        assert answer.verdict is Verdict.PENDING

    async def test_each_kind_of_recipient_has_its_call(self) -> None:
        paths: list[str] = []

        def keep(request: httpx2.Request) -> httpx2.Response:
            paths.append(request.url.path)
            return self.paid_out()

        await self.pay_out(keep, SAVED_CARD)
        await self.pay_out(keep, PHONE)
        assert paths == ["/payments/token/topup", "/payments/alt/topup"]
        assert not self.payouts(keep).pays(RecipientKind.ACCOUNT)

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


class TestMock(ProviderContract, PayoutContract):
    """The mock gateway fulfils the contract; it has neither page nor callbacks."""

    shop = Shop("mock", "main", "mock_test", "mock_secret_value", "http://provider.test")

    def provider(self, handler: Handler) -> Provider:
        return Mock(MockClient(transport=httpx2.MockTransport(handler)))

    def accepted(self) -> httpx2.Response:
        return httpx2.Response(200, json={"status": "success", "transaction_id": "mock_9", "payment_id": "x"})

    def rejected(self) -> httpx2.Response:
        return httpx2.Response(422, json={"status": "failed", "error": "declined"})

    def paid_out(self) -> httpx2.Response:
        shown = {"status": "success", "transaction_id": "mock_9", "payment_id": f"{PAYOUT}-2", "type": "withdraw"}
        return httpx2.Response(200, json=shown | {"amount": "10.10", "currency": "RUB"})

    def declined(self) -> httpx2.Response:
        return httpx2.Response(402, json={"status": "failed", "error": "insufficient_balance"})

    def not_there(self) -> httpx2.Response:
        return httpx2.Response(404, json={"error": "not_found"})

    async def test_a_dry_balance_is_named(self) -> None:
        answer = await self.pay_out(lambda _request: self.declined())
        assert (answer.verdict, answer.code) == (Verdict.REJECTED, "insufficient_balance")

    async def test_the_balance_is_exact(self) -> None:
        shown = {"balance": "1000000.07", "currency": "RUB"}
        client = self.payouts(lambda _request: httpx2.Response(200, json=shown))
        assert await client.balance(self.shop, currency="RUB") == Money(100_000_007, "RUB")

    @pytest.mark.parametrize(
        ("said", "minor"), [("90000000.00", MINOR_MAX), ("90000000.01", MINOR_MAX), ("1e30", MINOR_MAX), ("0.00", 0)]
    )
    async def test_more_than_any_amount_is_enough_for_every_amount(self, said: str, minor: int) -> None:
        shown = {"balance": said, "currency": "RUB"}
        client = self.payouts(lambda _request: httpx2.Response(200, json=shown))
        assert await client.balance(self.shop, currency="RUB") == Money(minor, "RUB")

    async def test_a_gateway_without_the_call_tells_no_balance(self) -> None:
        client = self.payouts(lambda _request: httpx2.Response(404, text="no"))
        assert await client.balance(self.shop, currency="RUB") is None

    @pytest.mark.parametrize(
        ("status", "said"),
        [
            (401, {}), (429, {}), (500, {}), (200, {}), (200, {"balance": "NaN", "currency": "RUB"}),
            (200, {"balance": "1.00", "currency": "USD"}), (200, {"balance": "x", "currency": "RUB"}),
        ],
    )  # fmt: skip
    async def test_a_balance_that_is_not_told_is_not_taken_for_plenty(self, status: int, said: dict[str, str]) -> None:
        client = self.payouts(lambda _request: httpx2.Response(status, json=said))
        with pytest.raises(SilentProviderError) as silent:
            await client.balance(self.shop, currency="RUB")
        assert (silent.value.status, silent.value.retry_after_s) == (503, 5)

    async def test_a_charge_and_a_refund_are_found_by_their_ids(self) -> None:
        def known(request: httpx2.Request) -> httpx2.Response:
            reference = request.url.path.rpartition("/")[2]
            return httpx2.Response(200, json={"payment_id": reference, "status": "failed", "error": "declined"})

        provider = self.provider(known)
        assert provider.charges is not None
        charged = await provider.charges.find_charge(self.shop, payment_id=PAYOUT)
        assert [item.status for item in charged.transactions] == [AttemptStatus.FAILED]
        refunded = await provider.client.find_refund(self.shop, refund_id=REFUND)
        assert refunded is not None
        assert [(item.refund_id, item.is_refund) for item in refunded.transactions] == [(REFUND, True)]

    def test_i07_nothing_that_claims_to_be_a_callback_is_authentic(self) -> None:
        provider = self.provider(lambda _request: self.accepted())
        raw = RawCallback("POST", b"{}", {}, "application/json")
        assert not provider.verify(self.shop, raw)
        with pytest.raises(UnreadableCallback):
            provider.read(NotificationKind.PAY, raw)

    def test_there_is_no_page_and_it_says_so(self) -> None:
        provider = self.provider(lambda _request: self.accepted())
        order = WidgetOrder(INVOICE, None, Money(19900, "RUB"), "", "customer:1", "ru", two_stage=False)
        with pytest.raises(NoWidgetError, match="no page"):
            provider.widget(self.shop, order)
        assert not provider.has_widget


async def test_a_client_belongs_to_its_event_loop() -> None:
    """A connection that one loop opened must never be used by another: a worker's process and its tests have many."""
    connections = Connections(httpx2.MockTransport(lambda _request: httpx2.Response(200)))
    here = connections.of(SHOP, "http://provider.test")
    assert connections.of(SHOP, "http://provider.test") is here

    async def elsewhere() -> httpx2.AsyncClient:
        return connections.of(SHOP, "http://provider.test")

    assert await asyncio.to_thread(asyncio.run, elsewhere()) is not here
    await connections.close()
    assert here.is_closed


def test_every_provider_is_registered_under_its_own_name() -> None:
    assert {name: provider.code for name, provider in PROVIDERS.items()} == {name: name for name in PROVIDERS}
