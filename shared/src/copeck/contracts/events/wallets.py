"""What happens to a wallet or a merchant's balance."""

from typing import ClassVar

from pydantic import Field

from copeck.contracts.base import AccountName, Currency, Message


class WalletEvent(Message):
    """The state of a wallet or a merchant's balance."""

    account: AccountName
    currency: Currency
    version: int = Field(ge=1)
    balance_minor: int

    def subject(self) -> str:
        """Return the account."""
        return self.account


class WalletOpened(WalletEvent):
    """The wallet exists."""

    TYPE: ClassVar[str] = "wallet.opened"


class WalletChanged(WalletEvent):
    """The wallet's balance changed."""

    TYPE: ClassVar[str] = "wallet.changed"


WALLET: tuple[type[WalletEvent], ...] = (WalletOpened, WalletChanged)
