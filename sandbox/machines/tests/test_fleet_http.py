"""The fleet over HTTP without a broker: its control, its pages, its mail sink."""

from __future__ import annotations

import asyncio
import smtplib
import socket
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from copeck.testkit.waiting import eventually
from sandbox.machines.app import create_app
from sandbox.machines.settings import Settings

MENU = [
    {"drink": "latte", "size": "small", "name": "Латте <b>", "price_minor": 15_900},
    {"drink": "espresso", "size": "small", "name": "Эспрессо", "price_minor": 9_000},
]
MAKE = [{"deviceId": "tm-1", "orderUuid": "o-1", "drinkUuid": "tm-1.latte", "size": "small", "price": 15_900}]
BEARER = {"Authorization": "Bearer tmetr_test_token"}


@pytest.fixture
def mail_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
async def app(tmp_path: Path, mail_port: int) -> AsyncIterator[FastAPI]:
    settings = Settings(data_dir=tmp_path, brew_ms=20, mail_port=mail_port, shop_url="http://shop.test")
    made = create_app(settings)
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    # Machines behind the telemetry need no broker.
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://fleet.test") as client:
        config = {"device": "tm-1", "model": "tmetr", "name": "Lobby", "key": "00" * 32, "menu": MENU}
        answer = await client.post("/control/machines", json={"machines": [config]})
        assert answer.status_code == 200, answer.text
        yield client


async def shown(http: httpx2.AsyncClient) -> str:
    page = (await http.get("/machines/tm-1/screen", headers={"Accept-Language": "en"})).text
    return page.split('data-shown="')[1].split('"')[0]


async def make(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/tmetr/api/commander/v1/command/make", json=MAKE, headers=BEARER)
    assert answer.status_code == 200, answer.text


async def test_the_idle_screen_has_a_code_and_the_menu(http: httpx2.AsyncClient) -> None:
    page = (await http.get("/machines/tm-1", headers={"Accept-Language": "ru"})).text
    assert '<html lang="ru">' in page
    assert "<svg" in page
    assert 'href="http://shop.test/m/tm-1"' in page
    assert "Латте &lt;b&gt;" in page
    assert "159.00" in page
    assert (await http.get("/machines")).status_code == 200
    assert (await http.get("/machines/nobody")).status_code == 404


async def test_a_chosen_drink_shows_a_signed_link_until_it_is_canceled(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/machines/tm-1/choose", data={"drink": "latte", "size": "small"})
    assert answer.status_code == 303
    page = (await http.get("/machines/tm-1", headers={"Accept-Language": "en"})).text
    assert await shown(http) == "chosen"
    assert "/m/tm-1/order?drink=latte&amp;size=small&amp;order=20" in page
    assert "&amp;sig=" in page
    await http.post("/machines/tm-1/cancel")
    assert await shown(http) == "idle"
    assert (await http.post("/machines/tm-1/choose", data={"drink": "tea", "size": "small"})).status_code == 404
    link = (await http.post("/control/machines/tm-1/choose", json={"drink": "latte", "size": "small"})).json()["url"]
    other = (await http.post("/control/machines/tm-1/choose", json={"drink": "latte", "size": "small"})).json()["url"]
    assert link != other


async def test_the_screen_follows_a_cup(http: httpx2.AsyncClient) -> None:
    await http.patch("/control/machines/tm-1", json={"brew_ms": 300})
    await make(http)
    assert await shown(http) == "brewing"

    async def done() -> bool:
        return await shown(http) == "done"

    await eventually(done)
    brews = (await http.get("/control/brews")).json()
    assert (brews["poured"], brews["repeated"]) == (1, [])
    await make(http)
    events = [row["event"] for row in (await http.get("/control/log", params={"order_id": "o-1"})).json()["items"]]
    assert events.count("brew.poured") == 1
    assert events[-1] == "command.repeated"


async def test_the_screen_says_what_is_wrong(http: httpx2.AsyncClient) -> None:
    async def press(action: str) -> None:
        assert (await http.post("/machines/tm-1/service", data={"action": action})).status_code == 303

    await press("break")
    assert await shown(http) == "error"
    await press("repair")
    assert await shown(http) == "idle"
    await press("power_off")
    assert await shown(http) == "off"
    await press("on")
    await press("fail_next")
    await make(http)

    async def failed() -> bool:
        return await shown(http) == "failed"

    await eventually(failed)
    gone: dict[str, Any] = {"sold_out": [["latte", "small"], ["espresso", "small"]]}
    await http.patch("/control/machines/tm-1", json=gone)
    assert (await http.get("/control/machines/tm-1")).json()["state"] == "sold_out"
    assert (await http.patch("/control/machines/tm-1", json={"brew_ms": -1})).status_code == 422
    assert (await http.patch("/control/machines/nobody", json={})).status_code == 404


async def test_the_log_is_paged_and_forgotten_on_request_only(http: httpx2.AsyncClient) -> None:
    await make(http)
    first = (await http.get("/control/log", params={"limit": 1})).json()
    assert first["more"] is True
    second = (await http.get("/control/log", params={"after": first["next"]})).json()
    assert second["items"][0]["seq"] > first["items"][0]["seq"]
    await http.post("/control/reset")
    assert [row["event"] for row in (await http.get("/control/log")).json()["items"]] == ["chaos.set"]


async def test_faults_are_set_armed_and_calmed(http: httpx2.AsyncClient) -> None:
    await http.put("/control/chaos", json={"seed": 3, "probabilities": {"slow": 0.5}})
    await http.post("/control/chaos/once", json={"switch": "failed_brew", "device": "tm-1"})
    chaos = (await http.get("/control/chaos")).json()
    assert (chaos["seed"], chaos["probabilities"], len(chaos["once"])) == (3, {"slow": 0.5}, 1)
    assert (await http.put("/control/chaos", json={"probabilities": {"explode": 1}})).status_code == 422
    assert (await http.delete("/control/chaos")).json()["once"] == []


async def test_the_telemetry_wants_its_token(http: httpx2.AsyncClient) -> None:
    path = "/tmetr/api/commander/v1/command/make"
    assert (await http.post(path, json=MAKE)).status_code == 401
    assert (await http.post(path, json=MAKE, headers={"Authorization": "Bearer x"})).status_code == 401
    unknown = [{**MAKE[0], "deviceId": "tm-2"}]
    assert (await http.post(path, json=unknown, headers=BEARER)).status_code == 404


async def test_mails_are_kept_and_shown(http: httpx2.AsyncClient, mail_port: int) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "shop@copeck.test", "buyer@example.com", "Чек <1>"
    mail.set_content("Спасибо за покупку")

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", mail_port, timeout=5) as client:
            client.send_message(mail)

    await asyncio.to_thread(send)
    found = (await http.get("/control/mails", params={"to": "buyer@"})).json()["items"]
    assert [(one["subject"], one["text"].strip()) for one in found] == [("Чек <1>", "Спасибо за покупку")]
    assert (await http.get("/control/mails", params={"to": "nobody"})).json()["items"] == []
    assert "Чек &lt;1&gt;" in (await http.get("/mails")).text
    assert "Спасибо за покупку" in (await http.get(f"/mails/{found[0]['id']}")).text
    assert (await http.get("/mails/999")).status_code == 404


async def test_one_process_a_folder(app: FastAPI, tmp_path: Path) -> None:
    second = create_app(Settings(data_dir=tmp_path))
    with pytest.raises(RuntimeError, match="another fleet"):
        async with second.router.lifespan_context(second):
            pass
