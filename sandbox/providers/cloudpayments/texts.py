"""What the widget's pages say, in Russian and in English."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "ru": {
        "title": "Оплата картой",
        "number": "Номер карты",
        "expires": "Срок действия (ММ/ГГ)",
        "cvc": "Код CVC",
        "email": "Эл. почта для чека",
        "pay": "Оплатить",
        "sandbox": "Песочница: деньги не списываются",
        "paid": "Оплата прошла успешно",
        "declined": "Оплата не прошла",
        "pending": "Платёж обрабатывается. Итог придёт позже",
        "again": "Попробовать снова",
        "close": "Закрыть",
        "acs_title": "Подтверждение банка (3-D Secure)",
        "acs_text": "Банк просит подтвердить платёж.",
        "confirm": "Подтвердить",
        "refuse": "Отказаться",
        "error": "Форма недоступна",
    },
    "en": {
        "title": "Card payment",
        "number": "Card number",
        "expires": "Expires (MM/YY)",
        "cvc": "CVC code",
        "email": "E-mail for the receipt",
        "pay": "Pay",
        "sandbox": "Sandbox: no money is taken",
        "paid": "Payment completed",
        "declined": "Payment declined",
        "pending": "The payment is being processed. The outcome will come later",
        "again": "Try again",
        "close": "Close",
        "acs_title": "Bank confirmation (3-D Secure)",
        "acs_text": "The bank asks you to confirm the payment.",
        "confirm": "Confirm",
        "refuse": "Refuse",
        "error": "The form is not available",
    },
}

CARD_ERRORS: dict[str, dict[str, str]] = {
    "ru": {
        "number": "Проверьте номер карты",
        "expires": "Укажите срок в виде ММ/ГГ",
        "cvc": "Укажите три цифры с оборота карты",
    },
    "en": {
        "number": "Check the card number",
        "expires": "Enter the date as MM/YY",
        "cvc": "Enter the three digits from the back of the card",
    },
}
