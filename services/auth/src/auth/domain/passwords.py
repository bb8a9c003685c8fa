"""What a password must be like."""

from auth.domain.errors import WeakPasswordError

LENGTH_MIN = 10
LENGTH_MAX = 256

# The first tries of everyone who guesses; the length takes care of the rest.
_COMMON = frozenset(
    {
        "1234567890", "0987654321", "123456789a", "qwertyuiop", "qwerty12345", "qwerty123456", "1q2w3e4r5t",
        "1qaz2wsx3edc", "password12", "password123", "password1234", "iloveyou123", "letmein123", "welcome123",
        "administrator", "administrator1", "йцукенгшщз", "пароль1234", "пароль12345", "администратор",
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
