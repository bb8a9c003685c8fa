"""Setting a fleet up: machines are made through the product's API, as a merchant would, and handed to a fleet."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2

_DRINKS = (("espresso", "Эспрессо", 9_000), ("cappuccino", "Капучино", 14_900), ("latte", "Латте", 15_900))
_SIZES = (("small", 0), ("medium", 3_000), ("large", 6_000))
_SIDE_BY_SIDE = 4
_TIMEOUT_S = 60.0


class OfficeError(Exception):
    """The product's API refused."""


class Office:
    """A manager at the product's API."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def log_in(self, email: str, password: str) -> None:
        """Log in, and speak as that person from now on."""
        tokens = await self.call("POST", "/auth/api/v1/login", {"email": email, "password": password})
        self._client.headers["Authorization"] = f"Bearer {tokens['access_token']}"

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call the API; OfficeError says what it answered instead of success."""
        answer = await self._client.request(method, path, json=body, headers=headers)
        if answer.status_code >= 400:
            raise OfficeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else {}

    async def merchant(self, name: str) -> str:
        """Make a merchant and return its id."""
        made = await self.call("POST", "/devices/api/v1/merchants", {"name": name})
        return str(made["id"])

    async def machine(self, device: str, merchant: str, name: str, model: str = "mqtt-v1") -> dict[str, Any]:
        """Make a machine with drinks and an account, and return what the fleet has to know of it."""
        driver = {"id": device} if model == "tmetr" else {}
        body = {"id": device, "merchant_id": merchant, "name": name, "model": model, "driver": driver}
        made = await self.call("POST", "/devices/api/v1/devices", body)
        menu = []
        for drink, words, price in _DRINKS:
            for size, more in _SIZES:
                minor = price + more
                line = {"drink": drink, "size": size, "name": words, "price_minor": minor}
                money = {"value": f"{minor // 100}.{minor % 100:02d}", "currency": "RUB"}
                await self.call(
                    "POST", f"/devices/api/v1/devices/{device}/drinks",
                    {"drink_id": drink, "size": size, "name": words, "price": money},
                )  # fmt: skip
                menu.append(line)
        config = {"device": device, "model": model, "name": name, "key": made["link_key"], "menu": menu}
        if model != "tmetr":
            account = await self.call("POST", f"/devices/api/v1/devices/{device}/broker-account")
            config |= {"username": account["username"], "password": account["password"]}
        return config


async def set_up(
    *, api_url: str, control_url: str, email: str, password: str, count: int, prefix: str, merchant: str, model: str
) -> list[str]:
    """Make the machines that are missing, hand them to the fleet, and return all their names."""
    names = [f"{prefix}-{number:04d}" for number in range(1, count + 1)]
    async with (
        httpx2.AsyncClient(base_url=api_url, timeout=_TIMEOUT_S, trust_env=False) as api,
        httpx2.AsyncClient(base_url=control_url, timeout=_TIMEOUT_S, trust_env=False) as control,
    ):
        listed = (await control.get("/control/machines", params={"limit": 10_000})).json()
        known = {item["device"] for item in listed["items"]}
        office = Office(api)
        await office.log_in(email, password)
        missing = [name for name in names if name not in known]
        if missing and not merchant:
            merchant = await office.merchant(f"Fleet {prefix}")
        gate = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def make(name: str) -> dict[str, Any]:
            async with gate:
                return await office.machine(name, merchant, f"Machine {name}", model)

        configs = await asyncio.gather(*(make(name) for name in missing))
        answer = await control.post("/control/machines", json={"machines": configs})
        answer.raise_for_status()
    return names
