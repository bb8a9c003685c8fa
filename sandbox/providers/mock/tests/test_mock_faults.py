"""Each switch of the chaos, and what is left of a payment that met it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import httpx2
import pytest

from sandbox.providers.mock.chaos import Armed, Chaos, Operation, Switch
from sandbox.providers.mock.settings import Settings
from sandbox.providers.mock.store import MADE, Store, Transfer

from .conftest import KEYS, Gateway


def test_chaos_follows_its_seed_and_not_the_order() -> None:
    chaos = Chaos(seed=3, probabilities={Switch.ERROR_BEFORE: 0.5})

    def struck(by: Chaos, subjects: list[str]) -> dict[str, bool]:
        return {subject: by.strikes(Switch.ERROR_BEFORE, Operation.WITHDRAW, subject) for subject in subjects}

    subjects = [str(number) for number in range(200)]
    assert struck(chaos, subjects) == struck(chaos, subjects[::-1])
    assert 60 < sum(struck(chaos, subjects).values()) < 140
    assert struck(chaos, subjects) != struck(Chaos(seed=4, probabilities=chaos.probabilities), subjects)
    assert not chaos.calm
    assert Chaos(probabilities={Switch.DECLINE: 0}).calm


def test_chaos_is_limited_to_operations_and_to_what_is_armed() -> None:
    chaos = Chaos(
        probabilities={Switch.TOO_MANY: 1},
        operations={Switch.TOO_MANY: [Operation.FIND]},
        once=[Armed(switch=Switch.DECLINE, operation=Operation.DEPOSIT, payment_id="a")],
        fail_next=1,
    )
    assert chaos.strikes(Switch.TOO_MANY, Operation.FIND, "1")
    assert not chaos.strikes(Switch.TOO_MANY, Operation.WITHDRAW, "1")
    assert not chaos.strikes(Switch.DECLINE, Operation.DEPOSIT, "1", "b"), "armed for another, and no withdrawal"
    assert chaos.strikes(Switch.DECLINE, Operation.DEPOSIT, "1", "a")
    assert not chaos.strikes(Switch.DECLINE, Operation.DEPOSIT, "1", "a")
    assert chaos.strikes(Switch.DECLINE, Operation.WITHDRAW, "1")
    assert not chaos.strikes(Switch.DECLINE, Operation.WITHDRAW, "1")


def test_log_is_append_only_and_a_balance_never_negative(tmp_path: Path) -> None:
    store = Store(tmp_path, 100)
    with store.unit():
        store.log(MADE, Transfer("p", "withdraw", 1, "RUB"), "t")
    for statement in ("DELETE FROM log", "UPDATE log SET amount_minor = 2", "UPDATE balances SET minor = -1"):
        with pytest.raises(sqlite3.IntegrityError):
            store.rows(statement)
    with pytest.raises(RuntimeError, match="another emulator"):
        Store(tmp_path, 100)
    store.reset()
    assert (store.rows("SELECT count(*) FROM log"), store.balances()) == ([(0,)], {"RUB": 100})
    with store.unit():
        store.log(MADE, Transfer("p", "withdraw", 1, "RUB"), "t")
    with pytest.raises(sqlite3.IntegrityError):
        store.rows("DELETE FROM log")
    store.close()


def test_settings_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "shops.json"
    file.write_text('[{"public_id": "b", "api_secret": "s", "provider": "mock"}]', encoding="utf-8")
    monkeypatch.setenv("SANDBOX_MOCK_SHOPS", '[{"public_id": "a", "api_secret": "s"}]')
    settings = Settings(shops_file=file, opening_balance="0.5")
    assert (list(settings.all_shops()), settings.opening_minor) == (["a", "b"], 50)
    assert list(Settings(shops=[]).all_shops()) == ["mock_test"]
    file.write_text('[{"public_id": "a", "api_secret": "s"}]', encoding="utf-8")
    with pytest.raises(ValueError, match="same public_id"):
        Settings(shops_file=file).all_shops()
    with pytest.raises(ValueError, match="decimals"):
        Settings(opening_balance="0.001")


pytest_integration = pytest.mark.integration


@pytest_integration
@pytest.mark.parametrize(
    ("switch", "statuses", "made"),
    [
        ("too_many", {429}, {}),
        ("error_before", {500, 503}, {}),
        ("decline", {422}, {}),
        ("error_after_success", {500, 503}, {"p": 1}),
        ("duplicate", {200}, {"p": 1}),
    ],
)
async def test_switches(gateway: Gateway, switch: str, statuses: set[int], made: dict[str, int]) -> None:
    await gateway.chaos(once=[{"switch": switch, "operation": "withdraw", "payment_id": "p"}])
    assert (await gateway.pay("other")).status_code == 200
    assert (await gateway.pay("p")).status_code in statuses
    assert {name: count for name, count in (await gateway.made()).items() if name == "p"} == made
    [fact] = await gateway.log("fault")
    assert (fact["switch"], fact["payment_id"]) == (switch, "p")
    assert len(await gateway.log("call.repeated")) == (switch == "duplicate")
    assert (await gateway.client.get("/sandbox/chaos")).json()["once"] == [], "what went off is used up"
    again = await gateway.pay("p")
    assert again.status_code == (422 if switch == "decline" else 200)
    assert (await gateway.made()).get("p", 0) == (switch != "decline")


@pytest_integration
@pytest.mark.parametrize(("switch", "made"), [("timeout_before", {}), ("timeout_after_success", {"p": 1})])
async def test_time_outs(gateway: Gateway, switch: str, made: dict[str, int]) -> None:
    await gateway.chaos(probabilities={switch: 1}, operations={switch: ["withdraw"]}, options={"timeout_ms": 60_000})
    with pytest.raises(httpx2.TimeoutException):
        await gateway.pay("p", timeout_s=0.3)
    assert await gateway.made() == made
    await gateway.chaos(probabilities={switch: 1}, options={"timeout_ms": 1})
    assert (await gateway.pay("p")).status_code == 504
    assert (await gateway.client.get("/mock-gateway/balance", auth=KEYS)).status_code == 504
    assert (await gateway.client.delete("/sandbox/chaos")).json()["probabilities"] == {}
    assert (await gateway.pay("p")).status_code == 200
    assert await gateway.made() == {"p": 1}


@pytest_integration
async def test_a_repeated_request_without_a_key_is_a_second_transfer(gateway: Gateway) -> None:
    await gateway.chaos(probabilities={"duplicate": 1})
    await gateway.pay("old", key=None)
    await gateway.pay("new")
    assert await gateway.made() == {"old": 2, "new": 1}


@pytest_integration
async def test_so_many_withdrawals_to_come_are_declined(gateway: Gateway) -> None:
    await gateway.chaos(fail_next=2, options={"decline_error": "recipient_blocked"})
    assert (await gateway.pay("d", type="deposit")).status_code == 200
    declined = [await gateway.pay("p", key=f"key-{number}") for number in range(3)]
    assert [answer.status_code for answer in declined] == [422, 422, 200]
    assert declined[0].json() == {"status": "failed", "error": "recipient_blocked"}
    assert (await gateway.pay("p", key="key-0")).status_code == 422, "a key has one answer"
    assert (await gateway.made())["p"] == 1


@pytest_integration
async def test_a_call_that_met_a_fault_comes_through_in_the_end(gateway: Gateway) -> None:
    await gateway.chaos(
        seed=7, probabilities={"error_before": 0.3, "error_after_success": 0.3, "too_many": 0.2, "duplicate": 0.3}
    )
    tries = 0
    for number in range(30):
        status = 0
        for _ in range(40):
            tries += 1
            status = (await gateway.pay(f"p-{number}")).status_code
            if status == 200:
                break
        assert status == 200
    assert tries > 40
    assert await gateway.made() == {f"p-{number}": 1 for number in range(30)}


@pytest_integration
async def test_one_more_fault_is_armed_beside_the_others(gateway: Gateway) -> None:
    await gateway.chaos(fail_next=1)
    armed = await gateway.client.post("/sandbox/chaos/once", json={"switch": "too_many", "operation": "find"})
    assert (armed.json()["fail_next"], len(armed.json()["once"])) == (1, 1)
    assert (await gateway.find("p")).status_code == 429
    assert (await gateway.client.put("/sandbox/chaos", json={"error_before": 1})).status_code == 422
    assert (await gateway.client.get("/healthz")).json() == {"status": "ok", "calm": False}
