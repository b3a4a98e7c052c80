"""What the names in a piece of code stand for."""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from parity.base.code import source
from parity.base.code.source import Chain
from parity.base.code.values import Encoder


class Constant(NamedTuple):
    """A value under a name of one of our modules."""

    module: str
    name: str
    value: Any


class _Missing:
    """Stands for a name without a value: an unfilled cell, an attribute that is not there."""


class _Foreign(NamedTuple):
    """Stands for what a function would import from elsewhere."""

    name: str


@dataclass(frozen=True)
class Scope:
    """The globals of a piece of code, and what its closure and its own imports add."""

    names: Mapping[str, Any]
    inner: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Resolver:
    """Turns names into lines that say what they stand for, and has `reach` see to what they lead to."""

    encoder: Encoder
    reach: Callable[[Any], None]
    ours: Callable[[types.ModuleType], bool]
    ours_by_name: Callable[[str], bool]
    read: Callable[[Path], source.Source]

    def function(
        self, function: types.FunctionType, nodes: Iterable[source.Function], where: str, within: tuple[int, ...]
    ) -> Iterator[str]:
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        scope = Scope(function.__globals__, {name: _content(cell) for name, cell in cells})
        names = source.outer_names(function.__code__)
        for node in nodes:
            inner = Scope(scope.names, {**dict(self._import(node, scope, where)), **scope.inner})
            for chain in sorted(source.chains(node)):
                if chain[0] in names or chain[0] in inner.inner:
                    yield from self.line(chain, inner, where, within)
            if not isinstance(node, ast.Lambda):
                yield from self.decorators(node.decorator_list, inner, where, within)

    def decorators(self, nodes: Iterable[ast.expr], scope: Scope, where: str, within: tuple[int, ...]) -> Iterator[str]:
        for node in nodes:
            for chain in sorted(source.chains(node)):
                yield from self.line(chain, scope, where, within, decorates=True)

    def line(
        self, chain: Chain, scope: Scope, where: str, within: tuple[int, ...], decorates: bool = False
    ) -> Iterator[str]:
        """Nothing for what Python itself defines."""
        names: Mapping[str, Any] = scope.names
        name, value, rest = chain[0], scope.inner.get(chain[0], _Missing), chain[1:]
        home = "" if name in scope.inner else str(names.get("__name__"))
        if home:
            value = names.get(name, _Missing)
            if value is _Missing and hasattr(builtins, name):
                return
        while isinstance(value, types.ModuleType) and rest and self.ours(value):
            home, names, name, rest = value.__name__, vars(value), rest[0], rest[1:]
            value = getattr(value, name, _Missing)
        label = ".".join(chain[: len(chain) - len(rest)])
        if value is _Missing:
            yield f"{label} is missing"
        elif isinstance(value, _Foreign):
            yield f"{label} = {value.name}"
        elif isinstance(value, types.FunctionType | types.ModuleType | type):
            yield f"{label} = {self.encoder.text(value, f'{where}: {label}', within)}"
        elif decorates and rest:  # a registry's method decorates: all that is registered is not part of this
            yield f"{label} = a {self.encoder.text(type(value), f'{where}: {label}', within)}"
        elif not home:
            yield f"{label} = {self.encoder.text(value, f'{where}: {label}', within)}"
        elif foreign := self._imported_from_elsewhere(name, names):
            yield f"{label} = {foreign}"
        else:
            self.reach(Constant(home, name, value))
            yield f"{label} = constant {home}.{name}"

    def _imported_from_elsewhere(self, name: str, names: Mapping[str, Any]) -> str:
        """Where a module has a foreign object from: the version of that library tells the rest."""
        file = names.get("__file__")
        sources = self.read(Path(file)).imported.get(name, frozenset()) if file else frozenset()
        if len(sources) != 1:
            return ""
        ((module, original),) = sources
        loaded = sys.modules.get(module)
        return f"{module}.{original}" if loaded and not self.ours(loaded) else ""

    def _import(self, node: source.Function, scope: Scope, where: str) -> Iterator[tuple[str, Any]]:
        """What the imports in a function's body bind. They may not have been run yet."""
        for name, (level, module, attribute) in source.inner_imports(node).items():
            full = importlib.util.resolve_name("." * level + module, scope.names.get("__package__"))
            if not self.ours_by_name(full):
                yield name, _Foreign(f"{full}.{attribute}".rstrip("."))
                continue
            try:
                value: Any = importlib.import_module(full)
                if attribute and not hasattr(value, attribute):
                    value = importlib.import_module(f"{full}.{attribute}")
                elif attribute:
                    value = getattr(value, attribute)
            except ImportError as error:
                raise ImportError(f"{where} imports {full} {attribute}: {error}", name=error.name) from error
            yield name, value


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _Missing
