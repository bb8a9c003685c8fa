"""Money on the wire: `{"value": "199.00", "currency": "RUB"}`."""

from typing import Annotated, Self

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from copeck.kernel.money import EXPONENTS, Money, MoneyError, major
from copeck.web.models import AnswerModel, StrictModel

# As many digits as a bigint of minor units has.
_SUM_PATTERN = r"^-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,2})?$"
_VALUE_PATTERN = r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,2})?$"


class MoneyModel(StrictModel):
    """An amount in major units as text, exact, and its currency. Amounts on the wire are never negative."""

    value: Annotated[str, Field(pattern=_VALUE_PATTERN, max_length=13, examples=["199.00"])]
    currency: Annotated[str, Field(min_length=3, max_length=3, examples=["RUB"])]

    @field_validator("currency")
    @classmethod
    def _known(cls, currency: str) -> str:
        if currency not in EXPONENTS:
            raise ValueError(f"the currency is not known; one of {', '.join(sorted(EXPONENTS))}")
        return currency

    @model_validator(mode="after")
    def _exact(self) -> Self:
        try:
            Money.parse(self.value, self.currency)
        except MoneyError as error:
            raise ValueError(error.detail) from error
        return self

    @classmethod
    def of(cls, money: Money) -> Self:
        """Show an amount."""
        return cls(value=money.value, currency=money.currency)

    def money(self) -> Money:
        """Return the amount that was sent."""
        return Money.parse(self.value, self.currency)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Name the currencies in the schema, so that a client sees them before it is refused."""
        reference = handler(core)
        schema = handler.resolve_ref_schema(reference)
        schema["properties"]["currency"]["enum"] = sorted(EXPONENTS)
        return reference


class SumModel(AnswerModel):
    """A balance or another sum in major units: it may exceed what a single amount may be. Only ever answered."""

    value: Annotated[str, Field(pattern=_SUM_PATTERN, max_length=23, examples=["90000000.01"])]
    currency: Annotated[str, Field(min_length=3, max_length=3, examples=["RUB"])]

    @classmethod
    def of_minor(cls, minor: int, currency: str) -> Self:
        """Show minor units."""
        return cls(value=major(minor, currency), currency=currency)
