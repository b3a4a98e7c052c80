"""Values as text: equal text only for equal values, the same in every process and every checkout."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import re
import sys
import types
from collections import deque
from collections.abc import Callable, Mapping, Set
from pathlib import Path, PurePath
from typing import Any

_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, slice, type(...))
_UNREADABLE = re.compile(r"\b0x[0-9a-fA-F]{6,}|\.\.\.")
_Within = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
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
