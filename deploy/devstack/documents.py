"""`make docs`: everything in the repository that is generated from code; `--check` tells whether it is fresh.

A generator is a function without arguments that returns {path below the root: text}. It owns those files, and every
file beside them that carries the mark in its first lines.
"""

import argparse
import importlib
import sys
from collections.abc import Callable

from deploy.devstack.scratch import ROOT

GENERATORS: tuple[str, ...] = (
    "deploy.mosquitto.render:documents",
    "deploy.nginx.render:documents",
    "deploy.documents.message_paths:documents",
    "deploy.documents.problems:documents",
    "deploy.documents.schemas:documents",
    "deploy.documents.states:documents",
)


def rendered() -> dict[str, str]:
    """Return every generated document as it should be."""
    documents: dict[str, str] = {}
    for name in GENERATORS:
        module, _, function = name.partition(":")
        generate: Callable[[], dict[str, str]] = getattr(importlib.import_module(module), function)
        for path, text in generate().items():
            if path in documents:
                raise ValueError(f"{path} is generated twice, the second time by {name}")
            documents[path] = text if text.endswith("\n") else f"{text}\n"
    return documents


def stale() -> list[str]:
    """Return the paths of generated documents that are not what the code says."""
    paths = []
    for path, text in rendered().items():
        file = ROOT / path
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            paths.append(path)
    return paths


def main() -> int:
    """Write the documents, or check them."""
    parser = argparse.ArgumentParser(prog="python -m deploy.devstack.documents", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something is stale")
    options = parser.parse_args()
    paths = stale()
    if options.check:
        for path in paths:
            print(f"{path} is stale: make docs")
        return 1 if paths else 0
    documents = rendered()
    for path in paths:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(documents[path], encoding="utf-8")
        print(f"wrote {path}")
    print(f"{len(documents)} documents, {len(paths)} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
