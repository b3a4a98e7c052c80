"""Where functions and classes stand in a file, and what they say there: no comments, no layout, no docstrings."""

from __future__ import annotations

import ast
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Chain = tuple[str, ...]
"""A name and the attributes taken of it: `helpers.pad` is ("helpers", "pad")."""


@dataclass(frozen=True, eq=False)
class Source:
    """One parsed file. `imported` tells of each name that the module binds by `from … import` where it may be from."""

    tree: ast.Module
    functions: Mapping[int, tuple[Function, ...]]
    classes: Mapping[str, tuple[ast.ClassDef, ...]]
    imported: Mapping[str, frozenset[tuple[str, str]]]

    def function(self, code: CodeType) -> tuple[Function, ...]:
        """The nodes that a code object may have been compiled from: one, unless its columns were stripped."""
        nodes = [node for node in self.functions.get(code.co_firstlineno, ()) if _name(node) == code.co_name]
        if len(nodes) > 1:
            nodes = _around(nodes, code) or nodes
        return tuple(nodes)


@lru_cache(maxsize=256)
def parse(text: bytes) -> Source:
    tree = _Bare().visit(ast.parse(text))
    functions: dict[int, list[Function]] = defaultdict(list)
    classes: dict[str, list[ast.ClassDef]] = defaultdict(list)
    for node, qualname in _definitions(tree, ""):
        if isinstance(node, ast.ClassDef):
            classes[qualname].append(node)
        else:
            functions[_first_line(node)].append(node)
    return Source(
        tree,
        {line: tuple(nodes) for line, nodes in functions.items()},
        {qualname: tuple(nodes) for qualname, nodes in classes.items()},
        _imported(tree),
    )


@lru_cache(maxsize=4096)
def sha256(node: ast.AST) -> str:
    return hashlib.sha256(ast.dump(node, annotate_fields=False).encode()).hexdigest()


@lru_cache(maxsize=4096)
def chains(node: ast.AST) -> frozenset[Chain]:
    """The names that are read below a node, each with the attributes taken of it."""
    return frozenset(_chains(node))


@lru_cache(maxsize=4096)
def outer_names(code: CodeType) -> frozenset[str]:
    """What a function and those defined in it may read from outside of it: globals, closures and, alas, attributes."""
    local = {*code.co_varnames, *code.co_cellvars}
    names = {name for name in (*code.co_names, *code.co_freevars) if name not in local}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= outer_names(constant) - set(code.co_cellvars)
    return frozenset(names)


@lru_cache(maxsize=4096)
def inner_imports(node: ast.AST) -> Mapping[str, tuple[int, str, str]]:
    """The names that import statements below a node bind: how many levels up, the module, and the name taken of it."""
    found = {}
    for statement in ast.walk(node):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                name = alias.asname or alias.name.partition(".")[0]
                found[name] = (0, alias.name if alias.asname else name, "")
                if not alias.asname and name != alias.name:
                    found[alias.name] = (0, alias.name, "")
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                found[alias.asname or alias.name] = (statement.level, statement.module or "", alias.name)
    return found


@lru_cache(maxsize=4096)
def assigned(node: ast.ClassDef) -> frozenset[str]:
    """The names that a class's body may assign."""
    names = (name for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store))
    return frozenset(name.id for name in names)


class _Bare(ast.NodeTransformer):
    """Drops docstrings: those of modules, classes and functions, and those below a constant or a field."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)


def _definitions(node: ast.AST, scope: str) -> Iterator[tuple[Function | ast.ClassDef, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield child, scope + child.name
            yield from _definitions(child, f"{scope}{child.name}.")
        elif isinstance(child, Function):
            yield child, scope + _name(child)
            yield from _definitions(child, f"{scope}{_name(child)}.<locals>.")
        else:
            yield from _definitions(child, scope)


def _name(node: Function) -> str:
    return "<lambda>" if isinstance(node, ast.Lambda) else node.name


def _first_line(node: Function) -> int:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _around(nodes: list[Function], code: CodeType) -> list[Function]:
    """Of lambdas on one line the innermost that all of the code's instructions lie in."""
    places = [
        ((line, column), (end_line, end_column))
        for line, end_line, column, end_column in code.co_positions()
        if line and end_line and column is not None and end_column  # what has no width belongs to the whole line
    ]
    if not places:
        return []
    start, end = min(place[0] for place in places), max(place[1] for place in places)
    spans = {node: ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)) for node in nodes}
    around = [node for node in nodes if spans[node][0] <= start and end <= spans[node][1]]
    return sorted(around, key=lambda node: spans[node][0])[-1:]


def _imported(tree: ast.Module) -> Mapping[str, frozenset[tuple[str, str]]]:
    """A name that the file binds in another way as well may stand for anything: it is left out."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for statement in _top_level(tree):
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                found[alias.asname or alias.name].add(("." * statement.level + (statement.module or ""), alias.name))
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return {name: frozenset(sources) for name, sources in found.items() if name not in bound}


def _top_level(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported, in whatever blocks it stands."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler) and not isinstance(child, ast.ClassDef | Function):
            yield child
            yield from _top_level(child)


def _chains(node: ast.AST) -> Iterator[Chain]:
    attributes: list[str] = []
    base = node
    while isinstance(base, ast.Attribute):
        attributes.append(base.attr)
        base = base.value
    if isinstance(base, ast.Name):
        if isinstance(base.ctx, ast.Load):
            yield (base.id, *reversed(attributes))
        return
    for child in ast.iter_child_nodes(base):
        yield from _chains(child)
