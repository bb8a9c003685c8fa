"""The base of request bodies: strict JSON, so that "7" is no number and an unknown member is an error."""

import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationInfo, model_validator


class StrictModel(BaseModel):
    """A body that is read as JSON is meant: text is text, a number a number, a UUID or a moment is text of that form.

    FastAPI hands pydantic what `json.loads` made of the body, and strict Python mode would refuse a UUID written as
    text. So the members are read once in JSON mode, and then validated as they are.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="wrap")
    @classmethod
    def _read_as_json(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if info.mode == "json" or not isinstance(value, dict):
            return handler(value)
        try:
            text = json.dumps(value)
        except (TypeError, ValueError):
            return handler(value)
        read = cls.__pydantic_validator__.validate_json(text, context=info.context)
        return handler({name: getattr(read, name) for name in read.model_fields_set})


class AnswerModel(BaseModel):
    """The base of answers: built in Python from checked values."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, from_attributes=True)
