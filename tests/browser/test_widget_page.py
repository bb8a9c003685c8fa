"""The emulator's widget on a page of any shop: it needs no stack."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
import uvicorn
from playwright.sync_api import expect
from pydantic import SecretStr

from sandbox.providers.cloudpayments.app import create_app
from sandbox.providers.cloudpayments.settings import Settings, Shop

from .conftest import Visitor

START_S = 10.0
PAGE = """<!doctype html><html lang="en"><head><title>Shop</title>
<script src="{emulator}/bundles/cloudpayments.js"></script></head>
<body><main><h1>Shop</h1><button id="buy">Buy</button> <output id="told"></output></main>
<script src="/buy.js"></script></body></html>"""
SCRIPT = """
document.getElementById("buy").addEventListener("click", function () {
  new cp.CloudPayments().start({publicTerminalId: "pk_test", amount: 199, currency: "RUB", paymentSchema: "Single",
    culture: new URLSearchParams(location.search).get("culture"), externalId: "inv-1", description: "Cinema",
    userInfo: {accountId: "user-1", email: "a@b.example"}, autoClose: 1
  }).then(function (result) { document.getElementById("told").textContent = JSON.stringify(result); });
});
"""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("widget"),
        shops=[Shop(public_id="pk_test", api_secret=SecretStr("test_secret_key"))],
    )
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + START_S
    while not server.started:
        assert time.monotonic() < deadline, "the emulator did not start"
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def shop_page(emulator: str) -> Iterator[str]:
    policy = (
        f"default-src 'none'; script-src 'self' {emulator}; frame-src {emulator}; connect-src 'self' {emulator};"
        " style-src 'self'; img-src 'self' data:"
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script = self.path == "/buy.js"
            body = (SCRIPT if script else PAGE.format(emulator=emulator)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if script else "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", policy)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("size", ["phone", "desktop"])
def test_widget_declines_then_accepts(visitor: Visitor, shop_page: str, emulator: str, size: str) -> None:
    visit = visitor(size, "en")
    page = visit.page
    page.goto(f"{shop_page}?culture=en-US")
    page.click("#buy")
    frame = page.frame_locator("#cloudpayments-overlay iframe")
    frame.locator("#number").fill("4000 0566 5566 5556")
    frame.locator("#expires").fill("12/49")
    frame.locator("#cvc").fill("123")
    visit.picture("form")
    visit.check_accessibility()
    frame.locator("#pay").click()
    expect(frame.locator("#reason")).to_have_text("Insufficient funds")
    visit.picture("declined")
    visit.check_accessibility()
    frame.locator("#again").click()
    frame.locator("#number").fill("4242424242424242")
    frame.locator("#expires").fill("12/49")
    frame.locator("#cvc").fill("123")
    frame.locator("#pay").click()
    visit.picture("bank")
    visit.check_accessibility()
    frame.locator("#confirm").click()
    expect(frame.locator("#outcome")).to_have_text("Payment completed")
    visit.picture("paid")
    expect(page.locator("#told")).not_to_be_empty()
    told = json.loads(page.locator("#told").text_content() or "")
    assert (told["type"], told["status"]) == ("payment", "success")
    answer = httpx2.get(f"{emulator}/sandbox/transactions/{told['data']['transactionId']}")
    assert answer.json()["Status"] == "Completed"
    expect(page.locator("#cloudpayments-overlay")).to_have_count(0)


def test_widget_closed_by_the_payer(visitor: Visitor, shop_page: str) -> None:
    visit = visitor("desktop", "ru")
    visit.page.goto(f"{shop_page}?culture=ru-RU")
    for by_key in (False, True):
        visit.page.click("#buy")
        frame = visit.page.frame_locator("#cloudpayments-overlay iframe")
        expect(frame.locator("h1")).to_have_text("Оплата картой")
        if by_key:
            visit.page.keyboard.press("Escape")
        else:
            visit.page.get_by_label("Закрыть").click()
        expect(visit.page.locator("#told")).to_contain_text('"type":"cancel"')


def test_widget_refuses_an_unknown_terminal(visitor: Visitor, shop_page: str) -> None:
    page = visitor("desktop", "en").page
    page.route("**/widget/intents", lambda route: route.fulfill(status=400, json={"message": "no"}))
    page.goto(shop_page)
    page.click("#buy")
    expect(page.locator("#told")).to_contain_text('"type":"error"')
