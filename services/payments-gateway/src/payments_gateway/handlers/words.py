"""How a method of payment is named in messages and tables."""


def masked_method(method: str | None, card_type: str | None, last_four: str | None) -> str:
    """Name how it was paid, with four digits of a card at most (I-14)."""
    if last_four:
        return " ".join(part for part in (method, card_type, f"•••• {last_four}") if part)
    return method or card_type or ""
