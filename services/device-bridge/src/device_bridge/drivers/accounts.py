"""Accounts of machines at our own broker: one user a machine, with rights to that machine's topics alone.

Mosquitto's dynamic security plugin is asked over `$CONTROL/dynamic-security/v1`; it keeps what it is told in its file.
Every request can be repeated: what is there already is brought to what it should be.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import Callable
from typing import Any, Protocol

from copeck.contracts import machines
from copeck.kernel.errors import DomainError
from device_bridge.drivers.mqtt.link import NotSentError, OutcomeUnknownError
from device_bridge.drivers.mqtt.profiles import CONTROL_RESPONSES, EVENTS, FRAME_ROOT

log = logging.getLogger(__name__)

CONTROL_TOPIC = CONTROL_RESPONSES.removesuffix("/response")
ANSWER_TIMEOUT_S = 10.0
COMMANDS_MAX = 40
"""Commands in one message: all of them fit into the 64 KiB that the broker takes."""
_WAITING_MAX = 1_000
_PASSWORD_BYTES = 24


class Control(Protocol):
    """What is needed of the connection to our own broker."""

    async def publish(
        self, broker: str, topic: str, payload: bytes, *, expires_in_s: float | None = None, timeout_s: float = 5.0
    ) -> None:
        """Publish with quality of service 1; NotSentError and OutcomeUnknownError as in `link.py`."""
        ...

    def on_control(self, heard: Callable[[bytes], None]) -> None:
        """Have every answer of the plugin handed to a function."""
        ...


class BrokerUnavailableError(DomainError):
    """The broker of machines did not do what it was asked, or nobody knows: the same request may be made again."""

    type = "broker-unavailable"
    title = "The broker of machines does not answer; try again"
    status = 503
    retry_after_s = 5


def username_of(device_id: str) -> str:
    """Return a machine's user at the broker, which is its client id too; no service's name looks like that."""
    return f"machine-{device_id}"


def rights_of(device_id: str) -> list[dict[str, Any]]:
    """Return the rights of a machine in the plugin's words: its own topics of the contract, and of the older frames."""
    sends = (
        machines.ack_topic(device_id, "+"),
        machines.state_topic(device_id),
        machines.heartbeat_topic(device_id),
        machines.telemetry_topic(device_id),
        f"{FRAME_ROOT}/{device_id}/{EVENTS}",
    )
    hears = (
        machines.command_topic(device_id, "+"),
        machines.confirmation_topic(device_id, "+"),
        f"{FRAME_ROOT}/{device_id}",
    )
    return [
        *(_right("publishClientSend", topic) for topic in sends),
        *(_right("publishClientReceive", topic) for topic in hears),
        # Exactly these subscriptions, no other pattern that would also match.
        *(_right("subscribeLiteral", topic) for topic in hears),
    ]


def _right(kind: str, topic: str) -> dict[str, Any]:
    return {"acltype": kind, "topic": topic, "priority": 0, "allow": True}


class BrokerAccounts:
    """Creates, rotates and revokes, over the connection that the process has to our own broker."""

    def __init__(self, control: Control, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._control = control
        self._timeout_s = timeout_s
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        control.on_control(self.heard)

    async def create(self, device_id: str) -> str:
        """Give a machine an account and return its password, which is kept nowhere here; an old one stops working."""
        return (await self.create_many([device_id]))[device_id]

    async def create_many(self, device_ids: list[str]) -> dict[str, str]:
        """The same for many machines, a few requests for all of them; returns the passwords."""
        passwords = {device_id: secrets.token_urlsafe(_PASSWORD_BYTES) for device_id in device_ids}
        for start in range(0, len(device_ids), COMMANDS_MAX):
            some = device_ids[start : start + COMMANDS_MAX]
            made = await self._ask([_new_role(device_id) for device_id in some])
            await self._again(some, made, lambda device_id: [{**_new_role(device_id), "command": "modifyRole"}])
            made = await self._ask([_new_client(device_id, passwords[device_id]) for device_id in some])
            await self._again(some, made, lambda device_id: _renewed(device_id, passwords[device_id]))
        return passwords

    async def rotate(self, device_id: str) -> str:
        """Give a machine another password; it is thrown off the broker until it knows it."""
        return await self.create(device_id)

    async def revoke(self, device_id: str) -> None:
        """Take a machine's account away; it is thrown off the broker. Nothing happens when it has none."""
        name = username_of(device_id)
        answers = await self._ask(
            [{"command": "deleteClient", "username": name}, {"command": "deleteRole", "rolename": name}]
        )
        for answer in answers:
            if (error := answer.get("error")) and "not found" not in error.lower():
                raise BrokerUnavailableError(f"the broker refused: {error}")

    def heard(self, payload: bytes) -> None:
        """Take an answer of the broker; what nobody waits for is another process's."""
        try:
            responses = json.loads(payload)["responses"]
            for response in responses:
                waiting = self._waiting.get(str(response.get("correlationData")))
                if waiting is not None and not waiting.done():
                    waiting.set_result(response)
        except (ValueError, KeyError, TypeError, AttributeError):
            log.warning("the broker answered something that is no answer")

    async def _again(
        self, device_ids: list[str], answers: list[dict[str, Any]], commands: Callable[[str], list[dict[str, Any]]]
    ) -> None:
        """Bring what was there already to what it should be; any other refusal is an error."""
        for device_id, answer in zip(device_ids, answers, strict=True):
            error = answer.get("error")
            if not error:
                continue
            if "already exists" not in error.lower():
                raise BrokerUnavailableError(f"the broker refused: {error}")
            for further in await self._ask(commands(device_id)):
                if further.get("error"):
                    raise BrokerUnavailableError(f"the broker refused: {further['error']}")

    async def _ask(self, commands: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send commands in one message and wait for the answer to each of them."""
        if len(self._waiting) + len(commands) > _WAITING_MAX:
            raise BrokerUnavailableError("too many accounts are being changed at once; try again")
        loop = asyncio.get_running_loop()
        waiting = {secrets.token_hex(12): loop.create_future() for _ in commands}
        self._waiting |= waiting
        named = [{**command, "correlationData": name} for command, name in zip(commands, waiting, strict=True)]
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._control.publish("own", CONTROL_TOPIC, json.dumps({"commands": named}).encode())
                return list(await asyncio.gather(*waiting.values()))
        except (TimeoutError, NotSentError, OutcomeUnknownError) as error:
            raise BrokerUnavailableError from error
        finally:
            for name in waiting:
                self._waiting.pop(name, None)


def _new_role(device_id: str) -> dict[str, Any]:
    return {"command": "createRole", "rolename": username_of(device_id), "acls": rights_of(device_id)}


def _new_client(device_id: str, password: str) -> dict[str, Any]:
    name = username_of(device_id)
    return {
        "command": "createClient",
        "username": name,
        "clientid": name,
        "password": password,
        "roles": [{"rolename": name}],
    }


def _renewed(device_id: str, password: str) -> list[dict[str, Any]]:
    name = username_of(device_id)
    return [
        # Disabling throws a connected client off; a password alone would leave it connected with the old one.
        {"command": "disableClient", "username": name},
        {"command": "modifyClient", "username": name, "password": password, "roles": [{"rolename": name}]},
        {"command": "enableClient", "username": name},
    ]
