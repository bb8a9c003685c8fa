"""Which price holds: our catalogue's or the machine's. Pure. What nobody knows is not invented."""

from device_bridge.domain.model import PriceRule


def price_of(rule: PriceRule, catalogue_minor: int | None, telemetry_minor: int | None) -> int | None:
    """Return the price in minor units by the machine's rule; None when it is not known, which means no sale.

    Zero is how a machine says that it does not know; nothing is given away for it.
    """
    catalogue = catalogue_minor if catalogue_minor and catalogue_minor > 0 else None
    telemetry = telemetry_minor if telemetry_minor and telemetry_minor > 0 else None
    match rule:
        case "catalogue":
            return catalogue
        case "telemetry":
            return telemetry
        case "catalogue_then_telemetry":
            return catalogue or telemetry
        case "telemetry_then_catalogue":
            return telemetry or catalogue
