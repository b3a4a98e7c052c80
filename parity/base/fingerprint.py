"""Fingerprints: everything that made a thing, as a mapping of parts, and its digest.

The parts of code are the definitions of ours that something reaches, with a hash for each.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import math
import re
import sys
import types
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.util import resolve_name
from pathlib import Path
from typing import Any, NamedTuple

from parity.base.paths import project
from parity.base.spelling import Encoder, Import, Source, Statement, parse

HARNESS = Path(__file__).resolve().parents[1]
_PACKAGES = {"site-packages", "dist-packages"}
_DIGITS = 16
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_HASH = re.compile(r'"[0-9a-f]{16}([0-9a-f]{48})?"')


def digest(parts: Mapping[str, Any]) -> str:
    """Return the sha256 of the parts, in whatever order they are given."""
    plain = dict(parts)
    _assert_plain(plain, "the parts")
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return a line for each part that differs; hashes are not shown. Empty only if the digests are equal."""
    old, new = dict(_leaves(before, ())), dict(_leaves(after, ()))
    lines = []
    for path in sorted(old.keys() | new.keys()):
        name, was, now = ".".join(path) or "parts", old.get(path), new.get(path)
        if was == now:
            continue
        said = ["" if value is None or _HASH.fullmatch(value) else value.strip('"') for value in (was, now)]
        if was is None:
            lines.append(f"{name} is new: {said[1]}".removesuffix(": "))
        elif now is None:
            lines.append(f"{name} is gone: it was {said[0]}".removesuffix(": it was "))
        else:
            lines.append(f"{name}: {said[0]} → {said[1]}" if any(said) else f"{name} changed")
    return lines


def code(*things: Any, root: Path | None = None) -> dict[str, str]:
    """Return a hash for each definition of ours that the things reach, by its bare name.

    Ours is what lies below `root` or belongs to the harness; other distributions are told by their versions
    (`libraries.versions`). Source is followed by names and by attributes of modules, through imports. Comments, layout,
    docstrings, types and the names of modules make no difference. Not followed are names made from strings, files that
    are read, attributes of arguments, and what one module registers in another.

    things: functions, classes, or values that hold such, like a `functools.partial` or an instance of a dataclass.
    """
    return _Reach(root, things).hashes()


def tree(package: types.ModuleType, root: Path | None = None) -> str:
    """Return a digest of all definitions in an imported package and its subpackages, and of what these reach."""
    reach = _Reach(root, package=package.__name__)
    for folder in map(Path, package.__path__):
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            reach.whole(_Module(".".join((package.__name__, *parts)).removesuffix(".__init__"), file))
    if not (found := reach.hashes()):
        raise ValueError(f"{package.__name__} has no Python files to fingerprint")
    return _sha256(*(f"{name} {hash}" for name, hash in found.items()))


def spans(*things: Any, root: Path | None = None, by_data: bool = True) -> dict[Path, list[tuple[int, int]]]:
    """Return the first and last line of each definition that the things reach, by file, without those of the harness.

    things: as `code` takes them.
    by_data: Whether to follow what a variable holds, such as a list of stages, beside functions and classes.
    """
    reach = _Reach(root, things, by_data=by_data)
    reach.walk()
    found: dict[Path, set[tuple[int, int]]] = defaultdict(set)
    for place in reach.places:
        if place.module.path and not place.module.path.is_relative_to(HARNESS):
            found[place.module.path].update(one.lines for one in place.statements)
    return {path: sorted(lines) for path, lines in sorted(found.items())}


def _assert_plain(value: Any, name: str) -> None:
    """Refuse what JSON would write like something else: subclasses, tuples, keys that are not text."""
    if type(value) is float and not math.isfinite(value):
        raise ValueError(f"{name} is {value}, which has no place in a fingerprint")
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"{name} has the key {key!r}; a fingerprint's keys are str")
            _assert_plain(item, f"{name}.{key}".removeprefix("the parts."))
    elif type(value) is list:
        for index, item in enumerate(value):
            _assert_plain(item, f"{name}[{index}]")
    elif value is not None and type(value) not in (str, int, float, bool):
        kind = type(value).__name__
        raise TypeError(f"{name} is a {kind}; a fingerprint is made of str, int, float, bool, None, list and dict")


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif path:
        yield path, json.dumps(value, ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True)
class _Module:
    """A module of ours, known by its name; a package without an `__init__.py` has no path."""

    name: str
    path: Path | None = field(compare=False)

    @cached_property
    def source(self) -> Source:
        return parse(self.path.read_bytes() if self.path else b"")

    def resolved(self, imports: Iterable[Import]) -> list[Import]:
        """Return imports with absolute names."""
        package = self.name if self.path is None or self.path.stem == "__init__" else self.name.rpartition(".")[0]
        return [Import(resolve_name(one.module, package), one.attribute) for one in imports]


class _Place(NamedTuple):
    """A name in a module."""

    module: _Module
    name: str

    @property
    def statements(self) -> Sequence[Statement]:
        return self.module.source.bound[self.name]


class _Reach:
    """A walk from live objects along the names that their source loads."""

    def __init__(self, root: Path | None, things: Iterable[Any] = (), package: str = "", by_data: bool = True) -> None:
        self.root, self.package, self.by_data = (root or project().root).resolve(), package, by_data
        self.encoder = Encoder(self.root, self.reference)
        self.modules: dict[str, _Module | None] = {}
        self.places: set[_Place] = set()
        self.waiting: list[_Place] = []
        self.statements: dict[tuple[_Module, Statement], str] = {}
        self.hashed: dict[str, set[str]] = defaultdict(set)
        self.used: list[_Place] = []
        self.users: list[tuple[str, list[_Place]]] = []
        for thing in things:
            self.value(thing)

    def value(self, thing: Any) -> None:
        """Reach a live object. A top-level definition has no hash beside that of its statement."""
        title = getattr(getattr(thing, "func", thing), "__qualname__", type(thing).__qualname__)
        if (text := self.encoder.text(thing, title)) != f"<{title}>":
            self.keep(f"{title}(…)", text)
        self.used = []

    def walk(self) -> None:
        """Follow everything to its end."""
        while self.waiting:
            place = self.waiting.pop()
            for statement in (*place.statements, *place.module.source.loose):
                if self.by_data or isinstance(statement.node, _DEFINITIONS):
                    self.statement(place.module, statement)

    def hashes(self) -> dict[str, str]:
        """Return all hashes. For a name with several definitions, also tell which of them is used where."""
        self.walk()
        own: dict[str, dict[_Place, str]] = defaultdict(dict)
        for place in self.places:
            own[place.name][place] = _sha256(*sorted(self.statements[place.module, one] for one in place.statements))
        for name, found in own.items():
            if len(set(found.values())) > 1:
                uses = [(user, [found[place] for place in used if place in found]) for user, used in self.users]
                self.hashed[f"{name}, of several modules"] = {f"{user} {these}" for user, these in uses if these}
        return {name: _sha256(*sorted(found)) for name, found in sorted(self.hashed.items())}

    def keep(self, title: str, text: str) -> str:
        """Hash a text, and note which places were reached to make it."""
        hash = _sha256(text)
        self.hashed[title].add(hash)
        self.users.append((hash, self.used))
        self.used = []
        return hash

    def statement(self, module: _Module, statement: Statement) -> None:
        if (module, statement) not in self.statements:
            parts = (one if isinstance(one, str) else self.chain(module, statement, *one) for one in statement.tokens)
            self.statements[module, statement] = self.keep(statement.title, "".join(parts))

    def chain(self, module: _Module, statement: Statement, name: str, *rest: str) -> str:
        """Reach the object of a name in a statement, and return it without the names of our modules."""
        inner = statement.imports.get(name, ())
        imports = inner or module.source.imports.get(name, ())
        found = {self.imported(module, one, rest) for one in module.resolved(imports)}
        if name in module.source.bound and not inner:
            found.add(self.place(module, name, *rest))
        if not found and "*" in module.source.imports:
            raise ImportError(
                f"{module.name}.{statement.title} uses {name}, which may come from `import *`: name it there"
            )
        return " or ".join(sorted(found)) or ".".join((name, *rest))

    def imported(self, module: _Module, one: Import, rest: Sequence[str]) -> str:
        return self.member(one.module, [one.attribute, *rest] if one.attribute else rest, module.name)

    def member(self, name: str, path: Sequence[str], by: str) -> str:
        """Reach the object of a path of attributes from a module. `by` is the module that says so."""
        module = self.module(name)
        if module is None:
            return f"<{'.'.join((name, *path))}>"
        if not path:
            self.whole(module)
            return "<module>"
        if path[0] in module.source.bound:
            return self.place(module, *path)
        imports = module.resolved(module.source.imports.get(path[0], ()))
        if found := {self.imported(module, one, path[1:]) for one in imports if one != Import(name, path[0])}:
            return " or ".join(sorted(found))
        if self.module(f"{name}.{path[0]}"):
            return self.member(f"{name}.{path[0]}", path[1:], by)
        if "__getattr__" in module.source.bound:
            return self.place(module, "__getattr__") + ".".join(path)
        if not path[0].startswith("__"):
            raise ImportError(f"{by} uses {name}.{path[0]}, but no statement of {name} binds it: check the name")
        return ".".join(path)

    def place(self, module: _Module, name: str, *rest: str) -> str:
        place = _Place(module, name)
        if place not in self.places:
            self.places.add(place)
            self.waiting.append(place)
        self.used.append(place)
        return f"<{'.'.join((name, *rest))}>"

    def whole(self, module: _Module) -> None:
        for name in module.source.bound:
            self.place(module, name)

    def reference(self, thing: Any, where: str) -> str | None:
        """Reach a function, a class or a module, and return its name; None if it is not ours."""
        if isinstance(thing, types.ModuleType):
            return self.member(thing.__name__, (), where)
        if isinstance(thing, types.FunctionType):
            return self.function(thing, where)
        module = self.module(thing.__module__)
        name, *rest = thing.__qualname__.split(".")
        if module and name not in module.source.bound:
            raise TypeError(f"{where} is {name}, for which {module.name} has no class statement: write it as one")
        return self.place(module, name, *rest) if module else None

    def function(self, function: types.FunctionType, where: str) -> str | None:
        """Return what a function of ours is called: within a statement, it goes by its number."""
        code = function.__code__
        module = self.module(str(function.__globals__.get("__name__")))
        if module is None:
            return None
        place = f"{code.co_filename}, line {code.co_firstlineno}"
        found = [one for one in module.source.statements if one.holds(code.co_firstlineno)]
        numbers = found[0].functions(code.co_name, code.co_firstlineno) if found else []
        if not numbers or str(module.path) != str(Path(code.co_filename).resolve()):
            raise TypeError(f"{where}: {code.co_name} is not at {place}. If the file has changed, run again")
        if len(numbers) > 1:
            raise TypeError(f"{where}: {code.co_name} stands several times at {place}. Give each a line of its own")
        named = self.place(module, found[0].title)
        return named if named == f"<{function.__qualname__}>" else f"{named}, function {numbers[0]}"

    def module(self, name: str) -> _Module | None:
        """Return a module of ours by its name; None for one of others."""
        if name not in self.modules:
            top, _, below = name.partition(".")
            self.modules[name] = self.find(name) if not below or self.module(top) else None
        return self.modules[name]

    def find(self, name: str) -> _Module | None:
        found: Any = sys.modules.get(name)
        try:
            found = found or importlib.util.find_spec(name)
        except ImportError:
            return None
        file = getattr(found, "__file__", None) or getattr(found, "origin", None)
        folders = getattr(found, "__path__", None) or getattr(found, "submodule_search_locations", None)
        ours = any(self.is_ours(_resolved(place), name) for place in ([file] if file else folders or ()))
        return _Module(name, _resolved(file) if file else None) if ours else None

    def is_ours(self, path: Path, name: str) -> bool:
        """Return whether a file belongs to the harness, or lies below the root and is neither installed nor hidden."""
        if path.is_relative_to(HARNESS) or (self.package and f"{name}.".startswith(f"{self.package}.")):
            return True
        parts = path.relative_to(self.root).parts if path.is_relative_to(self.root) else (".",)
        return not any(part in _PACKAGES or part.startswith(".") for part in parts)


@cache
def _resolved(place: str) -> Path:
    return Path(place).resolve()


def _sha256(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:_DIGITS]
