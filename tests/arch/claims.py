"""What each test exercises, read from its source: HTTP calls with their paths, processes that it starts, its markers.

A test claims what it, or a helper or fixture that it uses, calls: `client.post(f"{PREFIX}/login")`,
`person.call("POST", "/auth/api/v1/login")`, `copeck("invoice", "show")`, `make("migrate")`. Names are resolved through
module constants, local assignments and imports between test modules; what cannot be resolved claims nothing. What no
reader of source can see is said by a marker: `@pytest.mark.covers("make demo")`.
"""

import ast
import importlib
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.arch.rules import repository

_METHODS = {"get", "post", "put", "patch", "delete"}
_ANY = "\0"
"""Stands for a part of a path that is known at run time only."""
_DEPTH_MAX = 6
_PACKAGES = {
    "auth",
    "subscriptions",
    "billing_state_updater",
    "payments_gateway",
    "device_bridge",
    "reminder_cron",
    "copeck",
}


@dataclass
class Function:
    """A function of a test module: what it calls and which others it uses."""

    module: "Module"
    node: ast.FunctionDef | ast.AsyncFunctionDef
    calls: set[tuple[str, str]] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    lines: set[tuple[str, ...]] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    covers: set[str] = field(default_factory=set)


@dataclass
class Module:
    """A test module, its constants and functions, and where its imported names come from."""

    path: str
    constants: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    classes: dict[str, dict[str, Function]] = field(default_factory=dict)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)


@cache
def modules() -> dict[str, Module]:
    """Read every module that exists for tests, by its dotted name."""
    sources = {
        source.path.removesuffix(".py").replace("/", "."): source
        for source in repository()
        if source.name.endswith(".py") and "tests" in source.parts
    }
    found = {name: Module(source.path) for name, source in sources.items()}
    for name, source in sources.items():
        _imports(found[name], source.tree, set(found))
    # Constants may be made of constants of other modules: a few rounds settle them all.
    for _ in range(3):
        for name, source in sources.items():
            _constants(found[name], source.tree, found)
    for name, source in sources.items():
        _functions(found[name], source.tree, found)
    return found


def _imports(module: Module, tree: ast.Module, known: set[str]) -> None:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        for alias in node.names:
            if node.module in known:
                module.imported[alias.asname or alias.name] = (node.module, alias.name)
            elif node.module.split(".")[0] in _PACKAGES and alias.name.isupper():
                # A constant of the code under test: its prefix, its address.
                value = getattr(importlib.import_module(node.module), alias.name, None)
                if isinstance(value, str):
                    module.constants[alias.asname or alias.name] = value


def _constants(module: Module, tree: ast.Module, known: dict[str, Module]) -> None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            text = text_of(node.value, _scope(module, known))
            for target, value in _pairs(node.targets[0], node.value, text, module, known):
                module.constants[target] = value


def _pairs(
    target: ast.expr, value: ast.expr, text: str | None, module: Module, known: dict[str, Module]
) -> Iterator[tuple[str, str]]:
    if isinstance(target, ast.Name) and text is not None:
        yield target.id, text
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for name, part in zip(target.elts, value.elts, strict=False):
            inner = text_of(part, _scope(module, known))
            if isinstance(name, ast.Name) and inner is not None:
                yield name.id, inner


def _scope(module: Module, known: dict[str, Module]) -> dict[str, str]:
    scope = dict(module.constants)
    for name, (source, original) in module.imported.items():
        if original in known[source].constants:
            scope[name] = known[source].constants[original]
    return scope


def text_of(node: ast.expr | None, scope: dict[str, str]) -> str | None:
    """Return a text as far as it is known; parts that are not are marked, and None stands for no text at all."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        return scope.get(node.id)
    if isinstance(node, ast.JoinedStr):
        parts = []
        for part in node.values:
            if isinstance(part, ast.Constant):
                parts.append(str(part.value))
            elif isinstance(part, ast.FormattedValue):
                parts.append(text_of(part.value, scope) or _ANY)
        return "".join(parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = text_of(node.left, scope), text_of(node.right, scope)
        return None if left is None and right is None else (left or _ANY) + (right or _ANY)
    return None


def _functions(module: Module, tree: ast.Module, known: dict[str, Module]) -> None:
    scope = _scope(module, known)
    everywhere = _marked(_module_marks(tree))
    holders: list[ast.Module | ast.ClassDef] = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    for holder in holders:
        inherited = everywhere | (_marked(holder.decorator_list) if isinstance(holder, ast.ClassDef) else set())
        for node in holder.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                function = Function(module, node, covers=inherited | _marked(node.decorator_list))
                _read(function, dict(scope))
                if isinstance(holder, ast.ClassDef):
                    module.classes.setdefault(holder.name, {})[node.name] = function
                if isinstance(holder, ast.Module) or node.name.startswith("test_"):
                    module.functions[node.name] = function


def _module_marks(tree: ast.Module) -> list[ast.expr]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == "pytestmark" for target in node.targets):
            return node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
    return []


def _marked(decorators: Iterable[ast.expr]) -> set[str]:
    return {
        argument.value
        for node in decorators
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.covers"
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def _read(function: Function, scope: dict[str, str]) -> None:
    for node in ast.walk(function.node):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            text = text_of(node.value, scope)
            if text is not None:
                scope[node.targets[0].id] = text
    function.uses |= {argument.arg for argument in function.node.args.args}
    for node in ast.walk(function.node):
        if isinstance(node, ast.Name):
            function.uses.add(node.id)
        elif isinstance(node, ast.Attribute):
            function.attributes.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            function.words.add(node.value)
        if isinstance(node, ast.Call):
            _read_call(function, node, scope)
        elif isinstance(node, ast.List | ast.Tuple):
            function.lines.add(_leading(node.elts, scope))


def _read_call(function: Function, call: ast.Call, scope: dict[str, str]) -> None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    texts = [text_of(argument, scope) for argument in call.args]
    if name in _METHODS and texts and texts[0]:
        function.calls.add((name.upper(), path_of(texts[0])))
    for first, second in itertools.pairwise(texts):
        if first and first.lower() in _METHODS and first.isupper() and second:
            function.calls.add((first, path_of(second)))
    if name in ("goto", "stream") and texts and texts[-1]:
        function.calls.add(("GET", path_of(texts[-1])))
    function.lines.add((name, *_leading(call.args, scope)))


def _leading(nodes: Iterable[ast.expr], scope: dict[str, str]) -> tuple[str, ...]:
    found = []
    for node in nodes:
        text = text_of(node, scope)
        found.append(_ANY if text is None else text)
    return tuple(found)


def path_of(text: str) -> str:
    """Return the path of an address: without scheme, host and query; a host that is not known yet goes too."""
    path = re.sub(rf"^(https?://[^/]*|{_ANY})(?=/)", "", text)
    return path.partition("?")[0].partition("#")[0]


@dataclass(frozen=True)
class Claim:
    """One test, and all that it does by itself or through others."""

    test: str
    calls: frozenset[tuple[str, str]]
    words: frozenset[str]
    lines: frozenset[tuple[str, ...]]
    covers: frozenset[str]
    uses: frozenset[str]


@cache
def claims() -> tuple[Claim, ...]:
    """Return what each test of the repository claims."""
    found = []
    for module in modules().values():
        if not Path(module.path).name.startswith("test_"):
            continue
        for name, function in module.functions.items():
            if name.startswith("test_"):
                # Tests of the code's rules hold samples of everything: they exercise only what they say.
                reached = [] if module.path.startswith("tests/arch/") else _reach(function)
                found.append(
                    Claim(
                        f"{module.path}::{name}",
                        frozenset().union(*(one.calls for one in reached)),
                        frozenset().union(*(one.words for one in reached)),
                        frozenset().union(*(one.lines for one in reached)),
                        frozenset(function.covers),
                        frozenset().union(*(one.uses for one in reached)),
                    )
                )
    return tuple(found)


def _reach(test: Function) -> list[Function]:
    """Walk from a test to helpers and fixtures that it uses, and to those methods of their classes that are called."""
    reached = [test]
    classes: list[dict[str, Function]] = []
    for _ in range(_DEPTH_MAX):
        names = {(function.module.path, name): function.module for function in reached for name in function.uses}
        attributes = {attribute for function in reached for attribute in function.attributes}
        found: list[Function] = []
        for (_path, name), module in names.items():
            home, original = _home(module, name)
            if original in home.classes and home.classes[original] not in classes:
                classes.append(home.classes[original])
            if helper := home.functions.get(original):
                found += [] if original.startswith("test_") else [helper]
        found += [
            method for methods in classes for name, method in methods.items() if name in attributes | {"__init__"}
        ]
        new = [function for function in found if not any(function is known for known in reached)]
        if not new:
            break
        reached += new
    return reached


def _home(module: Module, name: str) -> tuple[Module, str]:
    """Return where a name is defined: here, where it was imported from, or as a fixture of a conftest.py above."""
    if name in module.imported:
        source, original = module.imported[name]
        return modules()[source], original
    if name not in module.functions and name not in module.classes:
        for conftest in _conftests(str(Path(module.path).parent)):
            if name in conftest.functions:
                return conftest, name
    return module, name


@cache
def _conftests(folder: str) -> tuple[Module, ...]:
    """Return what holds the fixtures of a folder's tests, the nearest first."""
    path = Path(folder, "conftest")
    names = [str(above / path.name).replace("/", ".") for above in path.parents]
    return tuple(modules()[name] for name in names if name in modules())
