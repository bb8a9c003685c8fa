"""What of a machine only a manager says. Pure.

An address chooses whose machine gets a paid command; a model that never reports a cup chooses that it counts as made.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from copeck.kernel.errors import DomainError
from device_bridge.domain.drivers import DriverPolicy

MERCHANTS_OWN = frozenset({"drinks", "text_flag"})
"""What of `driver` only translates for the machine itself; all the rest is its address."""


class AddressForbidden(DomainError):
    """A merchant's machines are reached by their own codes; anything else is a manager's to say."""

    type: ClassVar[str] = "forbidden"
    title: ClassVar[str] = "This is not allowed"
    status: ClassVar[int] = 403


class ModelForbidden(DomainError):
    """With a model that reports no cup a merchant is paid for machines that are off; that is a manager's to grant."""

    type: ClassVar[str] = "forbidden"
    title: ClassVar[str] = "This is not allowed"
    status: ClassVar[int] = 403


def address_of(driver: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of `driver` says where the machine is reached: its broker, its topic, its id elsewhere."""
    return {name: value for name, value in driver.items() if name not in MERCHANTS_OWN}


def check_address(before: Mapping[str, Any], after: Mapping[str, Any], *, by_manager: bool) -> None:
    """Refuse a merchant who changes where a machine is reached; without an address it is reached by its own code."""
    if not by_manager and address_of(before) != address_of(after):
        raise AddressForbidden("Only a manager sets the broker, the topic or the foreign id of a machine.", "driver")


def check_model_choice(policy: DriverPolicy, *, by_manager: bool) -> None:
    """Refuse a merchant who chooses a model that does not say whether it made a drink."""
    if not by_manager and not policy.completion_signal:
        raise ModelForbidden("Only a manager chooses a model that does not report what it made.", "model")
