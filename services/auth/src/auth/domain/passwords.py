"""What a password must be like."""

from auth.domain.errors import WeakPasswordError

LENGTH_MIN = 8
LENGTH_MAX = 256

# The first tries of everyone who guesses; the length takes care of the rest.
_COMMON = frozenset(
    {
        "password", "password1", "passw0rd", "12345678", "123456789", "1234567890", "qwertyui", "qwertyuiop",
        "11111111", "00000000", "iloveyou", "sunshine", "princess", "football", "baseball", "superman", "trustno1",
        "welcome1", "abcd1234", "1q2w3e4r", "1qaz2wsx", "qwerty123", "letmein1",
        "администратор", "йцукенгш", "пароль123",
    }
)  # fmt: skip


def check_password(password: str, email: str) -> None:
    """Refuse what is short, common, one character over and over, or the e-mail address itself."""
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        raise WeakPasswordError(f"a password has {LENGTH_MIN} to {LENGTH_MAX} characters", "password")
    plain = password.lower()
    if plain in _COMMON or len(set(plain)) < 3:
        raise WeakPasswordError("the password is among the first that anybody would try", "password")
    if plain in {email.lower(), email.lower().partition("@")[0]}:
        raise WeakPasswordError("the password must not be the e-mail address", "password")
