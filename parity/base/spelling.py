"""Code and values as text: equal text only for what does the same, the same in every process and every checkout.

Of code, the top-level statements of a module: the names they bind, and their text without layout, docstrings and types.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import hashlib
import re
import symtable
import sys
import types
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import decode_source
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any

Chain = tuple[str, ...]
"""A name and the attributes taken of it: `helpers.pad` is ("helpers", "pad")."""
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
LOOSE = "module level"
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Scope = Function | ast.ClassDef | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_SKIPPED = {"annotation", "ctx", "kind", "returns", "type_comment", "type_params"}
_NEVER_RUN = {"TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'"}
_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, slice, type(...))
_UNREADABLE = re.compile(r"\b0x[0-9a-fA-F]{6,}|\.\.\.")
_Within = tuple[int, ...]


@dataclass(frozen=True)
class Import:
    """An import of one name: the module, with a dot for each level up, and the attribute taken of it, if any."""

    module: str
    attribute: str = ""


@dataclass(frozen=True, eq=False)
class Statement:
    """A top-level statement. `title` is the first name that it binds or changes."""

    node: ast.stmt
    title: str

    @cached_property
    def imports(self) -> Mapping[str, Sequence[Import]]:
        return _imports([self.node])

    @cached_property
    def tokens(self) -> Sequence[str | Chain]:
        """The text of the statement, in which each name that comes from outside of it is a chain."""
        loaded = set(_loaded(symtable.symtable(ast.unparse(self.node), "<statement>", "exec")))
        found: list[str | Chain] = []
        for kind, group in groupby(_tokens(self.node, loaded | self.imports.keys()), type):
            parts = list(group)
            found += ["".join(map(str, parts))] if kind is str else parts
        return found

    @property
    def lines(self) -> tuple[int, int]:
        return _line(self.node), self.node.end_lineno or 0

    def holds(self, line: int) -> bool:
        return self.lines[0] <= line <= self.lines[1]

    def functions(self, name: str, line: int) -> list[int]:
        """Return the numbers, in the statement, of the functions of this name that begin at this line."""
        nodes = [node for node in ast.walk(self.node) if isinstance(node, Function)]
        places = [(getattr(node, "name", "<lambda>"), _line(node)) for node in nodes]
        return [number for number, place in enumerate(places) if place == (name, line)]


@dataclass(frozen=True, eq=False)
class Source:
    """A parsed module: its statements but imports, those that bind or change a name, those beside, and its imports."""

    statements: Sequence[Statement]
    bound: Mapping[str, Sequence[Statement]]
    loose: Sequence[Statement]
    imports: Mapping[str, Sequence[Import]]


@lru_cache(maxsize=1024)
def parse(text: bytes) -> Source:
    """Return the statements of a module's text."""
    nodes = [node for node in ast.parse(decode_source(text)).body if not _is_docstring(node) and not _never_runs(node)]
    values = {name for node in nodes if not isinstance(node, _Definition) for name in _names(node, ast.Store)}
    made = values | {node.name for node in nodes if isinstance(node, _Definition)}
    bound: dict[str, list[Statement]] = defaultdict(list)
    statements = []
    for node in nodes:
        if isinstance(node, _Definition):  # a decorator may register what it decorates
            names = [node.name, *(name for one in node.decorator_list for name in _names(one) if name in values)]
        else:
            changed = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
            names = [name for part in changed for name in _names(part) if name in made]
        if not isinstance(node, ast.Import | ast.ImportFrom):
            statements.append(Statement(node, names[0] if names else LOOSE))
            for name in dict.fromkeys(names):
                bound[name].append(statements[-1])
    imports = _imports(node for node in nodes if not isinstance(node, _Definition))
    return Source(statements, dict(bound), [one for one in statements if one.title == LOOSE], imports)


def _tokens(node: object, loaded: set[str]) -> Iterator[str | Chain]:
    if isinstance(node, list):
        for item in node:
            if not isinstance(item, ast.Import | ast.ImportFrom) and not _is_docstring(item):
                yield from _tokens(item, loaded)
                yield ","
    elif not isinstance(node, ast.AST):
        yield repr(node)
    elif (chain := _chain(node)) and chain[0] in loaded:
        yield chain
    else:
        yield f"{type(node).__name__}("
        for name, value in ast.iter_fields(node):
            if value not in (None, []) and name not in _SKIPPED:
                yield f"{name}="
                yield from _tokens(value, loaded)
        if isinstance(node, ast.AnnAssign):  # dataclasses treat these fields in another way
            yield from re.findall("ClassVar|InitVar|KW_ONLY", ast.unparse(node.annotation))
        yield ")"


def _chain(node: ast.AST) -> Chain | None:
    """Return the name and the attributes that a node takes of it; None for a node of another kind."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name) and (attributes or isinstance(node.ctx, ast.Load)):
        return (node.id, *reversed(attributes))
    return None


def _loaded(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield the names that code takes from outside of all its functions."""
    for symbol in table.get_symbols():
        if symbol.is_global() or (table.get_type() != "function" and symbol.is_referenced()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _loaded(child)


def _names(node: ast.AST, context: type[ast.expr_context] = ast.expr_context) -> Iterator[str]:
    """Yield the names in a node, and those of definitions in it, without what runs in a scope of its own."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, context):
        yield node.id
    elif isinstance(node, _Definition):
        yield node.name
    elif not isinstance(node, _Scope):
        for child in ast.iter_child_nodes(node):
            yield from _names(child, context)


def _imports(nodes: Iterable[ast.AST]) -> Mapping[str, Sequence[Import]]:
    found: dict[str, list[Import]] = defaultdict(list)
    for node in (part for top in nodes for part in ast.walk(top)):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            top = alias.name.partition(".")[0]
            if isinstance(node, ast.ImportFrom):
                found[alias.asname or alias.name].append(Import("." * node.level + (node.module or ""), alias.name))
            else:
                found[alias.asname or top].append(Import(alias.name if alias.asname else top))
    return dict(found)


def _never_runs(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test) in _NEVER_RUN


def _is_docstring(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _line(node: ast.AST) -> int:
    return min(getattr(part, "lineno", 0) for part in (node, *getattr(node, "decorator_list", ())))


@dataclass(frozen=True)
class Encoder:
    """A spelling of values.

    root: the folder whose place on the machine makes no difference.
    reference: what a function, class or module of ours is called; None for one of others.
    """

    root: Path
    reference: Callable[[Any, str], str | None]

    def text(self, value: Any, where: str, within: _Within = ()) -> str:
        """Spell a value, or raise a TypeError that says which part of it cannot be spelled.

        where: what the value is called in errors.
        within: the values around it, so that a cycle ends.
        """
        if type(value) in _PLAIN:
            return repr(value).replace(str(self.root), "<root>")
        if id(value) in within:
            return f"<the value {len(within) - within.index(id(value))} further out>"
        inner = (*within, id(value))
        if isinstance(value, types.FunctionType | types.ModuleType | type):
            return self._definition(value, where, inner)
        if (named := _builtin(value)) and not hasattr(value, "__wrapped__"):
            return named
        kind = self.text(type(value), where, inner)
        if isinstance(value, enum.Enum):
            return f"{kind}.{value.name}"
        if isinstance(value, Set):
            return f"{kind} {sorted(self.text(item, where, inner) for item in value)}"
        parts = _parts(value)
        if parts is None and self.reference(type(value), where) is not None:
            parts = _attributes(value)
        if parts is not None:
            return f"{kind} {self._items(parts, where, inner)}"
        if hasattr(value, "__dict__") or _UNREADABLE.search(repr(value)):
            raise TypeError(
                f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which does not show what it holds, "
                "so it has no fingerprint. Make it inside the function that needs it, or pass it in"
            )
        return f"{kind} {value!r}"

    def _definition(self, value: Any, where: str, within: _Within) -> str:
        """Spell a function, class or module, with what it holds if a function or a decorator of others made it."""
        name = self.reference(value, where)
        held: dict[str, Any] = {}
        if isinstance(value, types.FunctionType) and hasattr(value, "__wrapped__") and name is None:
            held = {"around": value.__wrapped__}
        elif isinstance(value, types.FunctionType) and (name is None or name != f"<{value.__qualname__}>"):
            held = {**_cells(value), "defaults": [value.__defaults__, value.__kwdefaults__]}
        elif isinstance(value, type) and name and "<locals>" in value.__qualname__:
            held = {
                "bases": value.__bases__,
                **{name: one for name, one in vars(value).items() if _is_written(name, one)},
            }
        name = name or f"<{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}>"
        return f"{name} {self._items(held, where, within)}" if held else name

    def _items(self, values: Mapping[Any, Any], where: str, within: _Within) -> str:
        spelled = (
            f"{self.text(key, where, within)}: {self.text(value, f'{where}[{key!r}]', within)}"
            for key, value in values.items()
        )
        return f"{{{', '.join(spelled)}}}"


def _builtin(value: Any) -> str:
    """Return the name of a function that is not written in Python."""
    bound = not isinstance(getattr(value, "__self__", None), types.ModuleType | type | None)
    name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
    named = callable(value) and name and not bound and not isinstance(value, types.MethodType)
    return f"<{getattr(value, '__module__', '')}.{name}>" if named else ""


def _parts(value: Any) -> Mapping[Any, Any] | None:
    """Return what a container or a wrapper holds, in its order."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy and isinstance(value, numpy.ndarray | numpy.generic):
        data = numpy.ascontiguousarray(value).tobytes()
        held = value.tolist() if value.dtype.hasobject else hashlib.sha256(data).hexdigest()
        return {"dtype": value.dtype.str, "shape": value.shape, "items": held}
    if torch and isinstance(value, torch.Tensor):
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return {"dtype": str(value.dtype), "shape": tuple(value.shape), "items": data}
    if isinstance(value, PurePath | re.Pattern):
        return {"path": str(value)} if isinstance(value, PurePath) else {value.pattern: value.flags}
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list | tuple | deque):
        return dict(enumerate(value))
    if isinstance(value, functools.partial):
        return {"function": value.func, "arguments": value.args, "named": value.keywords}
    if isinstance(value, types.MethodType):
        return {"function": value.__func__, "self": value.__self__}
    if isinstance(value, property):
        return {"get": value.fget, "set": value.fset, "delete": value.fdel}
    if isinstance(value, str | bytes | int | float):
        return {"value": next(base for base in (str, bytes, int, float) if isinstance(value, base)).__repr__(value)}
    if hasattr(value, "__wrapped__"):
        return {"around": value.__wrapped__}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def _cells(function: types.FunctionType) -> dict[str, Any]:
    """Return what a closure holds, without the names that have no value yet."""
    names = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in names if cell != types.CellType()}


def _attributes(value: Any) -> dict[str, Any]:
    slots = (name for base in type(value).__mro__ for name in getattr(base, "__slots__", ()) if hasattr(value, name))
    return {**{name: getattr(value, name) for name in slots}, **getattr(value, "__dict__", {})}


def _is_written(name: str, member: Any) -> bool:
    """Return whether a member of a class stands in its body; Python and `dataclass` add others."""
    if isinstance(member, types.FunctionType):
        return not member.__code__.co_filename.startswith("<")
    return not (name.startswith("__") and name.endswith("__")) and not isinstance(member, types.GetSetDescriptorType)
