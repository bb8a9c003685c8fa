"""Settings of the emulator, read from the environment (prefix ``SANDBOX_MOCK_``) or given by the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sandbox.providers.money import BALANCE_MINOR_MAX, parse_amount


class Shop(BaseModel):
    """One client of the gateway: the name and the secret of its Basic authentication."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    public_id: str = Field(min_length=1, max_length=100)
    api_secret: SecretStr


class Settings(BaseSettings):
    """What the process needs to run."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_MOCK_", extra="ignore")

    host: str = "127.0.0.1"
    port: int = 8091
    data_dir: Path = Path("build/sandbox/mock")
    shops: Annotated[list[Shop], NoDecode] = Field(default_factory=list)
    shops_file: Path | None = None
    opening_balance: str = Field(default="90000000.00", description="In roubles, of a new or emptied gateway.")

    @field_validator("shops", mode="before")
    @classmethod
    def _decode_shops(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("opening_balance")
    @classmethod
    def _is_an_amount(cls, value: str) -> str:
        parse_amount(value, least_minor=0, most_minor=BALANCE_MINOR_MAX)
        return value

    @property
    def opening_minor(self) -> int:
        """The opening balance in kopecks."""
        return parse_amount(self.opening_balance, least_minor=0, most_minor=BALANCE_MINOR_MAX)

    def all_shops(self) -> dict[str, Shop]:
        """Clients of the environment and of the file, by public id."""
        shops = list(self.shops)
        if self.shops_file is not None:
            shops += [Shop.model_validate(item) for item in json.loads(self.shops_file.read_text("utf-8"))]
        if not shops:
            shops = [Shop(public_id="mock_test", api_secret=SecretStr("mock_test_secret"))]
        found = {shop.public_id: shop for shop in shops}
        if len(found) != len(shops):
            raise ValueError("two shops have the same public_id")
        return found
