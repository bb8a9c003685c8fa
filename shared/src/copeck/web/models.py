"""The base of request bodies: strict JSON, so that "7" is no number and an unknown member is an error."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, core_schema


class StrictModel(BaseModel):
    """A body that is read as JSON is meant: text is text, a number a number, a UUID or a moment is text of that form.

    FastAPI hands pydantic what `json.loads` made of the body, and strict Python mode would refuse a UUID written as
    text. So such members are read once in JSON mode, and then validated as what they are. A model that is built in
    Python takes Python's values.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Put the reading in JSON mode before the model's own schema, in Python mode alone."""

        def read_as_json(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
            if not isinstance(value, dict):
                return inner(value)
            try:
                text = json.dumps(value)
            except (TypeError, ValueError):
                return inner(value)
            read = source.__pydantic_validator__.validate_json(text)
            return inner({name: getattr(read, name) for name in read.model_fields_set})

        schema = handler(source)
        return core_schema.json_or_python_schema(
            json_schema=schema,
            python_schema=core_schema.no_info_wrap_validator_function(read_as_json, schema),
        )


class AnswerModel(BaseModel):
    """The base of answers: built in Python from checked values."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, from_attributes=True)
