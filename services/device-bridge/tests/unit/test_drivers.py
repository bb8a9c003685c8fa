"""Drivers: each model's policy stated by hand once more, topics by profile, and what a broker's silence is called."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from copeck.contracts.base import ContractError
from copeck.contracts.machines import MachineCommand, read_payload
from device_bridge.domain.drivers import BrewInstruction, Handed, Target
from device_bridge.drivers.accounts import rights_of, username_of
from device_bridge.drivers.frame import FrameDriver
from device_bridge.drivers.mqtt import MqttDriver
from device_bridge.drivers.mqtt.link import Login, NotConnectedError, NotTakenError, OutcomeUnknownError
from device_bridge.drivers.mqtt.newest import PRICES_MAX, Newest, Prices, Said, merge_prices
from device_bridge.drivers.mqtt.profiles import PROFILES, Heard
from device_bridge.drivers.mqtt.shares import Put, SharedQueue
from device_bridge.drivers.registry import MODELS, build_drivers, policy_of
from device_bridge.drivers.tmetr import TmetrClient, TmetrDriver, mapping
from device_bridge.handlers.sending import instruction_of
from device_bridge.settings import DevicesSettings
from device_bridge.store.commands import ToSend
from tests.support.cups import a_device, brewing

KEY = bytes(32)
COMMAND = UUID("0190c0ff-ee00-7000-8000-00000000000a")

# completion_signal, deadline_policy, repeatable, revocable, reports_state, through
POLICIES = {
    "mqtt-v1": (True, "refund", True, True, True, "loop"),
    "mqtt-yandex": (True, "refund", True, True, True, "loop"),
    "frame-v1": (False, "assume_success", False, False, True, "loop"),
    "frame-v1-silent": (False, "assume_success", False, False, False, "loop"),
    "tmetr": (False, "assume_success", False, False, True, "worker"),
}


class Wire:
    """Where drivers publish: keeps what came, or fails as it is told."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.sent: list[tuple[str, str, bytes, float | None]] = []
        self._failure = failure

    async def publish(
        self,
        broker: str,
        topic: str,
        payload: bytes,
        *,
        expires_in_s: float | None = None,
        timeout_s: float = 5.0,  # noqa: ARG002 - the port has it
        needs_reader: bool = False,  # noqa: ARG002 - the port has it
    ) -> None:
        if self._failure:
            raise self._failure
        self.sent.append((broker, topic, payload, expires_in_s))


def target(model: str = "mqtt-v1", **address: Any) -> Target:
    return Target("kofe-1", model, address, KEY, "Europe/Moscow")


def instruction(expires_in_s: float = 60, **changes: Any) -> BrewInstruction:
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "command_id": COMMAND, "order_id": uuid4(), "drink_id": "latte", "size": "small", "price_minor": 15_900,
        "currency": "RUB", "issued_at": now, "expires_at": now + timedelta(seconds=expires_in_s),
    }  # fmt: skip
    return BrewInstruction(**fields | changes)


@pytest.mark.covers(
    "driver policy mqtt-v1",
    "driver policy mqtt-yandex",
    "driver policy frame-v1",
    "driver policy frame-v1-silent",
    "driver policy tmetr",
)
def test_every_model_states_its_policy() -> None:
    stated = {}
    for model in MODELS:
        policy = policy_of(model)
        stated[model] = (
            policy.completion_signal, policy.deadline_policy, policy.repeatable, policy.revocable,
            policy.reports_state, policy.through,
        )  # fmt: skip
    assert stated == POLICIES
    with pytest.raises(KeyError):
        policy_of("mqtt-v9")


def test_the_registry_makes_each_driver_once() -> None:
    drivers = build_drivers(DevicesSettings(), Wire())
    for model in MODELS:
        assert drivers.driver(model) is drivers.driver(model)
        assert drivers.driver(model).policy == policy_of(model)


async def test_without_a_broker_and_a_telemetry_nothing_was_sent() -> None:
    drivers = build_drivers(DevicesSettings(), None)
    for model in MODELS:
        answer = await drivers.driver(model).brew(target(model, id="a1"), instruction())
        assert answer.handed is Handed.UNREACHABLE, model


async def test_a_command_is_signed_and_expires_at_the_broker_too() -> None:
    wire = Wire()
    wanted = instruction(60)
    assert (await MqttDriver(wire).brew(target(), wanted)).handed is Handed.SENT
    broker, topic, payload, expires_in_s = wire.sent[0]
    command = read_payload(MachineCommand, payload)
    assert (broker, topic) == ("own", f"cm/v1/kofe-1/cmd/{COMMAND}")
    assert command.is_signed_by(KEY, "kofe-1")
    assert (command.kind, command.order_id, command.price_minor) == ("brew", wanted.order_id, 15_900)
    assert expires_in_s is not None
    assert 55 < expires_in_s <= 60
    assert (await MqttDriver(wire).brew(target(), wanted)).handed is Handed.SENT
    assert wire.sent[1][2] == payload, "the same command is sent with the same bytes"


async def test_a_revocation_outlives_its_command() -> None:
    wire = Wire()
    assert (await MqttDriver(wire).revoke(target(), instruction(-5))).handed is Handed.SENT
    command = read_payload(MachineCommand, wire.sent[0][2])
    assert (command.kind, command.command_id) == ("revoke", COMMAND)
    assert (wire.sent[0][3] or 0) > 60


async def test_what_has_expired_is_not_sent() -> None:
    wire = Wire()
    answer = await MqttDriver(wire).brew(target(), instruction(-1))
    assert (answer.handed, answer.code, wire.sent) == (Handed.REJECTED, "expired", [])


async def test_a_frame_expires_at_the_broker() -> None:
    """Defect: a machine that was off made yesterday's cups when it came back."""
    wire = Wire()
    assert (await FrameDriver(wire).brew(target("frame-v1"), instruction(60))).handed is Handed.ACCEPTED
    [(_, _, _, expires_in_s)] = wire.sent
    assert expires_in_s is not None
    assert 55 < expires_in_s <= 60
    answer = await FrameDriver(wire).brew(target("frame-v1"), instruction(-1))
    assert (answer.handed, answer.code, len(wire.sent)) == (Handed.REJECTED, "expired", 1)


async def test_what_was_sent_before_is_not_refused_by_ourselves() -> None:
    """Defect: our own `expired` counted as the machine's word, and the cup that it was making was refunded."""
    again, nowhere = instruction(-1, first=False), instruction(first=False)
    wire = Wire()
    answer = await MqttDriver(wire).brew(target(), again)
    assert (answer.handed, answer.code) == (Handed.UNKNOWN, "expired")
    for driver in (MqttDriver(wire, "yandex"), FrameDriver(wire), TmetrDriver(TmetrClient("http://127.0.0.1:9", "t"))):
        answer = await driver.brew(target("any", broker="yandex"), nowhere)
        assert (answer.handed, answer.code) == (Handed.UNKNOWN, "address")
    answer = await MqttDriver(wire, "yandex").revoke(target(), instruction())
    assert (answer.handed, answer.code, wire.sent) == (Handed.UNKNOWN, "address", [])


@pytest.mark.parametrize("sent_count", [1, 2])
def test_the_first_sending_is_told_from_the_others(sent_count: int) -> None:
    order, command = brewing()
    due = ToSend(replace(command, sent_count=sent_count), order, a_device())
    assert instruction_of(due).first is (sent_count == 1)


@pytest.mark.parametrize(
    ("failure", "handed"),
    [
        (NotConnectedError("own"), Handed.UNREACHABLE),
        (NotTakenError("refused with 0x87"), Handed.UNREACHABLE),
        (OutcomeUnknownError("timed out"), Handed.UNKNOWN),
    ],
)
async def test_what_a_brokers_silence_is_called(failure: Exception, handed: Handed) -> None:
    assert (await MqttDriver(Wire(failure)).brew(target(), instruction())).handed is handed
    assert (await FrameDriver(Wire(failure)).brew(target("frame-v1"), instruction())).handed is handed


async def test_a_frame_is_taken_for_accepted_and_cannot_be_taken_back() -> None:
    wire = Wire()
    driver = FrameDriver(wire)
    wanted = instruction(machine_order_id="20250317110122659ba6d7-9ace-cndn")
    assert (await driver.brew(target("frame-v1", drinks={"latte": "17"}), wanted)).handed is Handed.ACCEPTED
    assert wire.sent[0][1] == "technical/kofe-1"
    assert b'"orderUuid":"20250317110122659ba6d7-9ace-cndn","drinkNo":"17"' in wire.sent[0][2]
    assert (await driver.revoke(target("frame-v1"), wanted)).handed is Handed.UNKNOWN, "the machine refused nothing"
    assert len(wire.sent) == 1


@pytest.mark.parametrize("driver", [FrameDriver(Wire()), MqttDriver(Wire(), "yandex")])
async def test_an_address_that_makes_no_sense_is_refused_for_good(driver: Any) -> None:
    answer = await driver.brew(target("any", broker="yandex"), instruction())
    assert (answer.handed, answer.code) == (Handed.REJECTED, "address")


def test_topics_at_our_own_broker() -> None:
    own = PROFILES["own"]
    assert own.read_topic("cm/v1/kofe-1/heartbeat") == Heard("kofe-1", "heartbeat")
    assert own.read_topic(f"cm/v1/kofe-1/ack/{COMMAND}") == Heard("kofe-1", "ack", COMMAND)
    assert own.read_topic("technical/kofe-1/events") == Heard("kofe-1", "heartbeat")
    for topic in ("technical/kofe-1", "technical/a/b/events", "$SYS/broker/version"):
        with pytest.raises(ContractError):
            own.read_topic(topic)


def test_topics_at_yandex_iot_core() -> None:
    yandex = PROFILES["yandex"]
    assert yandex.command_topic("kofe-1", {"id": "are1"}, COMMAND) == f"$devices/are1/commands/cmd/{COMMAND}"
    assert yandex.confirmation_topic("are1", COMMAND) == f"$devices/are1/commands/ack/{COMMAND}/ok"
    assert yandex.read_topic(f"$devices/are1/events/ack/{COMMAND}") == Heard("are1", "ack", COMMAND, foreign=True)
    assert yandex.read_topic("$devices/are1/events/state") == Heard("are1", "state", foreign=True)
    assert yandex.read_topic("$devices/are1/events") == Heard("are1", "heartbeat", foreign=True)
    for topic in ("$devices/are1/commands/cmd/1", "$registries/r1/events", "$devices/are1/events/other", "$devices"):
        with pytest.raises(ContractError):
            yandex.read_topic(topic)
    assert yandex.modern is False


def test_a_login_by_password_or_over_tls() -> None:
    options = Login("mqtt://user:p%40ss@broker:1884", "me").options()
    assert (options["hostname"], options["port"], options["username"], options["password"]) == (
        "broker", 1884, "user", "p@ss",
    )  # fmt: skip
    assert "tls_context" not in options
    secure = Login("mqtts://are1:secret@mqtt.cloud.yandex.net", "me").options()
    assert secure["port"] == 8883
    assert secure["tls_context"].check_hostname


def test_a_machines_rights_are_its_own_topics() -> None:
    rights = rights_of("kofe-1")
    assert all(right["allow"] and "/kofe-1" in right["topic"] for right in rights)
    assert {right["topic"] for right in rights if right["acltype"] == "publishClientSend"} == {
        "cm/v1/kofe-1/ack/+", "cm/v1/kofe-1/state", "cm/v1/kofe-1/heartbeat", "cm/v1/kofe-1/telemetry",
        "technical/kofe-1/events",
    }  # fmt: skip
    assert {right["topic"] for right in rights if right["acltype"] == "subscribeLiteral"} == {
        "cm/v1/kofe-1/cmd/+", "cm/v1/kofe-1/ack/+/ok", "technical/kofe-1",
    }  # fmt: skip
    assert username_of("device-bridge") != "device-bridge", "no machine can have a service's account"


async def test_of_a_machines_states_only_the_last_counts() -> None:
    newest = Newest[bytes]()

    def said(machine: str, payload: bytes) -> Said:
        return (PROFILES["own"], Heard(machine, "state"), payload, 0.0)

    newest.put(said("a", b"1"))
    newest.put(said("b", b"1"))
    newest.put(said("a", b"2"))
    assert [(await newest.get())[2], (await newest.get())[2]] == [b"2", b"1"]
    newest.put(said("a", b"4"))
    newest.put_back(said("a", b"3"))
    assert (await newest.get())[2] == b"4"
    waiting = asyncio.create_task(newest.get())
    await asyncio.sleep(0)
    newest.put_back(said("c", b"5"))
    assert (await waiting)[2] == b"5"


async def test_of_a_machines_prices_the_last_of_each_line_counts() -> None:
    newest = Newest(merge_prices)
    profile, heard = PROFILES["own"], Heard("a", "telemetry")
    latte, mocha, tea = ("latte", "small"), ("mocha", "small"), ("tea", "small")
    newest.put((profile, heard, {latte: 1, mocha: 1}, 1.0))
    newest.put((profile, heard, {mocha: 2}, 2.0))
    assert await newest.get() == (profile, heard, {latte: 1, mocha: 2}, 1.0)
    newest.put((profile, heard, {mocha: 4}, 4.0))
    newest.put_back((profile, heard, {mocha: 3, tea: 3}, 3.0))
    assert await newest.get() == (profile, heard, {mocha: 4, tea: 3}, 3.0)
    menu: Prices = {(f"d{number}", "small"): number for number in range(PRICES_MAX)}
    merged = merge_prices(menu, {tea: 1})
    assert (len(merged), merged[tea], ("d0", "small") in merged) == (PRICES_MAX, 1, False)


async def test_a_machine_that_floods_the_queue_of_reports_keeps_no_other_out() -> None:
    queue = SharedQueue(4, 2)

    def said(machine: str, payload: bytes, broker: str = "own") -> Said:
        return (PROFILES[broker], Heard(machine, "ack"), payload, 0.0)

    assert [queue.put(said("a", word)) for word in (b"1", b"2", b"3")] == [Put.KEPT, Put.KEPT, Put.OVER_SHARE]
    assert queue.put(said("a", b"4", "yandex")) is Put.KEPT, "another broker's machine of this name"
    assert queue.put(said("b", b"5")) is Put.KEPT
    assert queue.put(said("c", b"6")) is Put.DROPPED
    assert [one[2] for one in await queue.get_all(1)] == [b"1"]
    assert queue.put(said("a", b"7")) is Put.KEPT
    assert [one[2] for one in await queue.get_all(9)] == [b"2", b"4", b"5", b"7"]
    assert [queue.put(said("a", word)) for word in (b"8", b"9")] == [Put.KEPT, Put.KEPT]


NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def test_the_telemetrys_words() -> None:
    assert [mapping.size_asked(size) for size in ("small", "medium", "large")] == ["SMALL", "MEDIUM", "BIG"]
    assert [mapping.size_made(size) for size in ("small", "medium", "large")] == ["small", "medium", "big"]
    assert mapping.price_of({"price": 15_900}) == 15_900
    for odd in (0, -1, "159", 159.0, True, None, 10**15):
        assert mapping.price_of({"price": odd}) == 0, odd
    assert mapping.price_of({}) == 0
    assert mapping.hours_offset("Europe/Moscow", NOW) == "3"
    assert mapping.hours_offset("Asia/Vladivostok", NOW) == "10"
    assert mapping.hours_offset("America/St_Johns", NOW) == "-4"
    assert mapping.hours_offset("Nowhere/Else", NOW) == "0"


def test_who_is_alive_by_the_telemetry() -> None:
    now_s = int(NOW.timestamp())
    rows: list[Any] = [
        {"deviceId": "fresh", "heartbeatCreatedAt": now_s - 299},
        {"deviceId": "ahead", "heartbeatCreatedAt": now_s + 60},
        {"deviceId": "stale", "heartbeatCreatedAt": now_s - 301},
        {"deviceId": "odd", "heartbeatCreatedAt": "soon"},
        "nonsense",
        {"deviceId": "none"},
    ]
    assert mapping.alive({"content": rows}, NOW) == {"fresh", "ahead"}
    assert mapping.alive({}, NOW) == set()
