"""What a machine promises a thirsty person: choose, pay by a test card, watch it brewed, or have the money back.

Only the address of the printed QR code (or the one on the machine's screen) is opened; the rest is links and buttons.
"""

from __future__ import annotations

import secrets

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import coffee_scenario as coffee
from tests.e2e.coffee_scenario import Kiosk
from tests.e2e.scenario import DECLINED_CARD, Site, client, eventually

from .conftest import Visit, Visitor
from .test_cabinet_pages import open_widget, pay, type_card

# Long enough to come from the pay page and look at it; short where nobody looks.
LOOKED_AT_MS = 8_000
BREW_MS = 500
LIVE_MS = 45_000
STAGE = {
    "ru": {"ready": "Готово, приятного кофе!", "refunded": "Деньги возвращены", "brewing": "Готовим ваш напиток"},
    "en": {"ready": "Ready, enjoy your coffee!", "refunded": "Your money was returned", "brewing": "being made"},
}
MARK = "window.__unloaded = false; window.addEventListener('pagehide', () => { window.__unloaded = true; });"


@pytest.fixture(scope="module")
def kiosk(site: Site) -> Kiosk:
    return coffee.set_up_kiosk(site, f"browser-{secrets.token_hex(3)}")


@pytest.fixture(autouse=True)
def ready(site: Site, kiosk: Kiosk) -> None:
    """Each test finds the machine in order."""
    coffee.switch(site, kiosk, powered=True, error="", sold_out=[], brew_ms=BREW_MS)
    coffee.wait_for_state(site, kiosk, "ready", "busy")


def choose(page: Page, drink: str = "cappuccino", size: str = "medium") -> None:
    page.locator(f"[data-drink={drink}] a[data-size={size}]").click()
    expect(page.locator("#order #pay")).to_be_visible()


def order(visit: Visit, kiosk: Kiosk, contact: str = "", drink: str = "cappuccino", size: str = "medium") -> None:
    """Go from the printed code to the pay page."""
    page = visit.page
    page.goto(kiosk.page_url)
    choose(page, drink, size)
    if contact:
        page.locator("#contact").fill(contact)
    page.locator("#order #pay").click()
    expect(page.locator("#invoice")).to_have_attribute("data-state", "payable")


def is_at(page: Page, stage: str) -> None:
    expect(page.locator("#order")).to_have_attribute("data-stage", stage, timeout=LIVE_MS)


@pytest.mark.parametrize(("size", "language"), [("phone", "ru"), ("desktop", "en"), ("desktop", "ru"), ("phone", "en")])
def test_buys_a_cup_and_sees_it_brewed(visitor: Visitor, site: Site, kiosk: Kiosk, size: str, language: str) -> None:
    visit, address = visitor(size, language), f"buyer-{secrets.token_hex(4)}@example.org"
    coffee.switch(site, kiosk, brew_ms=LOOKED_AT_MS)
    page = visit.page
    page.goto(kiosk.page_url)
    expect(page.locator("html")).to_have_attribute("lang", language)
    visit.picture("1-menu")
    visit.check_accessibility()
    choose(page)
    page.locator("#contact").fill(address)
    visit.picture("2-order")
    visit.check_accessibility()
    page.locator("#order #pay").click()
    expect(page.locator("#invoice")).to_have_attribute("data-state", "payable")
    expect(page.locator("html")).to_have_attribute("lang", language)
    visit.picture("3-to-pay")
    visit.check_accessibility()
    pay(page)
    # The pay page leads back to the order by itself.
    page.wait_for_url("**/m/orders/*", timeout=LIVE_MS)
    page.evaluate(MARK)
    expect(page.locator("#order")).to_have_attribute("data-stage", "brewing", timeout=LIVE_MS)
    expect(page.locator("#stage-title")).to_contain_text(STAGE[language]["brewing"])
    visit.picture("4-brewing")
    visit.check_accessibility()
    is_at(page, "ready")
    expect(page.locator("#stage-title")).to_have_text(STAGE[language]["ready"])
    expect(page).to_have_title(f"{STAGE[language]['ready']} · Copeck")
    # It came without a reload: the very document that was marked is still there.
    assert page.evaluate("window.__unloaded") is False
    visit.picture("5-ready")
    visit.check_accessibility()
    order_id = page.locator("#order").get_attribute("data-order")
    with coffee.machines_of(site) as machines:
        log = machines.get("/control/log", params={"order_id": order_id, "event": "brew.poured"}).json()["items"]
    assert len(log) == 1
    assert eventually(lambda: coffee.mails(site, address) or None, "the receipt came")


@pytest.mark.parametrize(("size", "language"), [("phone", "ru"), ("desktop", "en")])
def test_a_failed_brew_is_refunded_before_the_buyers_eyes(
    visitor: Visitor, site: Site, kiosk: Kiosk, size: str, language: str
) -> None:
    visit = visitor(size, language)
    page = visit.page
    order(visit, kiosk, drink="espresso", size="small")
    coffee.arm(site, kiosk, "failed_brew")
    pay(page)
    page.wait_for_url("**/m/orders/*", timeout=LIVE_MS)
    page.evaluate(MARK)
    is_at(page, "refunded")
    assert page.evaluate("window.__unloaded") is False
    expect(page.locator("#stage-title")).to_have_text(STAGE[language]["refunded"])
    visit.picture("refunded")
    visit.check_accessibility()
    made = page.locator("#order").get_attribute("data-order") or ""
    with coffee.machines_of(site) as machines:
        log = machines.get("/control/log", params={"order_id": made, "event": "brew.poured"}).json()["items"]
    assert log == []


def test_the_machines_own_code_leads_to_its_drink(visitor: Visitor, site: Site, kiosk: Kiosk) -> None:
    visit = visitor("phone", "ru")
    page = visit.page
    page.goto(kiosk.shop_url + coffee.choose(site, kiosk, "latte", "medium"))
    expect(page.locator("h1")).to_contain_text("Латте")
    visit.picture("1-chosen-on-the-machine")
    visit.check_accessibility()
    page.locator("#order #pay").click()
    expect(page.locator("#invoice")).to_have_attribute("data-state", "payable")
    # Scanned again by the same phone, it leads to the order that it made.
    page.locator("#home a").click()
    is_at(page, "to_pay")
    visit.picture("2-to-pay")
    visit.check_accessibility()
    page.locator("#to-pay #cancel").click()
    is_at(page, "canceled")
    visit.picture("3-canceled")
    visit.check_accessibility()


def test_works_without_scripts_but_for_the_widget(visitor: Visitor, site: Site, kiosk: Kiosk) -> None:
    plain = visitor("phone", "en", scripts=False)
    page = plain.page
    page.goto(kiosk.page_url)
    choose(page, "latte", "medium")
    page.locator("#contact").fill("neither")
    page.locator("#order #pay").click()
    expect(page.locator("#contact-wrong")).to_be_visible()
    plain.picture("1-contact")
    page.locator("#contact").fill("8 900 123-45-67")
    page.locator("#order #pay").click()
    expect(page.locator("#invoice")).to_be_visible()
    invoice = page.url.split("?")[0].rsplit("/", 1)[1]
    page.locator("#home a").click()
    is_at(page, "to_pay")
    expect(page.locator("#receipt")).to_contain_text("We send no SMS")
    plain.picture("2-to-pay")
    # Paid elsewhere; this page reloads itself until the cup is there.
    with client(site.public_url) as http:
        coffee.pay(site, http, coffee.Order("", invoice, ""))
    is_at(page, "ready")
    plain.picture("3-ready")


def test_a_declined_card_may_be_tried_again(visitor: Visitor, kiosk: Kiosk) -> None:
    visit = visitor("desktop", "ru")
    page = visit.page
    order(visit, kiosk)
    widget = open_widget(page)
    type_card(widget, DECLINED_CARD)
    widget.locator("#pay").click()
    expect(widget.locator("#reason")).to_be_visible()
    widget.locator("#close").click()
    expect(page.locator("#failure")).to_be_visible()
    pay(page)
    page.wait_for_url("**/m/orders/*", timeout=LIVE_MS)
    is_at(page, "ready")


def test_events_that_do_not_come_through_are_asked_for(visitor: Visitor, site: Site, kiosk: Kiosk) -> None:
    visit = visitor("phone", "ru")
    page = visit.page
    page.route("**/m/orders/*/events**", lambda route: route.abort())
    order(visit, kiosk)
    invoice = page.url.split("?")[0].rsplit("/", 1)[1]
    page.locator("#home a").click()
    is_at(page, "to_pay")
    page.evaluate(MARK)
    with client(site.public_url) as http:
        coffee.pay(site, http, coffee.Order("", invoice, ""))
    is_at(page, "ready")
    assert page.evaluate("window.__unloaded") is False


def test_refusals_are_readable(visitor: Visitor, site: Site, kiosk: Kiosk) -> None:
    visit = visitor("phone", "ru")
    page = visit.page
    link = kiosk.shop_url + coffee.choose(site, kiosk, "latte", "medium")
    stale = kiosk.shop_url + coffee.choose(site, kiosk, "latte", "medium", ts_offset_s=-3_600)
    forged = link.replace("size=medium", "size=large")
    coffee.switch(site, kiosk, sold_out=[["espresso", "small"]])
    refusals = [
        (stale, "link-stale"),
        (forged, "link-forged"),
        (f"{kiosk.shop_url}/m/nobody-here", "device-unknown"),
        (f"{kiosk.page_url}/order?drink=mate&size=small", "drink-unknown"),
        (f"{kiosk.shop_url}/m/orders/00000000-0000-7000-8000-000000000000", "order-not-found"),
    ]
    for url, kind in refusals:
        page.goto(url)
        expect(page.locator("#refusal")).to_have_attribute("data-refusal", kind)
        visit.picture(kind)
        visit.check_accessibility()
    for changes, kind in (({"error": "no_water"}, "device-in-error"), ({"error": "", "powered": False}, "device-off")):
        coffee.switch(site, kiosk, **changes)
        coffee.wait_for_state(site, kiosk, "error" if "in-error" in kind else "off")
        page.goto(kiosk.page_url)
        expect(page.locator("#refusal")).to_have_attribute("data-refusal", kind)
        visit.picture(kind)
        visit.check_accessibility()


def test_dark_coffee_pages_are_readable(visitor: Visitor, kiosk: Kiosk) -> None:
    visit = visitor("phone", "en", "dark")
    visit.page.goto(kiosk.page_url)
    visit.picture("1-menu")
    visit.check_accessibility()
    order(visit, kiosk)
    visit.page.locator("#home a").click()
    is_at(visit.page, "to_pay")
    visit.picture("2-to-pay")
    visit.check_accessibility()
    visit.page.locator("#cancel").click()
    is_at(visit.page, "canceled")
    visit.picture("3-canceled")
    visit.check_accessibility()
