"""The demo cinema: a product and four plans, one of them with a trial."""

from dataclasses import dataclass

from copeck.kernel.ids import new_id
from copeck.kernel.money import Money
from copeck.storage.engine import Database
from subscriptions.domain.catalogue import Plan, Price, Product, Texts
from subscriptions.domain.periods import Period, PeriodUnit
from subscriptions.handlers.context import Actor, Context, Work, in_transaction
from subscriptions.settings import SubscriptionsSettings
from subscriptions.store import catalogue

PRODUCT = "cinema"


@dataclass(frozen=True)
class DemoPlan:
    """One plan of the demo."""

    code: str
    title: Texts
    description: Texts
    minor: int
    period: Period
    trial_days: int = 0


PLANS = (
    DemoPlan(
        "day",
        Texts("Вечер кино", "Movie night"),
        Texts("Весь каталог на одни сутки", "The whole catalogue for a day"),
        9900,
        Period(PeriodUnit.DAY, 1),
    ),
    DemoPlan(
        "month",
        Texts("Кино на месяц", "Cinema monthly"),
        Texts("Весь каталог, два экрана одновременно", "The whole catalogue, two screens at once"),
        19900,
        Period(PeriodUnit.MONTH, 1),
    ),
    DemoPlan(
        "trial",
        Texts("Кино с пробной неделей", "Cinema with a trial week"),
        Texts("Семь дней бесплатно, потом помесячно", "Seven days free, then monthly"),
        24900,
        Period(PeriodUnit.MONTH, 1),
        7,
    ),
    DemoPlan(
        "year",
        Texts("Кино на год", "Cinema yearly"),
        Texts("Двенадцать месяцев по цене десяти", "Twelve months for the price of ten"),
        199000,
        Period(PeriodUnit.YEAR, 1),
    ),
)


async def seed(settings: SubscriptionsSettings) -> list[str]:
    """Add what is missing of the demo; returns a line for each plan."""
    database = Database(settings.database_url, 2, application="subscriptions:seed")
    try:
        context = Context(database, settings)
        lines: list[str] = await in_transaction(context, Actor("service:demo"), _seed)
        return lines
    finally:
        await database.close()


async def _seed(work: Work) -> list[str]:
    if await catalogue.find_product(work.tx, PRODUCT) is None:
        title = Texts("Онлайн-кинотеатр", "Online cinema")
        await catalogue.insert_product(work.tx, Product(PRODUCT, title, "refund", 1, work.now))
    lines = []
    for demo in PLANS:
        known = await catalogue.find_plan_by_code(work.tx, demo.code, work.now)
        if known is None:
            known = Plan(new_id(), demo.code, PRODUCT, demo.title, demo.description, True, 1, work.now)
            await catalogue.insert_plan(work.tx, known)
        if known.price is None:
            price = Price(
                new_id(),
                known.id,
                Money(demo.minor, "RUB"),
                demo.period,
                demo.trial_days,
                work.now,
                work.now,
                work.actor.name,
            )
            await catalogue.insert_price(work.tx, price)
        lines.append(f"{demo.code}: {Money(demo.minor, 'RUB')} for {demo.period}")
    return lines
