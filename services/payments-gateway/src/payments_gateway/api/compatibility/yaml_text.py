"""A JSON document as YAML that people read: block style, texts in the quotes that it shares with JSON."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

_WIDTH = 2
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-")
# Words that YAML, or an older reader of it, takes for something else than text.
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def yaml_text(document: Mapping[str, Any]) -> str:
    """Write a document of JSON's values; a reader of YAML gets back what a reader of JSON would."""
    return "".join(f"{line}\n" for line in _lines(document, ""))


def _lines(value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of a mapping or a list that is not empty."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _entry(f"{indent}{_name(str(name))}:", item, indent)
    else:
        for item in value:
            yield from _item(item, indent)


def _entry(head: str, item: Any, indent: str) -> Iterator[str]:
    if isinstance(item, Mapping | list) and item:
        yield head
        yield from _lines(item, indent + " " * _WIDTH)
    else:
        yield f"{head} {_scalar(item)}"


def _item(item: Any, indent: str) -> Iterator[str]:
    if not (isinstance(item, Mapping | list) and item):
        yield f"{indent}- {_scalar(item)}"
        return
    inner = indent + " " * _WIDTH
    first, *rest = _lines(item, inner)
    yield f"{indent}- {first.removeprefix(inner)}"
    yield from rest


def _scalar(item: Any) -> str:
    # Limits of schemas are whole numbers that come as floats; older readers take 1e+18 for text.
    whole = isinstance(item, float) and item.is_integer()
    return _quoted(item) if isinstance(item, str) else json.dumps(int(item) if whole else item)


def _quoted(text: str) -> str:
    return "".join(map(_character, json.dumps(text, ensure_ascii=False)))


def _character(character: str) -> str:
    """Escape what a reader of YAML would refuse or take for the end of a line."""
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"


def _name(name: str) -> str:
    plain = bool(name) and name[0] != "-" and _BARE.issuperset(name) and name.lower() not in _WORDS
    return name if plain else _quoted(name)
