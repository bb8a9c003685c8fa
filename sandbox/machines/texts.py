"""What machines show, in Russian and English."""

from __future__ import annotations

TEXTS = {
    "en": {
        "title": "Coffee machine",
        "scan": "Scan to choose and pay with your phone",
        "open": "Open on this device",
        "choose": "Choose a drink",
        "chosen": "Scan to pay",
        "cancel": "Another drink",
        "valid": "The code is good for ten minutes.",
        "brewing": "Brewing",
        "wait": "Please wait, it takes a moment.",
        "done": "Your drink is ready",
        "take": "Take your cup, and enjoy it.",
        "failed": "It did not work out",
        "money": "Your money is on its way back.",
        "off": "The machine is switched off",
        "offline": "No connection: the machine sells nothing now",
        "error": "Out of order",
        "sold_out": "Sold out",
        "busy": "in the queue",
        "service": "Service panel",
        "on": "Switch on",
        "power_off": "Switch off",
        "fail_next": "Fail the next cup",
        "refuse_next": "Refuse the next order",
        "reboot": "Reboot",
        "away": "Off the network for 20 s",
        "repair": "Repair",
        "break": "Break (no water)",
        "machines": "Virtual machines",
        "sandbox": "A virtual machine: nothing is really brewed here.",
        "small": "small",
        "medium": "medium",
        "large": "large",
    },
    "ru": {
        "title": "Кофейный автомат",
        "scan": "Наведите камеру: выбрать и оплатить",
        "open": "Открыть на этом устройстве",
        "choose": "Выберите напиток",
        "chosen": "Наведите камеру, чтобы оплатить",
        "cancel": "Другой напиток",
        "valid": "Код действует десять минут.",
        "brewing": "Готовим",
        "wait": "Подождите немного.",
        "done": "Ваш напиток готов",
        "take": "Возьмите стакан. Приятного кофе!",
        "failed": "Не получилось",
        "money": "Деньги уже возвращаются.",
        "off": "Автомат выключен",
        "offline": "Нет связи: автомат сейчас ничего не продаёт",
        "error": "Не работает",
        "sold_out": "Всё закончилось",
        "busy": "в очереди",
        "service": "Сервисная панель",
        "on": "Включить",
        "power_off": "Выключить",
        "fail_next": "Испортить следующий стакан",
        "refuse_next": "Отказать в следующем заказе",
        "reboot": "Перезагрузить",
        "away": "Без сети на 20 с",
        "repair": "Починить",
        "break": "Сломать (нет воды)",
        "machines": "Виртуальные автоматы",
        "sandbox": "Это виртуальный автомат: на самом деле здесь ничего не варят.",
        "small": "маленький",
        "medium": "средний",
        "large": "большой",
    },
}


def language_of(accept: str) -> str:
    """Choose between the two languages by a browser's header; the first that is one of them wins."""
    for part in accept.lower().split(","):
        if part.strip()[:2] in TEXTS:
            return part.strip()[:2]
    return "en"
