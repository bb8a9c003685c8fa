"""JSON in which a Decimal is a number with exactly its digits: no float comes between (I-12)."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any


def exact_json(value: Any) -> str:
    """Write a document of dictionaries, lists, text, whole numbers, booleans, nulls and Decimals."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        raise TypeError("a float is never written: use a Decimal")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(name))}: {exact_json(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(exact_json(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
