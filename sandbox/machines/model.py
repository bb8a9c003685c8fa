"""What a machine is told about itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

DeviceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{3,40}$")]
Size = Literal["small", "medium", "large"]


class MenuLine(BaseModel):
    """A drink in one size, as the machine's own menu has it."""

    model_config = ConfigDict(extra="forbid")

    drink: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    size: Size = "medium"
    name: str = Field(default="", max_length=120)
    price_minor: int = Field(default=0, ge=0, le=10_000_000_00)


class MachineConfig(BaseModel):
    """A machine as it is set up; ``key`` is hexadecimal, as the merchant's console shows it."""

    model_config = ConfigDict(extra="forbid")

    device: DeviceId
    model: Literal["mqtt-v1", "frame-v1", "tmetr"] = "mqtt-v1"
    name: str = Field(default="", max_length=120)
    key: str = Field(default="", pattern=r"^([0-9a-f]{2})*$", max_length=256)
    mqtt_url: str = Field(default="", max_length=500, description="That of the settings when empty.")
    username: str = Field(default="", max_length=100)
    password: str = Field(default="", max_length=200)
    menu: list[MenuLine] = Field(default_factory=list, max_length=200)
    shows_prices: bool = Field(default=False, description="Publish the menu's prices as telemetry.")

    @property
    def secret(self) -> bytes:
        """The key's bytes."""
        return bytes.fromhex(self.key)


class Switches(BaseModel):
    """What a person can turn on a machine; a change comes with the fields that change."""

    model_config = ConfigDict(extra="forbid")

    powered: bool = True
    error: str = Field(default="", max_length=64, pattern=r"^[A-Za-z0-9_.-]*$")
    sold_out: list[tuple[str, Size]] = Field(default_factory=list, max_length=200)
    clock_offset_s: int = Field(default=0, ge=-10 * 86_400, le=10 * 86_400)
    brew_ms: int | None = Field(default=None, ge=0, le=600_000)
    mute: bool = Field(default=False, description="Brews, and reports nothing.")
    heartbeats: bool = True
