"""Settings of the emulator, read from the environment (prefix ``SANDBOX_CLOUDPAYMENTS_``) or given by the command."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sandbox.providers.money import BALANCE_MINOR_MAX, parse_amount


class NoticeType(StrEnum):
    """Kinds of notifications, spelled as in the addresses of the API."""

    CHECK = "check"
    PAY = "pay"
    FAIL = "fail"
    CONFIRM = "confirm"
    REFUND = "refund"
    RECURRENT = "recurrent"
    CANCEL = "cancel"
    RECEIPT = "receipt"


class Shop(BaseModel):
    """One terminal: its keys, and where its notifications go until the API changes that."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    public_id: str = Field(min_length=1, max_length=100)
    api_secret: SecretStr
    name: str = Field(default="main", validation_alias=AliasChoices("name", "shop"))
    test_mode: bool = True
    notify_url: str | None = Field(default=None, description="Address with {type}, and {shop} if wanted.")
    notify_method: Literal["POST", "GET"] = "POST"
    notify_body: Literal["form", "json"] = "form"
    notify_types: frozenset[NoticeType] = frozenset(NoticeType)
    max_concurrent: int | None = Field(default=None, ge=1, le=1000)

    @property
    def concurrency_limit(self) -> int:
        """How many API requests may run at once: 5 in test mode, 30 live, as the provider has it."""
        if self.max_concurrent is not None:
            return self.max_concurrent
        return 5 if self.test_mode else 30


class Settings(BaseSettings):
    """What the process needs to run."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_CLOUDPAYMENTS_", extra="ignore")

    host: str = "127.0.0.1"
    port: int = 8090
    public_url: str | None = Field(default=None, description="Address browsers use; by default that of the request.")
    data_dir: Path = Path("build/sandbox/cloudpayments")
    shops: Annotated[list[Shop], NoDecode] = Field(default_factory=list)
    shops_file: Path | None = None
    notify_url: str | None = Field(default=None, description="Default notify_url of shops that have none.")
    time_scale: float = Field(default=1.0, gt=0, le=1, description="1 is real time; 0.001 turns a minute into 60 ms.")
    notify_timeout_s: float = Field(default=30.0, gt=0)
    notify_attempts_max: int = Field(default=100, ge=1, le=100)
    notify_parallel_max: int = Field(default=64, ge=1, le=1000)
    request_id_ttl_s: float = Field(default=3600.0, gt=0)
    payout_balance: str = Field(default="1000000000.00", description="Of a terminal at first, in roubles.")
    notify_payouts: bool = Field(default=False, description="Send Pay or Fail when a payout under way has ended.")
    fail_after_check_refusal: bool = Field(default=True, description="Send Fail when Check was refused.")

    @field_validator("shops", mode="before")
    @classmethod
    def _decode_shops(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("payout_balance")
    @classmethod
    def _is_an_amount(cls, value: str) -> str:
        parse_amount(value, least_minor=0, most_minor=BALANCE_MINOR_MAX)
        return value

    @property
    def payout_balance_minor(self) -> int:
        """The opening balance of payouts in kopecks."""
        return parse_amount(self.payout_balance, least_minor=0, most_minor=BALANCE_MINOR_MAX)

    def all_shops(self) -> list[Shop]:
        """Shops of the environment and of the file, with the default notification address filled in."""
        shops = list(self.shops)
        if self.shops_file is not None:
            shops += [Shop.model_validate(item) for item in json.loads(self.shops_file.read_text("utf-8"))]
        if not shops:
            shops = [Shop(public_id="pk_test", api_secret=SecretStr("test_secret_key"))]
        filled = [
            shop if shop.notify_url else shop.model_copy(update={"notify_url": self.notify_url}) for shop in shops
        ]
        if len({shop.public_id for shop in filled}) != len(filled):
            raise ValueError("two shops have the same public_id")
        return filled
