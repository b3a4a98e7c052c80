"""Imports between the project's files, read from their source, and figures about them.

`python -m tests.support.rooms` prints the figures of this checkout; a path of another checkout may be given.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("parity", "milrun", "references", "converters")
PLAN = ROOT / "docs/architecture.md"
TOP = "top"


@dataclass(frozen=True, order=True)
class Arrow:
    """One import of one of our modules by another: `source` imports `target`, inside a function or not."""

    source: str
    target: str
    lazy: bool = False


def planned(text: str = "") -> dict[str, int]:
    """Return the level of every room, from the block marked `rooms` in docs/architecture.md.

    Each line of it is a level; the lowest comes first, and rooms on one line do not import each other.
    A name in brackets after `top` is a module of `parity/` itself.
    """
    text = text or PLAN.read_text(encoding="utf-8")
    found = re.search(r"^```rooms\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise ValueError("docs/architecture.md has no block marked `rooms`")
    lines = [line.partition("#")[0].split() for line in found[1].splitlines()]
    return {room: level for level, rooms in enumerate(lines) for room in rooms}


@dataclass(frozen=True)
class Tree:
    """The Python files of a checkout, and the imports between them."""

    root: Path = ROOT

    @cached_property
    def modules(self) -> dict[str, Path]:
        """Every module of our packages by its dotted name; a package has the name of its folder."""
        paths = (path for package in PACKAGES for path in sorted((self.root / package).rglob("*.py")))
        return {_name(path.relative_to(self.root)): path for path in paths}

    @cached_property
    def arrows(self) -> frozenset[Arrow]:
        """Every import of one of our modules by another; imports for type checkers count as well."""
        found = set()
        for name, path in self.modules.items():
            for imported, lazy in _imports(ast.parse(path.read_text(encoding="utf-8")), name):
                target = next((known for known in _prefixes(imported) if known in self.modules), None)
                if target and target != name:
                    found.add(Arrow(name, target, lazy))
        return frozenset(found)

    @cached_property
    def targets(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {name: set() for name in self.modules}
        for arrow in self.arrows:
            found[arrow.source].add(arrow.target)
        return found

    def circles(self) -> list[list[str]]:
        """Return every group of files that import each other, directly or through others."""
        reached = {name: self.reach(name) for name in self.modules}
        groups = {tuple(sorted(other for other in found if name in reached[other])) for name, found in reached.items()}
        return sorted(list(group) for group in groups if len(group) > 1)

    def reach(self, *names: str) -> set[str]:
        """Return these modules and all that they import, directly or through others."""
        found: set[str] = set()
        pending = list(names)
        while pending:
            name = pending.pop()
            if name not in found:
                found.add(name)
                pending.extend(self.targets[name])
        return found

    def floors(self) -> list[str]:
        """Return the longest chain of rooms of `parity/`, each of which imports the next.

        An import of a room above, or of one on the same level, is left out: the test of the rooms reports it.
        """
        levels = planned()
        below: dict[str, set[str]] = {room: set() for room in levels}
        for arrow in self.arrows:
            source, target = room(arrow.source), room(arrow.target)
            if source in levels and target in levels and levels[source] > levels[target]:
                below[source].add(target)
        chains: dict[str, list[str]] = {}
        for name in sorted(levels, key=levels.__getitem__):
            chains[name] = [name, *max((chains[other] for other in below[name]), key=len, default=[])]
        return max(chains.values(), key=len)

    def lines(self, package: str) -> int:
        paths = (path for name, path in self.modules.items() if name.partition(".")[0] == package)
        return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)

    def on_the_way(self, entry: str = "parity.judge.workbench") -> set[str]:
        """Return the files of `parity/` between a golden tensor and its verdict: all that the workbench imports."""
        return {name for name in self.reach(entry) if name.startswith("parity.")}


def room(module: str) -> str:
    """Return the room of a module of `parity/`, or "" for a module of another package."""
    package, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    if package != "parity":
        return ""
    return TOP if name in ("", "declarations", "steps", "verdict") else name


def figures(tree: Tree) -> Iterator[str]:
    floors, way = tree.floors(), tree.on_the_way()
    yield f"lines of parity/: {tree.lines('parity'):,}"
    yield f"import floors: {len(floors)} ({' → '.join(floors)})"
    yield f"files of parity/ that judge/workbench.py needs: {len(way)}"
    yield f"circles: {len(tree.circles())}"
    yield f"entries at the top of parity/: {len(entries(tree.root))}"


def entries(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "parity").iterdir() if path.name != "__pycache__")


def _name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _prefixes(module: str) -> Iterator[str]:
    """Yield `a.b.c`, `a.b`: what is imported from a module may be a module itself, or a name in it."""
    yield module
    if "." in module:
        yield module.rpartition(".")[0]


def _imports(tree: ast.AST, module: str, lazy: bool = False) -> Iterator[tuple[str, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{module} has a relative import; write the whole name")
            yield from ((f"{node.module}.{alias.name}", lazy) for alias in node.names)
        else:
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(node, module, lazy or function)


if __name__ == "__main__":
    for line in figures(Tree(Path(sys.argv[1])) if sys.argv[1:] else Tree()):
        print(line)
