"""The machines' broker itself: a real Mosquitto with the rendered configuration, over TLS and in the clear."""

import asyncio
import getpass
import json
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from copeck.testkit.waiting import eventually_sync
from deploy.devstack import health
from deploy.devstack.infra.small import find_mosquitto
from deploy.mosquitto import certificates
from deploy.mosquitto.render import BRIDGE, accounts, configuration, documents, find_plugin

HOST = "127.0.0.1"
PASSWORD = "the device service's own"
CONTROL = "$CONTROL/dynamic-security/v1"


def test_the_brokers_configuration_of_compose_is_fresh() -> None:
    for path, text in documents().items():
        assert (Path(__file__).parents[3] / path).read_text() == text, "run: make docs"


def test_the_first_account_is_the_device_services_and_its_password_is_not_in_the_file() -> None:
    text = accounts(PASSWORD)
    document = json.loads(text)
    assert [client["username"] for client in document["clients"]] == [BRIDGE]
    assert PASSWORD not in text
    assert {name: value for name, value in document["defaultACLAccess"].items() if value} == {"unsubscribe": True}
    assert accounts(PASSWORD) != text, "the same salt twice"


@dataclass
class Broker:
    port: int
    tls_port: int
    authority: Path

    @asynccontextmanager
    async def client(self, user: str | None, password: str | None, **more: Any) -> AsyncIterator[aiomqtt.Client]:
        async with aiomqtt.Client(
            HOST, more.pop("port", self.port), username=user, password=password, timeout=5, **more
        ) as made:
            yield made

    async def command(self, *commands: dict[str, Any]) -> list[dict[str, Any]]:
        """Give orders to the plugin as the device service does; return its answers."""
        async with self.client(BRIDGE, PASSWORD) as bridge:
            await bridge.subscribe(f"{CONTROL}/response", 1)
            await bridge.publish(CONTROL, json.dumps({"commands": commands}), 1)
            async with asyncio.timeout(5):
                message = await anext(bridge.messages)
        assert isinstance(message.payload, bytes)
        answers: list[dict[str, Any]] = json.loads(message.payload)["responses"]
        return answers


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    binary, plugin = find_mosquitto(), find_plugin()
    if binary is None or plugin is None:
        pytest.skip("Mosquitto is not installed")
    home = tmp_path_factory.mktemp("mosquitto")
    port, tls_port = free_port(), free_port()
    authority, certificate, key = certificates.make([HOST, "localhost"])
    for name, text in (("ca", authority), ("certificate", certificate), ("key", key), ("accounts", accounts(PASSWORD))):
        (home / name).write_text(text)
    listeners = (
        f"listener {port} {HOST}\nlistener {tls_port} {HOST}\n"
        f"certfile {home}/certificate\nkeyfile {home}/key\ntls_version tlsv1.2"
    )
    (home / "mosquitto.conf").write_text(
        configuration(
            plugin=str(plugin), accounts=f"{home}/accounts", listeners=listeners, data_dir=str(home),
            user=getpass.getuser(),
        )
    )  # fmt: skip
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([binary, "-c", str(home / "mosquitto.conf")], stdout=log, stderr=log)
    look = health.mqtt(HOST, port, BRIDGE, PASSWORD)

    def answers() -> bool:
        assert process.poll() is None, (home / "log").read_text()
        return look() is None

    try:
        eventually_sync(answers, 20)
        yield Broker(port, tls_port, home / "ca")
    finally:
        process.terminate()
        process.wait(10)


pytestmark = pytest.mark.integration


def test_the_health_check_logs_in(broker: Broker) -> None:
    assert health.mqtt(HOST, broker.port, BRIDGE, PASSWORD)() is None
    assert "answered" in (health.mqtt(HOST, broker.port, BRIDGE, "wrong")() or "")


@pytest.mark.parametrize("login", [(None, None), (BRIDGE, "wrong"), (BRIDGE, None), ("nobody", PASSWORD)])
async def test_nobody_is_let_in_without_an_account(broker: Broker, login: tuple[str | None, str | None]) -> None:
    with pytest.raises(aiomqtt.MqttError, match=r"(?i)not authori[sz]ed"):
        async with broker.client(*login):
            pass


async def test_an_account_without_rights_may_do_nothing(broker: Broker) -> None:
    assert await broker.command({"command": "createClient", "username": "idle", "password": "pw"}) == [
        {"command": "createClient"}
    ]
    async with broker.client(BRIDGE, PASSWORD) as bridge, broker.client("idle", "pw") as idle:
        await bridge.subscribe("cm/v1/#", 1)
        granted = await idle.subscribe("cm/v1/#", 1)
        assert [str(code) for code in granted] == ["Unspecified error"]
        await idle.publish("cm/v1/other/state", b"forged", 1)
        await bridge.publish("cm/v1/other/state", b"ours", 1)
        async with asyncio.timeout(5):
            message = await anext(bridge.messages)
        assert message.payload == b"ours"
    assert await broker.command({"command": "deleteClient", "username": "idle"}) == [{"command": "deleteClient"}]
    with pytest.raises(aiomqtt.MqttError):
        async with broker.client("idle", "pw"):
            pass


async def test_a_machine_makes_no_accounts(broker: Broker) -> None:
    acl = [{"acltype": "publishClientSend", "topic": "cm/v1/kiosk/#", "allow": True}]
    await broker.command(
        {"command": "createRole", "rolename": "kiosk", "acls": acl},
        {"command": "createClient", "username": "kiosk", "password": "pw", "roles": [{"rolename": "kiosk"}]},
    )
    order = {"commands": [{"command": "createClient", "username": "intruder", "password": "pw"}]}
    async with broker.client("kiosk", "pw") as kiosk:
        await kiosk.publish(CONTROL, json.dumps(order), 1)
    listed = await broker.command({"command": "listClients"})
    assert "intruder" not in json.dumps(listed)


async def test_over_tls_the_authority_vouches_for_the_broker(broker: Broker) -> None:
    trusted = ssl.create_default_context(cafile=str(broker.authority))
    async with broker.client(BRIDGE, PASSWORD, port=broker.tls_port, tls_context=trusted) as bridge:
        await bridge.publish("cm/v1/kiosk/cmd/1", b"{}", 1)
    strangers = ssl.create_default_context()
    with (
        socket.create_connection((HOST, broker.tls_port), timeout=5) as sock,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        strangers.wrap_socket(sock, server_hostname=HOST)
