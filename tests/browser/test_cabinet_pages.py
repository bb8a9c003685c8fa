"""What the README promises a visitor: register, choose a plan, pay by a test card, see the subscription active.

Only the first address is typed; everything after it is links, buttons and forms.
"""

from __future__ import annotations

import secrets

import pytest
from playwright.sync_api import FrameLocator, Locator, Page, expect

from tests.e2e.scenario import APPROVED_CARD, DECLINED_CARD, THREE_DS_CARD, Site

from .conftest import Visit, Visitor

PLAN = "month"
PASSWORD = "correct horse battery"
PAID = {"ru": "Оплачено. Спасибо!", "en": "Paid. Thank you!"}
ACTIVE = {"ru": "Активна", "en": "Active"}
TITLE = {"ru": "Кино на месяц", "en": "Cinema for a month"}
NO_FUNDS = {"ru": "недостаточно денег", "en": "enough money"}
FROM_PAGE_TO_CABINET_MS = 30_000


def enter(visit: Visit, site: Site) -> str:
    """Open the first page, choose a plan there, and register; return the e-mail."""
    page, email = visit.page, f"vera-{secrets.token_hex(5)}@example.org"
    page.goto(site.public_url)
    plan(page).locator("a").click()
    fill_in(page, email)
    page.locator("#enter-form button[value=register]").click()
    expect(page.locator("#panel")).to_be_visible()
    return email


def fill_in(page: Page, email: str, password: str = PASSWORD) -> None:
    page.locator("#enter-form input[name=email]").fill(email)
    page.locator("#enter-form input[name=password]").fill(password)


def plan(page: Page) -> Locator:
    return page.locator(f"article[data-plan={PLAN}]")


def subscribe(page: Page) -> None:
    plan(page).get_by_role("button").click()
    expect(page.locator("#invoice")).to_have_attribute("data-state", "payable")


def open_widget(page: Page) -> FrameLocator:
    page.locator("#pay").click()
    return page.frame_locator("#cloudpayments-overlay iframe")


def type_card(widget: FrameLocator, number: str) -> None:
    widget.locator("#number").fill(number)
    widget.locator("#expires").fill("12/49")
    widget.locator("#cvc").fill("123")


def pay(page: Page, number: str = APPROVED_CARD) -> None:
    widget = open_widget(page)
    type_card(widget, number)
    widget.locator("#pay").click()


def go_home(page: Page) -> Locator:
    """Follow the pay page's link and wait for the subscription to be active; return its card."""
    page.locator("#home a").click()
    card = page.locator("[data-subscription]").first
    expect(card).to_have_attribute("data-status", "active", timeout=FROM_PAGE_TO_CABINET_MS)
    return card


def bought(visit: Visit, site: Site) -> Locator:
    """Do the whole way in one go; return the card of the active subscription."""
    enter(visit, site)
    subscribe(visit.page)
    pay(visit.page)
    expect(visit.page.locator("#invoice")).to_have_attribute("data-state", "paid")
    return go_home(visit.page)


@pytest.mark.parametrize(("size", "language"), [("phone", "ru"), ("desktop", "en"), ("desktop", "ru"), ("phone", "en")])
def test_subscribes_and_sees_it_active(visitor: Visitor, site: Site, size: str, language: str) -> None:
    visit = visitor(size, language)
    page = visit.page
    page.goto(site.public_url)
    expect(page.locator("html")).to_have_attribute("lang", language)
    visit.picture("1-plans")
    visit.check_accessibility()
    enter(visit, site)
    visit.picture("2-registered")
    visit.check_accessibility()
    subscribe(page)
    expect(page.locator("html")).to_have_attribute("lang", language)
    expect(page.locator("#description")).to_have_text(TITLE[language])
    visit.picture("3-to-pay")
    visit.check_accessibility()
    widget = open_widget(page)
    type_card(widget, THREE_DS_CARD)
    visit.picture("4-card")
    visit.check_accessibility()
    widget.locator("#pay").click()
    widget.locator("#confirm").click()
    expect(page.locator("#state")).to_have_text(PAID[language])
    expect(page.locator("#cloudpayments-overlay")).to_have_count(0)
    visit.picture("5-paid")
    visit.check_accessibility()
    card = go_home(page)
    expect(card).to_contain_text(ACTIVE[language])
    expect(page.locator("[data-invoice]")).to_have_attribute("data-status", "paid")
    visit.picture("6-active")
    visit.check_accessibility()
    page.locator("[data-invoice] a").click()
    expect(page.locator(".timeline li").first).to_be_visible()
    visit.picture("7-timeline")
    visit.check_accessibility()


@pytest.mark.parametrize(("size", "language"), [("phone", "ru"), ("desktop", "en")])
def test_declined_card_tells_why_and_lets_try_again(visitor: Visitor, site: Site, size: str, language: str) -> None:
    visit = visitor(size, language)
    page = visit.page
    enter(visit, site)
    subscribe(page)
    widget = open_widget(page)
    type_card(widget, DECLINED_CARD)
    widget.locator("#pay").click()
    expect(widget.locator("#reason")).to_be_visible()
    visit.picture("1-widget-says-why")
    widget.locator("#close").click()
    expect(page.locator("#failure")).to_contain_text(NO_FUNDS[language])
    expect(page.locator("#pay")).to_be_enabled()
    visit.picture("2-page-says-why")
    visit.check_accessibility()
    page.reload()
    expect(page.locator("#failure")).to_contain_text(NO_FUNDS[language])
    pay(page)
    expect(page.locator("#invoice")).to_have_attribute("data-state", "paid")
    visit.picture("3-paid-after-all")
    go_home(page)


def test_closed_widget_leaves_the_invoice_payable(visitor: Visitor, site: Site) -> None:
    visit = visitor("desktop", "en")
    page = visit.page
    enter(visit, site)
    subscribe(page)
    open_widget(page)
    page.get_by_label("Close").click()
    expect(page.locator("#state")).to_contain_text("closed")
    expect(page.locator("#pay")).to_be_enabled()
    visit.picture("closed")
    # From the cabinet, too: the waiting subscription has a button that leads back to the same invoice.
    address = page.url
    page.locator(".brand").click()
    card = page.locator("[data-subscription]")
    expect(card).to_have_attribute("data-status", "incomplete")
    visit.picture("waiting")
    visit.check_accessibility()
    card.locator("form[action*='/pay'] button").click()
    expect(page.locator("#invoice")).to_have_attribute("data-state", "payable")
    assert page.url.split("?")[0] == address.split("?")[0]
    pay(page)
    go_home(page)


def test_cancels_at_the_end_and_undoes_it(visitor: Visitor, site: Site) -> None:
    visit = visitor("phone", "en")
    page = visit.page
    card = bought(visit, site)
    card.locator("summary").click()
    visit.picture("1-choices")
    visit.check_accessibility()
    card.locator("form:has(input[value=period_end]) button").click()
    expect(page.locator(".notice.good")).to_be_visible()
    visit.picture("2-ends-with-period")
    visit.check_accessibility()
    page.locator("form[action*='/resume'] button").click()
    expect(page.locator("form[action*='/resume']")).to_have_count(0)
    page.locator("[data-subscription] summary").click()
    page.locator("form:has(input[value=now]) button").click()
    expect(page.locator("[data-subscription]")).to_have_count(0)
    expect(page.locator(".over")).to_be_visible()
    visit.picture("3-canceled")
    visit.check_accessibility()


def test_signs_out_and_in_again(visitor: Visitor, site: Site) -> None:
    visit = visitor("desktop", "ru")
    page = visit.page
    email = enter(visit, site)
    expect(page.locator("#who")).to_have_text(email)
    page.locator("#logout").click()
    expect(page.locator("#enter-form")).to_be_visible()
    fill_in(page, email, "wrong password here")
    page.locator("#enter-form button[value=login]").click()
    expect(page.locator("#enter-error")).to_have_text("Почта или пароль не подходят.")
    visit.picture("wrong-password")
    visit.check_accessibility()
    fill_in(page, email, "short")
    page.locator("#enter-form button[value=register]").click()
    expect(page.locator("#enter-error")).to_contain_text("10 символов")
    fill_in(page, email)
    page.locator("#enter-form button[value=login]").click()
    expect(page.locator("#panel")).to_be_visible()
    visit.picture("back")


def test_language_is_a_click_and_stays(visitor: Visitor, site: Site) -> None:
    visit = visitor("phone", "ru")
    page = visit.page
    page.goto(site.public_url)
    page.get_by_role("link", name="EN", exact=True).click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    plan(page).locator("a").click()
    fill_in(page, f"vera-{secrets.token_hex(5)}@example.org")
    page.locator("#enter-form button[value=register]").click()
    expect(page.locator("#panel")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    subscribe(page)
    expect(page.locator("html")).to_have_attribute("lang", "en")
    visit.picture("pay-page")
    page.get_by_role("link", name="RU", exact=True).click()
    expect(page.locator("html")).to_have_attribute("lang", "ru")
    expect(page.locator("#pay")).to_be_visible()


def test_dark_pages_are_readable(visitor: Visitor, site: Site) -> None:
    visit = visitor("desktop", "en", "dark")
    visit.page.goto(site.public_url)
    visit.picture("1-plans")
    visit.check_accessibility()
    card = bought(visit, site)
    card.locator("summary").click()
    visit.picture("2-active")
    visit.check_accessibility()
    card.locator("form:has(input[value=now]) button").click()
    expect(visit.page.locator(".over")).to_be_visible()
    subscribe(visit.page)
    visit.picture("3-to-pay")
    visit.check_accessibility()


def test_pages_that_are_not_there(visitor: Visitor, site: Site) -> None:
    visit = visitor("phone", "en")
    for path in ("/pay/00000000-0000-7000-8000-000000000000", "/nowhere"):
        answer = visit.page.goto(site.public_url + path)
        assert answer is not None
        assert answer.status == 404
        visit.picture(path.split("/")[1])
        visit.check_accessibility()
