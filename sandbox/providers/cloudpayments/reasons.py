"""Reason codes: the provider's name of each, and what the payer is told in Russian and in English."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a payment was declined."""

    code: int
    name: str
    ru: str
    en: str

    def message(self, culture: str) -> str:
        """Text for the payer in the language of the culture name (``ru-RU``, ``en-US``)."""
        return self.en if culture.lower().startswith("en") else self.ru


_BANK_RU, _BANK_EN = (
    "Свяжитесь с вашим банком или воспользуйтесь другой картой",
    "Contact your bank or use another card",
)
_RETRY_RU, _RETRY_EN = "Повторите попытку позже", "Try again later"
_DATA_RU, _DATA_EN = "Проверьте правильность введённых данных карты", "Check the card details"
_SHOP_RU, _SHOP_EN = "Платёж не принят магазином", "The shop did not accept the payment"

_TABLE: tuple[tuple[int, str, str, str], ...] = (
    (3001, "InvalidInvoiceId", "Неверный номер заказа", "Wrong order number"),
    (3002, "InvalidAccountId", "Неверный идентификатор плательщика", "Wrong payer id"),
    (3003, "InvalidAmount", "Неверная сумма платежа", "Wrong amount"),
    (3004, "OutOfDate", "Срок оплаты заказа истёк", "The order is out of date"),
    (3005, "FormatError", _SHOP_RU, _SHOP_EN),
    (3006, "Unavailable", "Магазин недоступен, повторите позже", "The shop is unavailable, try again later"),
    (3007, "UnableToConnect", "Магазин недоступен, повторите позже", "The shop is unavailable, try again later"),
    (3008, "NotAccepted", _SHOP_RU, _SHOP_EN),
    (5001, "ReferToCardIssuer", _BANK_RU, _BANK_EN),
    (5003, "InvalidMerchant", _BANK_RU, _BANK_EN),
    (5004, "PickUpCard", _BANK_RU, _BANK_EN),
    (5005, "DoNotHonor", _BANK_RU, _BANK_EN),
    (5006, "Error", _BANK_RU, _BANK_EN),
    (5007, "PickUpCardSpecialConditions", _BANK_RU, _BANK_EN),
    (5012, "InvalidTransaction", "Карта не предназначена для онлайн-платежей", "The card is not for online payments"),
    (5013, "AmountError", "Сумма слишком мала или слишком велика", "The amount is too small or too large"),
    (5014, "InvalidCardNumber", _DATA_RU, _DATA_EN),
    (5015, "NoSuchIssuer", _BANK_RU, _BANK_EN),
    (5017, "TransactionCancelled", "Плательщик отменил платёж", "The payer canceled the payment"),
    (5019, "TransactionError", _BANK_RU, _BANK_EN),
    (5030, "FormatError", _RETRY_RU, _RETRY_EN),
    (5031, "BankNotSupportedBySwitch", _BANK_RU, _BANK_EN),
    (5033, "ExpiredCardPickup", "Срок действия карты истёк", "The card has expired"),
    (5034, "SuspectedFraud", _BANK_RU, _BANK_EN),
    (5036, "RestrictedCard", "Платежи для этой карты запрещены", "Payments are not allowed for this card"),
    (5041, "LostCard", "Карта потеряна", "The card is lost"),
    (5043, "StolenCard", "Карта украдена", "The card is stolen"),
    (5051, "InsufficientFunds", "Недостаточно средств на карте", "Insufficient funds"),
    (5054, "ExpiredCard", "Срок действия карты истёк", "The card has expired"),
    (5057, "TransactionNotPermitted", "Запрет на операции по карте", "The card does not permit this transaction"),
    (5058, "TransactionNotPermittedToTerminal", _BANK_RU, _BANK_EN),
    (5059, "SuspectedFraudDecline", _BANK_RU, _BANK_EN),
    (5061, "ExceedsApprovalAmount", "Превышен лимит по карте", "The card's limit is exceeded"),
    (5062, "CardRestricted", "Платежи для этой карты запрещены", "Payments are not allowed for this card"),
    (5063, "SecurityViolation", "Карта заблокирована", "The card is blocked"),
    (5065, "ExceedsWithdrawalFrequency", "Превышен лимит операций по карте", "Too many operations with the card"),
    (5082, "IncorrectCVV", "Неверный код CVV", "Wrong security code"),
    (5091, "Timeout", "Эмитент недоступен, повторите позже", "The bank did not answer, try again later"),
    (5092, "CannotReachNetwork", "Эмитент недоступен, повторите позже", "The bank did not answer, try again later"),
    (5096, "SystemError", _RETRY_RU, _RETRY_EN),
    (5113, "RestrictedCard2", "Платежи для этой карты запрещены", "Payments are not allowed for this card"),
    (5204, "UnableToProcess", _BANK_RU, _BANK_EN),
    (5206, "AuthenticationFailed", "3-D Secure авторизация не пройдена", "3-D Secure authentication failed"),
    (5207, "AuthenticationUnavailable", "3-D Secure авторизация недоступна", "3-D Secure is unavailable"),
    (5300, "AntiFraud", _BANK_RU, _BANK_EN),
    (5303, "NotSupported", _BANK_RU, _BANK_EN),
    (6013, "InvalidRefund", "Возврат невозможен", "The refund is not possible"),
    (6015, "TransactionNotFound", "Операция не найдена", "The transaction was not found"),
    (6025, "CrossTerminalTokenRestriction", "Токен выдан другому терминалу", "The token is of another terminal"),
)

REASONS: dict[int, Reason] = {row[0]: Reason(*row) for row in _TABLE}

# What the answer to a Check notification turns into.
CHECK_REFUSALS: dict[int, int] = {10: 3001, 11: 3002, 12: 3003, 13: 3008, 20: 3004}


def reason(code: int) -> Reason:
    """The reason of a code; codes without a row of their own read as a plain refusal of the bank."""
    return REASONS.get(code) or Reason(code, "DoNotHonor", _BANK_RU, _BANK_EN)
