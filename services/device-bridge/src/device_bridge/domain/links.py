"""The link that a machine shows for a chosen drink: whether the machine made it, and just now. Pure."""

from datetime import datetime

from copeck.contracts.machines import LINK_MAX_AGE_S, LINK_MAX_AHEAD_S, is_link_signed_by
from device_bridge.domain.errors import LinkForged, LinkStale


def verify(key: bytes, *, device: str, drink: str, size: str, order: str, ts: int, sig: str, now: datetime) -> None:
    """Refuse a link that another key signed (LinkForged), or that is not of now (LinkStale).

    The signature is looked at first: a forged link learns nothing about clocks.
    """
    if not is_link_signed_by(key, device=device, drink=drink, size=size, order=order, ts=ts, sig=sig):
        raise LinkForged("Choose the drink at the machine again and scan the code that it shows.")
    age_s = now.timestamp() - ts
    if age_s > LINK_MAX_AGE_S:
        raise LinkStale("Choose the drink at the machine again and scan the new code.")
    if age_s < -LINK_MAX_AHEAD_S:
        raise LinkStale("The machine's clock is wrong. Choose the drink from the code on its door.")
