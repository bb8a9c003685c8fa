"""Reads `.env` in the checkout, for settings that a developer does not want to type; the environment wins."""

import os
from pathlib import Path

from deploy.devstack.scratch import ROOT

_PREFIX = "COPECK_"


def load(path: Path = ROOT / ".env") -> None:
    """Put the file's COPECK_ settings into the environment: `NAME=value` lines, quotes optional, `#` comments."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        name, separator, value = line.strip().partition("=")
        if not separator or not name.startswith(_PREFIX):
            continue
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        os.environ.setdefault(name.strip(), value)
