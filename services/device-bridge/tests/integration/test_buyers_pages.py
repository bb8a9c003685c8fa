"""The buyer's way over HTTP, without JavaScript: the menu, the order, each refusal, paying, canceling, replays."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest

from copeck.kernel.clock import ManualClock
from copeck.testkit.tokens import TokenMint
from device_bridge.domain.machine import Status
from device_bridge.handlers.reports import on_prices
from device_bridge.pages.texts import TEXTS

from .buyers_site import DEVICE, HTML, Buyers, buyers_of, order_in

pytestmark = pytest.mark.integration

RU = TEXTS["ru"]


@pytest.fixture
async def site(database_urls: dict[str, str], token_mint: TokenMint) -> AsyncIterator[Buyers]:
    clock = ManualClock(datetime(2026, 11, 30, 9, 0, tzinfo=UTC))
    async with buyers_of(database_urls, token_mint, clock, rate_limit_factor=100) as found:
        await found.open()
        yield found


def refusal_in(html: str) -> str:
    return html.partition('data-refusal="')[2].partition('"')[0]


async def refused(site: Buyers, kind: str, status: int, path: str = f"/m/{DEVICE}", **query: str) -> str:
    """Open a page that must be refused, in both languages; return it in Russian."""
    russian = await site.page(path, expect=status, params=query)
    english = await site.page(path, expect=status, params=query, headers={"Accept-Language": "en"})
    for page, language in ((russian, "ru"), (english, "en")):
        assert refusal_in(page.text) == kind
        assert TEXTS[language][f"refused_{kind}"] in page.text.replace("&#39;", "'")
        assert "<form" not in page.text
    return russian.text


@pytest.mark.covers("GET /m/{device}")
async def test_the_menu_of_a_machine(site: Buyers) -> None:
    page = await site.page(f"/m/{DEVICE}")
    for words in ("Латте", "Чай", "средний", "150,00", "180,00", "90,00", "Lobby, Tverskaya 1"):
        assert words in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe-inline" not in policy
    assert "<script" not in page.text
    assert f'href="/m/{DEVICE}/order?drink=latte&amp;size=medium&amp;lang=ru"' in page.text
    english = await site.page(f"/m/{DEVICE}?lang=en")
    assert "Choose a drink" in english.text


@pytest.mark.covers(
    "GET /m/{device}/order", "POST /m/{device}/orders", "GET /m/orders/{order_id}", "error page order-not-found"
)
async def test_a_cup_is_bought_by_a_plain_form(site: Buyers) -> None:
    form = await site.form()
    assert form["price_minor"] == "15000"
    async with site.updater():
        answer = await site.send(form | {"contact": "anna@example.org"})
    location = urlsplit(answer.headers["Location"])
    order_id, token = order_in(answer.headers["Location"])
    order = await site.order_of(order_id)
    assert location.path == f"/pay/{order.invoice_id}"
    assert parse_qs(location.query)["back"] == [f"/m/orders/{order_id}?k={token}"]
    assert (order.status, order.receipt_address, order.language) == (Status.PENDING, "anna@example.org", "ru")
    cookie = answer.headers["Set-Cookie"]
    for words in (f"copeck_order_{order_id.hex}={token}", "HttpOnly", "Path=/m", "SameSite=lax"):
        assert words in cookie
    # The cookie alone is enough, and so is the link alone; a stranger has neither.
    waiting = await site.page(f"/m/orders/{order_id}")
    assert RU["stage_to_pay"] in waiting.text
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in waiting.text
    site.http.cookies.clear()
    await refused(site, "order-not-found", 404, f"/m/orders/{order_id}")
    site.http.cookies.clear()
    assert RU["stage_to_pay"] in (await site.page(f"/m/orders/{order_id}?k={token}")).text
    await site.hear(order_id, "paid")
    site.sent(order_id)
    for state, stage in (("accepted", "accepted"), ("started", "brewing"), ("done", "ready")):
        await site.reports(order_id, state)
        assert RU[f"stage_{stage}"] in (await site.page(f"/m/orders/{order_id}")).text
    ready = (await site.page(f"/m/orders/{order_id}")).text
    assert "http-equiv" not in ready
    assert "order.js" not in ready


async def test_the_same_form_makes_one_order_and_a_changed_one_another(site: Buyers) -> None:
    form = await site.form()
    async with site.updater():
        first = order_in((await site.send(form)).headers["Location"])
        again = order_in((await site.send(form)).headers["Location"])
        other = order_in((await site.send(form | {"contact": "anna@example.org"})).headers["Location"])
    assert first == again
    assert other[0] != first[0]
    assert site.sql("SELECT count(*) FROM devices.orders") == [(2,)]


async def test_a_late_invoice_is_not_waited_for_long(site: Buyers) -> None:
    answer = await site.send(await site.form())
    order_id, token = order_in(answer.headers["Location"])
    assert answer.headers["Location"] == f"/m/orders/{order_id}?k={token}&lang=ru"
    assert RU["stage_preparing"] in (await site.page(f"/m/orders/{order_id}")).text
    await site.hear(order_id, "issued")
    assert f'id="pay" href="/m/orders/{order_id}/pay?' in (await site.page(f"/m/orders/{order_id}")).text
    to_pay = await site.page(f"/m/orders/{order_id}/pay", expect=303)
    assert to_pay.headers["Location"].startswith(f"/pay/{(await site.order_of(order_id)).invoice_id}?")


@pytest.mark.covers("error page order-expired", "GET /m/orders/{order_id}/pay")
async def test_what_is_over_is_not_paid(site: Buyers) -> None:
    late, token = await site.bought()
    site.clock.advance(timedelta(minutes=15))
    page = await refused(site, "order-expired", 409, f"/m/orders/{late}/pay", k=token)
    assert f'href="/m/{DEVICE}?lang=ru"' in page
    await site.hear(late, "expired")
    await refused(site, "order-expired", 409, f"/m/orders/{late}/pay", k=token)
    await site.beats()
    paid, token = await site.bought()
    await site.hear(paid, "paid")
    gone_on = await site.page(f"/m/orders/{paid}/pay?k={token}", expect=303)
    assert gone_on.headers["Location"].startswith(f"/m/orders/{paid}?")


async def test_a_machine_that_is_not_well_any_more_is_not_paid(site: Buyers) -> None:
    """Defect: a page that was left open led to the pay page of a machine that was off by then."""
    order_id, token = await site.bought()
    path = f"/m/orders/{order_id}/pay"
    for state, kind in (("error", "device-in-error"), ("sold_out", "device-sold-out")):
        await site.says(state)  # type: ignore[arg-type]
        assert 'id="retry"' in await refused(site, kind, 409, path, k=token)
    await site.says("ready", online=False)
    await refused(site, "device-off", 409, path, k=token)
    await site.says("ready", sold_out=[("latte", "medium")])
    await refused(site, "drink-sold-out", 409, path, k=token)
    await site.says("ready")
    to_pay = await site.page(path, expect=303, params={"k": token})
    assert to_pay.headers["Location"].startswith("/pay/")
    site.sql("DELETE FROM devices.drinks WHERE drink_id = 'latte'")
    await refused(site, "drink-unknown", 404, path, k=token)


@pytest.mark.covers("POST /m/orders/{order_id}/cancel", "error page not-allowed-now")
async def test_an_unpaid_order_is_canceled_and_a_paid_one_is_not(site: Buyers) -> None:
    order_id, token = await site.bought()
    path = f"/m/orders/{order_id}/cancel?k={token}"
    answer = await site.http.post(path, headers=HTML)
    assert answer.status_code == 303
    [(body,)] = site.sql(
        "SELECT convert_from(body, 'utf8') FROM devices.outbox WHERE headers->>'cloudEvents:type' = 'invoice.cancel.v1'"
    )
    assert str((await site.order_of(order_id)).invoice_id) in body
    await site.hear(order_id, "canceled")
    assert RU["stage_canceled"] in (await site.page(f"/m/orders/{order_id}")).text

    paid, token = await site.bought()
    await site.hear(paid, "paid")
    answer = await site.http.post(f"/m/orders/{paid}/cancel?k={token}", headers=HTML)
    assert (answer.status_code, refusal_in(answer.text)) == (409, "not-allowed-now")
    assert (await site.http.post(f"/m/orders/{paid}/cancel?k=wrong", headers=HTML)).status_code == 404


async def test_expired_late_and_refunded_orders_say_what_became_of_the_money(site: Buyers) -> None:
    expired, _ = await site.bought()
    await site.hear(expired, "expired")
    assert RU["stage_expired"] in (await site.page(f"/m/orders/{expired}")).text
    failed, _ = await site.bought(contact="anna@example.org")
    await site.hear(failed, "paid")
    site.sent(failed)
    await site.reports(failed, "failed", "no_water")
    page = (await site.page(f"/m/orders/{failed}")).text
    assert RU["stage_refunding"] in page
    assert RU["why_brew_failed"] in page
    await site.refunded(failed, "pending")
    await site.refunded(failed, "succeeded")
    assert RU["stage_refunded"] in (await site.page(f"/m/orders/{failed}")).text


@pytest.mark.covers(
    "error page device-off",
    "error page device-in-error",
    "error page device-sold-out",
    "error page device-stopped",
    "error page device-unknown",
    "error page merchant-inactive",
)
async def test_a_machine_that_does_not_sell_says_why(site: Buyers) -> None:
    await site.says("ready", online=False)
    await refused(site, "device-off", 409)
    await site.says("error")
    await refused(site, "device-in-error", 409)
    await site.says("sold_out")
    await refused(site, "device-sold-out", 409)
    await site.says("busy")
    assert RU["busy"] in (await site.page(f"/m/{DEVICE}")).text
    await site.says("ready")
    await refused(site, "device-unknown", 404, "/m/nobody")
    site.clock.advance(timedelta(seconds=91))
    await refused(site, "device-off", 409)
    await site.beats()
    await site.page(f"/m/{DEVICE}")
    stop = "UPDATE devices.devices SET selling = false, stopped_reason = 'cleaning', stopped_by = 'me', stopped_at = %s"
    site.sql(stop, site.clock.now())
    await refused(site, "device-stopped", 409)
    site.sql("UPDATE devices.devices SET selling = true, stopped_reason = NULL, stopped_by = NULL, stopped_at = NULL")
    site.sql("UPDATE devices.merchants SET active_until = %s", site.clock.now())
    await refused(site, "merchant-inactive", 409)


async def test_a_machine_may_have_words_of_its_own(site: Buyers) -> None:
    site.sql("UPDATE devices.devices SET texts = %s", '{"off": {"ru": "Чистим до обеда"}, "ready": {"ru": "Новинка"}}')
    assert "Новинка" in (await site.page(f"/m/{DEVICE}")).text
    await site.says("ready", online=False)
    page = await refused(site, "device-off", 409)
    assert "Чистим до обеда" in page
    assert RU["refused_device-off_text"] not in page


@pytest.mark.covers(
    "error page drink-unknown",
    "error page drink-sold-out",
    "error page drink-unavailable",
    "error page price-unknown",
    "defect: a price of nothing becomes 50 roubles",
)
async def test_a_drink_that_is_not_sold_says_why(site: Buyers) -> None:
    path = f"/m/{DEVICE}/order"
    await refused(site, "drink-unknown", 404, path, drink="mate", size="small")
    await refused(site, "drink-unknown", 404, path, drink="latte", size="gigantic")
    await site.says("ready", sold_out=[("latte", "medium")])
    await refused(site, "drink-sold-out", 409, path, drink="latte", size="medium")
    assert "закончился" in (await site.page(f"/m/{DEVICE}")).text
    await site.says("ready")
    site.sql("UPDATE devices.drinks SET available = false WHERE drink_id = 'tea'")
    await refused(site, "drink-unavailable", 409, path, drink="tea", size="small")
    site.sql("UPDATE devices.drinks SET price_minor = NULL WHERE drink_id = 'latte'")
    site.sql("UPDATE devices.devices SET price_rule = 'telemetry_then_catalogue'")
    await refused(site, "price-unknown", 409, path, drink="latte", size="large")
    # A price of nothing is what a machine says that does not know: it is no price, and none is invented for it.
    await on_prices(site.context, DEVICE, [("latte", "large", 0)])
    await refused(site, "price-unknown", 409, path, drink="latte", size="large")
    await on_prices(site.context, DEVICE, [("latte", "large", 17_000)])
    assert "170,00" in (await site.page(path, params={"drink": "latte", "size": "large"})).text


@pytest.mark.covers("error page price-changed")
async def test_what_changed_while_the_form_was_open_is_refused_too(site: Buyers) -> None:
    form = await site.form()
    site.sql("UPDATE devices.drinks SET price_minor = 16000 WHERE drink_id = 'latte'")
    assert refusal_in((await site.send(form, expect=409)).text) == "price-changed"
    site.sql("UPDATE devices.drinks SET price_minor = 15000 WHERE drink_id = 'latte'")
    for state, kind in (("error", "device-in-error"), ("sold_out", "device-sold-out")):
        await site.says(state)
        assert refusal_in((await site.send(form, expect=409)).text) == kind
    assert refusal_in((await site.send(form | {"drink": "mate"}, expect=404)).text) == "drink-unknown"
    assert site.sql("SELECT count(*) FROM devices.orders") == [(0,)]


async def test_a_wrong_contact_is_said_beside_it_and_nothing_is_ordered(site: Buyers) -> None:
    answer = await site.send(await site.form() | {"contact": '"anna"'}, expect=422)
    assert RU["contact_wrong"] in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert 'value="&#34;anna&#34;"' in answer.text
    assert site.sql("SELECT count(*) FROM devices.orders") == [(0,)]


@pytest.mark.parametrize(("typed", "kept"), [("8 900 123-45-67", "+79001234567"), ("", None)])
async def test_phones_are_kept_and_nothing_is_sent_to_them(site: Buyers, typed: str, kept: str | None) -> None:
    order_id, _ = await site.bought(contact=typed)
    assert (await site.order_of(order_id)).receipt_address == kept
    page = (await site.page(f"/m/orders/{order_id}")).text
    assert ("СМС не отправляем" in page) == bool(kept)
    await site.hear(order_id, "paid")
    site.sent(order_id)
    await site.reports(order_id, "done")
    assert site.sql("SELECT count(*) FROM devices.receipts") == [(0,)]


@pytest.mark.covers("error page link-replayed", "error page link-stale")
async def test_a_signed_link_makes_its_order_once(site: Buyers) -> None:
    link = site.link(order="m-42")
    page = await site.page(f"/m/{DEVICE}/order", params=link)
    form = await site.form(**link)
    assert (form["order"], form["sig"]) == ("m-42", link["sig"])
    assert "150,00" in page.text
    async with site.updater():
        first = await site.send(form)
        order_id, _ = order_in(first.headers["Location"])
        assert order_in((await site.send(form)).headers["Location"])[0] == order_id
    assert (await site.order_of(order_id)).machine_order_id == "m-42"
    # Its maker is led to the order, also when the link is old by now; nobody else is.
    mine = await site.page(f"/m/{DEVICE}/order", params=link, expect=303)
    assert mine.headers["Location"].startswith(f"/m/orders/{order_id}?")
    site.clock.advance(timedelta(minutes=11))
    await site.beats()
    assert (await site.page(f"/m/{DEVICE}/order", params=link, expect=303)).headers["Location"]
    site.http.cookies.clear()
    await refused(site, "link-stale", 410, f"/m/{DEVICE}/order", **link)
    site.clock.advance(-timedelta(minutes=11))
    await refused(site, "link-replayed", 409, f"/m/{DEVICE}/order", **link)
    other = await site.send(form | {"form_key": str(uuid4())}, expect=409)
    assert refusal_in(other.text) == "link-replayed"
    assert site.sql("SELECT count(*) FROM devices.orders") == [(1,)]


@pytest.mark.covers("error page link-stale", "error page link-forged", "defect: a link that nobody signed is taken")
async def test_stale_and_forged_links_are_refused_in_plain_words(site: Buyers) -> None:
    path, good = f"/m/{DEVICE}/order", site.link()
    await refused(site, "link-stale", 410, path, **site.link(age_s=601))
    await refused(site, "link-stale", 410, path, **site.link(age_s=-121))
    forged: list[dict[str, Any]] = [
        good | {"sig": "0" * 64},
        good | {"size": "large"},
        good | {"drink": "tea"},
        good | {"order": "m-2"},
        good | {"ts": str(int(good["ts"]) + 1)},
        {name: value for name, value in good.items() if name != "sig"},
        {name: value for name, value in good.items() if name not in ("ts", "sig")},
    ]
    for link in forged:
        await refused(site, "link-forged", 403, path, **link)
    site.sql("UPDATE devices.devices SET key_number = key_number + 1")
    await refused(site, "link-forged", 403, path, **good)
    form = await site.form()
    assert refusal_in((await site.send(form | good, expect=403)).text) == "link-forged"
    assert site.sql("SELECT count(*) FROM devices.orders") == [(0,)]


async def test_unreadable_requests_have_a_page(site: Buyers) -> None:
    answer = await site.page(f"/m/{DEVICE}/order", expect=422)
    assert refusal_in(answer.text) == "invalid-value"
    assert (await site.http.get("/m/orders/none/status")).headers["Content-Type"] == "application/problem+json"
    form = await site.form()
    for odd in ({"form_key": "x"}, {"drink": "a b"}, {"size": "gigantic"}):
        assert refusal_in((await site.send(form | odd, expect=422)).text) == "invalid-value"
    await site.send(form | {"drink": "\x00"}, expect=422)


async def test_orders_are_limited_by_address_and_by_machine(
    database_urls: dict[str, str], token_mint: TokenMint
) -> None:
    clock = ManualClock(datetime(2026, 11, 30, 9, 0, tzinfo=UTC))
    async with buyers_of(database_urls, token_mint, clock) as site:
        await site.open()
        form = await site.form()
        for _ in range(12):
            await site.send(form | {"drink": "mate"}, expect=404)
        limited = await site.send(form, expect=429)
        assert refusal_in(limited.text) == "rate-limited"
        assert int(limited.headers["Retry-After"]) >= 1
        assert RU["refused_rate-limited_text"] in limited.text
        seen = [await _status_from(site, form, number) for number in range(40)]
        assert seen.count(404) == 28
        assert set(seen) == {404, 429}


async def _status_from(site: Buyers, form: dict[str, str], number: int) -> int:
    headers = HTML | {"X-Forwarded-For": f"10.0.0.{number}"}
    answer = await site.http.post(f"/m/{DEVICE}/orders", data=form | {"drink": "mate"}, headers=headers)
    return answer.status_code


@pytest.mark.covers(
    "GET /devices/api/v1/public/devices/{device_id}",
    "POST /devices/api/v1/public/devices/{device_id}/orders",
    "GET /devices/api/v1/public/orders/{order_id}",
    "POST /devices/api/v1/public/orders/{order_id}/cancel",
)
async def test_the_buyers_way_as_json(site: Buyers) -> None:
    api = "/devices/api/v1/public"
    menu = (await site.http.get(f"{api}/devices/{DEVICE}")).json()
    assert (menu["state"], menu["refusal"]) == ("ready", None)
    assert {(line["drink"], line["size"], line["price"]["value"]) for line in menu["drinks"]} == {
        ("latte", "medium", "150.00"), ("latte", "large", "180.00"), ("tea", "small", "90.00")
    }  # fmt: skip
    body = {"drink": "latte", "size": "medium", "contact": "anna@example.org", "language": "en"}
    body |= {"price": {"value": "150.00", "currency": "RUB"}}  # type: ignore[dict-item]
    headers = {"Idempotency-Key": "one"}
    async with site.updater():
        made = await site.http.post(f"{api}/devices/{DEVICE}/orders", json=body, headers=headers)
        again = await site.http.post(f"{api}/devices/{DEVICE}/orders", json=body, headers=headers)
    assert (made.status_code, again.json()) == (201, made.json())
    answer = made.json()
    assert answer["status"]["stage"] == "to_pay"
    assert answer["status"]["pay_path"].startswith(f"/pay/{answer['invoice_id']}?")
    other = await site.http.post(f"{api}/devices/{DEVICE}/orders", json=body | {"size": "large"}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "urn:copeck:problem:idempotency-key-reused")
    order = f"{api}/orders/{answer['order_id']}"
    assert (await site.http.get(order, params={"k": "wrong"})).status_code == 404
    seen = (await site.http.get(order, params={"k": answer["token"], "lang": "en"})).json()
    assert seen["title"] == "Waiting for your payment"
    canceled = await site.http.post(f"{order}/cancel", params={"k": answer["token"]})
    assert canceled.status_code == 204
    await site.hear(UUID(answer["order_id"]), "canceled")
    assert (await site.http.get(order, params={"k": answer["token"]})).json()["final"] is True
    refusal = await site.http.post(
        f"{api}/devices/{DEVICE}/orders", json=body | {"price": {"value": "1.00", "currency": "RUB"}},
        headers={"Idempotency-Key": "two"},
    )  # fmt: skip
    assert (refusal.status_code, refusal.json()["type"]) == (409, "urn:copeck:problem:price-changed")
