"""What a buyer gives for the receipt: an e-mail address or a phone number, told apart and written in one way. Pure."""

import re
from dataclasses import dataclass
from typing import Literal

from copeck.kernel.errors import InvalidValueError

CHARS_MAX = 254
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
                    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+", re.ASCII)  # fmt: skip
_PHONE_MARKS = re.compile(r"[\s().-]")
_PHONE = re.compile(r"\+[1-9][0-9]{9,14}", re.ASCII)


class ContactInvalid(InvalidValueError):
    """It is neither an e-mail address nor a phone number."""

    type = "contact-invalid"
    title = "This is neither an e-mail address nor a phone number"


@dataclass(frozen=True, slots=True)
class Contact:
    """Whither the receipt goes. Phones are kept for the support; nothing is sent to them."""

    kind: Literal["email", "phone"]
    address: str

    @property
    def masked(self) -> str:
        """What logs and other people may see of it."""
        return mask(self.address)


def read_contact(text: str) -> Contact | None:
    """Read what was typed; None for nothing, ContactInvalid for what is neither."""
    typed = text.strip()
    if not typed:
        return None
    if "@" in typed:
        if len(typed) <= CHARS_MAX and _EMAIL.fullmatch(typed):
            return Contact("email", typed)
        raise ContactInvalid(field="contact")
    digits = _PHONE_MARKS.sub("", typed[:CHARS_MAX])
    # Russians write their numbers from 8 or from 7; both mean +7.
    if re.fullmatch(r"[78][0-9]{10}", digits, re.ASCII):
        digits = "+7" + digits[1:]
    if _PHONE.fullmatch(digits):
        return Contact("phone", digits)
    raise ContactInvalid(field="contact")


def is_email(address: str | None) -> bool:
    """Tell whether an address of a stored order is one that mail can be sent to."""
    return address is not None and "@" in address


def mask(address: str) -> str:
    """Return an address so that its owner knows it and nobody else learns it: `a***@example.org`, `+7***4567`."""
    name, at, host = address.partition("@")
    return f"{name[:1]}***@{host}" if at else f"{address[:2]}***{address[-4:]}"
