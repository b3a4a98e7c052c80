"""All of our own code that something can reach, piece by piece."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import types
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from parity.base.code import classes, source
from parity.base.code.names import Constant, Resolver, Scope
from parity.base.code.values import Encoder
from parity.base.paths import project

_PACKAGES = {"site-packages", "dist-packages"}
_DIGITS = 16


def code(*things: Any, root: Path | None = None) -> dict[str, str]:
    """The fingerprint of each function, class and constant of ours that the things can reach, themselves included.

    Ours is what lies below `root`, that of the project in use, and is not installed; what comes from elsewhere is told
    by its distribution's version (`libraries`).
    Comments, layout, docstrings and the order of the things make no difference. Followed are names, with
    attributes of our modules; closures, defaults, decorators, bases and members. Not followed is what only a run
    can tell: names made from strings, files that are read, attributes of arguments.
    """
    return _Walk((root or project().root).resolve()).run(things)


class _Walk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.encoder = Encoder(root, self.reference, self.is_ours)
        self.resolver = Resolver(self.encoder, self.reach, self.is_our_module, self.our_name, self.source)
        self.found: dict[str, set[str]] = defaultdict(set)
        self.waiting: list[Any] = []
        self.seen: dict[Any, Any] = {}
        self.paths: dict[str, Path | None] = {}
        self.classes: dict[int, tuple[type, bool]] = {}
        self.sources: dict[Path, source.Source] = {}

    def run(self, things: Iterable[Any]) -> dict[str, str]:
        for thing in things:
            if isinstance(thing, types.FunctionType | type) and self.is_our_code(thing):
                self.reach(thing)
                self.reach_owner(thing)
            else:
                name = f"{type(thing).__module__}.{type(thing).__qualname__}"
                self.found[name].add(self.encoder.text(thing, name))
        while self.waiting:
            self.contribute(self.waiting.pop())
        return {name: _sha256("\n".join(sorted(texts)))[:_DIGITS] for name, texts in sorted(self.found.items())}

    def reach(self, thing: Any) -> None:
        key = (thing.module, thing.name) if isinstance(thing, Constant) else id(thing)
        if key not in self.seen:
            self.seen[key] = thing
            self.waiting.append(thing)

    def contribute(self, thing: Any) -> None:
        if isinstance(thing, Constant):
            name = f"{thing.module}.{thing.name}"
            self.found[name].add(self.encoder.text(thing.value, name))
        elif isinstance(thing, types.ModuleType):
            self.found[thing.__name__].add("\n".join(self.module_lines(thing)))
        else:
            self.found[_title(thing)].add("\n".join(self.lines(thing, (id(thing),))))

    def reference(self, value: Any, where: str, within: tuple[int, ...]) -> str | None:
        """What a function, class or module is called where it is used. Ours are reached by that."""
        if isinstance(value, types.FunctionType):
            return f"function {_title(value)}{self.function_details(value, where, within)}"
        if isinstance(value, type):
            return f"class {_title(value)}{self.details(value, within) if self.is_ours(value) else ''}"
        if isinstance(value, types.ModuleType):
            if self.is_our_module(value):
                self.reach(value)
            return f"module {value.__name__}"
        if isinstance(value, types.MethodType):
            owner = self.encoder.text(value.__self__, where, within)
            return f"method {self.encoder.text(value.__func__, where, within)} of {owner}"
        if isinstance(value, types.BuiltinFunctionType) and value.__self__ is not None:
            return f"builtin {value.__qualname__} of {self.encoder.text(value.__self__, where, within)}"
        if (parts := classes.parts(value)) is not None:
            return " ".join((type(value).__qualname__, *(self.encoder.text(part, where, within) for part in parts)))
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if callable(value) and isinstance(module, str) and isinstance(name, str) and not self.our_name(module):
            return f"callable {module}.{name}"
        return None

    def function_details(self, function: types.FunctionType, where: str, within: tuple[int, ...]) -> str:
        path = function.__code__.co_filename
        if self.our_path(path):
            self.reach_owner(function)
            return self.details(function, within)
        if self.our_name(function.__module__) and not Path(path).is_file():
            raise TypeError(f"{where} is {_title(function)}, which has no source: write it in a file of its module")
        held = {self.encoder.text(thing, where, within) for thing in classes.held(function, self.is_our_code)}
        return "".join(f" around {text}" for text in sorted(held))

    def details(self, thing: Any, within: tuple[int, ...]) -> str:
        """A name is enough for what a module has one of; what a function made is told by all that it holds."""
        if "<" not in thing.__qualname__:
            self.reach(thing)
            return ""
        return " " + _sha256("\n".join(self.lines(thing, within)))

    def reach_owner(self, thing: Any) -> None:
        """A method reaches, by its self, whatever its class has."""
        if not isinstance(thing, types.FunctionType) or "<locals>" in thing.__qualname__:
            return
        owner: Any = thing.__globals__
        for part in thing.__qualname__.split(".")[:-1]:
            owner = owner.get(part) if isinstance(owner, dict) else getattr(owner, part, None)
        if isinstance(owner, type) and self.is_ours(owner):
            self.reach(owner)

    def lines(self, thing: Any, within: tuple[int, ...]) -> Iterator[str]:
        return self.class_lines(thing, within) if isinstance(thing, type) else self.function_lines(thing, within)

    def function_lines(self, function: types.FunctionType, within: tuple[int, ...]) -> Iterator[str]:
        nodes = self.nodes(function)
        yield from map(source.sha256, nodes)
        yield from self.uses(function, nodes, within)

    def uses(
        self, function: types.FunctionType, nodes: tuple[source.Function, ...], within: tuple[int, ...]
    ) -> Iterator[str]:
        where = _title(function)
        yield from self.resolver.function(function, nodes, where, within)
        for role in ("__defaults__", "__kwdefaults__", "__dict__"):
            if value := getattr(function, role):
                yield f"{role} {self.encoder.text(value, f'{where}.{role}', within)}"

    def class_lines(self, cls: type, within: tuple[int, ...]) -> Iterator[str]:
        where = _title(cls)
        path, nodes = self.class_nodes(cls)
        yield from map(source.sha256, nodes)
        yield self.encoder.text([type(cls), *cls.__bases__], where, within)
        scope = Scope(vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {})
        for node in nodes:
            yield from self.resolver.decorators(node.decorator_list, scope, where, within)
        for name, member in sorted(classes.of(cls, nodes, where).items()):
            if isinstance(member, types.FunctionType) and classes.within(nodes, path, member):
                yield from (f"{name} {line}" for line in self.uses(member, self.nodes(member), within))
            else:
                yield f"{name} {self.encoder.text(member, f'{where}.{name}', within)}"

    def module_lines(self, module: types.ModuleType) -> Iterator[str]:
        """A module that is passed around as a whole: anything in it may be used, save the modules that it imports."""
        path = self.our_path(getattr(module, "__file__", None))
        if path is None:
            return
        yield source.sha256(self.source(path).tree)
        for name, value in sorted(vars(module).items()):
            if not isinstance(value, types.ModuleType) and not name.startswith("__"):
                yield from self.resolver.line((name,), Scope(vars(module)), module.__name__, (id(module),))

    def nodes(self, function: types.FunctionType) -> tuple[source.Function, ...]:
        code = function.__code__
        nodes = self.source(Path(code.co_filename)).function(code)
        if not nodes:
            raise TypeError(
                f"{_title(function)} is not to be found in {code.co_filename}, line {code.co_firstlineno}: "
                "has the file changed since it was imported? Run again"
            )
        return nodes

    def class_nodes(self, cls: type) -> tuple[Path | None, tuple[Any, ...]]:
        """A class tells which module it is from, but neither file nor line."""
        paths = [getattr(sys.modules.get(cls.__module__), "__file__", None)]
        paths += [value.__code__.co_filename for value in vars(cls).values() if isinstance(value, types.FunctionType)]
        for path in map(self.our_path, paths):
            if path and (nodes := self.source(path).classes.get(cls.__qualname__)):
                return path, nodes
        return None, ()

    def source(self, path: Path) -> source.Source:
        path = path.resolve()
        if path not in self.sources:
            self.sources[path] = source.parse(path.read_bytes())
        return self.sources[path]

    def our_path(self, name: str | None) -> Path | None:
        if not name:
            return None
        if name not in self.paths:
            path = Path(name).resolve()
            self.paths[name] = path if self.is_inside(path) and path.is_file() else None
        return self.paths[name]

    def is_inside(self, name: str | Path) -> bool:
        """Below the root, and neither installed nor hidden there."""
        path = Path(name).resolve()
        if not name or not path.is_relative_to(self.root):
            return False
        return not any(part in _PACKAGES or part.startswith(".") for part in path.relative_to(self.root).parts)

    def is_our_module(self, module: types.ModuleType) -> bool:
        if file := getattr(module, "__file__", None):
            return self.our_path(file) is not None
        return any(map(self.is_inside, getattr(module, "__path__", ())))  # a package without __init__.py

    def our_name(self, name: str | None) -> bool:
        """Whether a module is ours, which need not be loaded for that."""
        if name in sys.modules:
            return self.is_our_module(sys.modules[name])
        spec = importlib.util.find_spec(name.partition(".")[0]) if name else None
        places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
        return any(map(self.is_inside, places))

    def is_ours(self, cls: type) -> bool:
        if id(cls) not in self.classes:
            loaded = cls.__module__ in sys.modules and self.our_name(cls.__module__)
            self.classes[id(cls)] = cls, loaded or self.class_nodes(cls)[0] is not None
        return self.classes[id(cls)][1]

    def is_our_code(self, thing: Any) -> bool:
        if isinstance(thing, types.FunctionType):
            return self.our_path(thing.__code__.co_filename) is not None
        return isinstance(thing, type) and self.is_ours(thing)


def _title(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
