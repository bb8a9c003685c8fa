"""Machines' accounts at a real broker, over the API: machines are deleted, and their codes are taken again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import aiomqtt
import psycopg
import pytest

from copeck.kernel.clock import ManualClock
from copeck.storage.engine import libpq_url
from copeck.testkit.proxy import TcpProxy
from copeck.testkit.tokens import TokenMint
from copeck.testkit.waiting import eventually
from device_bridge.clockwork import AccountRevoker
from device_bridge.drivers.accounts import BrokerAccounts
from device_bridge.handlers import removals
from device_bridge.store import devices

from .catalogue_site import Person, Site, site_of
from .machines_site import MQTT_URL, Machines, machines_of, stranger

pytestmark = pytest.mark.integration

ANY = {"If-Match": "*"}


@pytest.fixture
async def broker() -> AsyncIterator[TcpProxy]:
    async with TcpProxy("127.0.0.1", int(MQTT_URL.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture
async def machines(
    database_urls: dict[str, str], token_mint: TokenMint, tmp_path: Path, broker: TcpProxy
) -> AsyncIterator[Machines]:
    async with (
        site_of(database_urls, token_mint, ManualClock(datetime.now(UTC))) as site,
        machines_of(site, tmp_path, mqtt_url=broker.url(MQTT_URL)) as found,
    ):
        site.app.state.context = site.context = replace(site.context, accounts=found.accounts)
        yield found


@pytest.fixture
def site(machines: Machines) -> Site:
    """The API, connected to the broker through a proxy."""
    return machines.site


@pytest.fixture
async def owner(site: Site) -> Person:
    return await site.merchant()


@pytest.fixture
async def code(site: Site, owner: Person) -> str:
    """A machine's code that no other test's has: all tests share the broker."""
    return await site.device(owner, f"kofe-{uuid4().hex[:12]}", model="mqtt-v1")


async def account_of(owner: Person, code: str) -> tuple[str, str]:
    """Make a machine's account; returns its user and password."""
    given = (await owner.call("POST", f"/devices/{code}/broker-account", expect=201)).json()
    return given["username"], given["password"]


async def is_let_in(username: str, password: str) -> bool:
    try:
        async with stranger(username, password):
            return True
    except aiomqtt.MqttError:
        return False


async def test_a_deleted_machine_keeps_no_account(site: Site, owner: Person, code: str) -> None:
    account = await account_of(owner, code)
    assert await is_let_in(*account)
    await owner.call("DELETE", f"/devices/{code}", headers=ANY, expect=204)
    assert not await is_let_in(*account)
    await site.device(owner, code, model="mqtt-v1")
    assert not await is_let_in(*account)


async def test_a_deletion_that_an_order_forestalls_leaves_the_account(site: Site, owner: Person, code: str) -> None:
    """Defect: the account went first; an order of the same moment left the machine in use, and without its account."""
    account = await account_of(owner, code)
    async with await psycopg.AsyncConnection.connect(libpq_url(site.admin_url)) as buyer:
        await buyer.execute(
            "INSERT INTO devices.orders (id, device_id, merchant_id, mode, drink_id, size, drink_name, price_minor,"
            " commission_minor, currency, fiscal, status, reason, language, invoice_id, invoice_version, expires_at,"
            " brew_timeout_s, version, created_at, updated_at) VALUES (%s, %s, %s, 'platform_shop', 'latte', 'medium',"
            " 'Latte', 15000, 750, 'RUB', '{}', 'created', '', 'ru', %s, 0, now(), 180, 1, now(), now())",
            (uuid4(), code, owner.user_id, uuid4()),
        )
        deletion = asyncio.create_task(owner.call("DELETE", f"/devices/{code}", headers=ANY, expect=409))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        await eventually(lambda: site.sql(waiting))
        await buyer.commit()
    refused = await deletion
    assert refused.json()["type"].endswith(":device-in-use")
    assert await is_let_in(*account)


async def test_a_code_is_not_free_before_its_account_is_revoked(
    site: Site, owner: Person, code: str, broker: TcpProxy, machines: Machines
) -> None:
    account = await account_of(owner, code)
    broker.refuse()
    await owner.call("DELETE", f"/devices/{code}", headers=ANY, expect=204)
    await owner.call("GET", f"/devices/{code}", expect=404)
    taken = {"id": code, "name": "Mine now", "model": "mqtt-v1"}
    other = await site.merchant()
    refused = await other.call("POST", "/devices", json=taken, expect=409)
    assert refused.json()["type"].endswith(":device-id-taken")
    assert await is_let_in(*account)
    broker.accept()
    await machines.mqtt.wait_connected(30)
    assert await removals.revoke_due(site.context) == 0, "whoever deleted the machine may still be at it"
    site.clock.advance(removals.REVOKED_AGAIN_AFTER)
    revoker = AccountRevoker(site.context)
    running = asyncio.create_task(revoker.run())
    try:
        await eventually(lambda: not site.sql("SELECT 1 FROM devices.accounts_to_revoke"))
    finally:
        await revoker.stop()
        await running
    assert not await is_let_in(*account)
    await other.call("POST", "/devices", json=taken, expect=201)


class Slow(BrokerAccounts):
    """Accounts at the same broker; while the first of them is being made, something else happens."""

    def __init__(self, machines: Machines, meanwhile: Callable[[], Awaitable[None]]) -> None:
        super().__init__(machines.mqtt)
        self._meanwhile: Callable[[], Awaitable[None]] | None = meanwhile

    async def create(self, device_id: str) -> str:
        """Make an account, and come back late."""
        password = await super().create(device_id)
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return password


@pytest.mark.parametrize("way", ["", "/rotate"])
async def test_a_password_is_shown_to_whom_the_machine_is(
    machines: Machines, site: Site, owner: Person, code: str, way: str
) -> None:
    """Defect: the password of a code that was taken again meanwhile was shown to its first owner."""
    other, accounts = await site.merchant(), list[tuple[str, str]]()

    async def changes_hands() -> None:
        await owner.call("DELETE", f"/devices/{code}", headers=ANY, expect=204)
        await site.device(other, code, model="mqtt-v1")
        accounts.append(await account_of(other, code))

    site.app.state.context = replace(site.context, accounts=Slow(machines, changes_hands))
    refused = await owner.call("POST", f"/devices/{code}/broker-account{way}", expect=404)
    assert "password" not in refused.json()
    assert await is_let_in(*accounts[0])


class Overtaken(Slow):
    """Something else happens before an account is revoked, once it is known what."""

    before: Callable[[], Awaitable[None]] | None = None

    async def revoke(self, device_id: str) -> None:
        """Revoke an account, and come late."""
        before, self.before = self.before, None
        if before is not None:
            await before()
        await super().revoke(device_id)


async def test_an_account_that_was_made_too_late_is_revoked_before_the_code_is_free(
    machines: Machines, site: Site, owner: Person, code: str
) -> None:
    """Defect: whoever took the code in that moment lost the account that they had made."""
    other = await site.merchant()
    taken, refused = {"id": code, "name": "Mine now", "model": "mqtt-v1"}, list[str]()

    async def takes() -> None:
        answer = await other.call("POST", "/devices", json=taken, expect=409)
        refused.append(answer.json()["type"])

    async def deletes() -> None:
        await owner.call("DELETE", f"/devices/{code}", headers=ANY, expect=204)
        accounts.before = takes

    accounts = Overtaken(machines, deletes)
    site.app.state.context = replace(site.context, accounts=accounts)
    await owner.call("POST", f"/devices/{code}/broker-account", expect=404)
    assert [one.rpartition(":")[2] for one in refused] == ["device-id-taken"]
    await other.call("POST", "/devices", json=taken, expect=201)
    assert await is_let_in(*await account_of(other, code))


async def test_a_code_that_is_being_taken_is_not_held(site: Site, owner: Person, code: str) -> None:
    """Whoever is being given the code is waited for: their account is nobody's to revoke."""
    async with site.context.database.reading() as tx:
        gone = await devices.find(tx, code)
    assert gone is not None
    await owner.call("DELETE", f"/devices/{code}", headers=ANY, expect=204)
    async with site.context.database.transaction() as tx:
        await devices.insert(tx, replace(gone, key_number=await devices.next_key_number(tx)))
        revoking = asyncio.create_task(removals.revoke_made(site.context, gone))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        await eventually(lambda: site.sql(waiting))
    await revoking
    assert site.sql("SELECT 1 FROM devices.accounts_to_revoke WHERE device_id = %s", code) == []
    await owner.call("GET", f"/devices/{code}", expect=200)
