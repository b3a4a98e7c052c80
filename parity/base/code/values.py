"""Values as text: equal text only for equal values, the same in every process and on every machine."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import logging
import re
import sys
import types
from collections import deque
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+|\b0x[0-9a-fA-F]{7,}")
_PLAIN = (type(None), bool, int, float, complex, bytes, range, slice, type(Ellipsis), type(NotImplemented))


@dataclass(frozen=True)
class Encoder:
    """Turns values into text. `reference` names functions, classes and modules; `ours` tells whose a class is."""

    root: Path
    reference: Callable[[Any, str, tuple[int, ...]], str | None]
    ours: Callable[[type], bool]

    def text(self, value: Any, where: str, within: tuple[int, ...] = ()) -> str:
        """`where` names the value in errors; `within` are the values around it, so that a cycle ends."""
        if type(value) in _PLAIN:
            return repr(value)
        if type(value) is str:
            return repr(self._portable(value))
        if id(value) in within:
            return f"<the value {len(within) - within.index(id(value))} further out>"
        inner = (*within, id(value))
        for encode in (self.reference, self._array, self._special, self._container, self._object):
            if (text := encode(value, where, inner)) is not None:
                return text
        return self._by_repr(value, where)

    def items(self, values: Mapping[Any, Any], where: str, within: tuple[int, ...]) -> str:
        texts = [
            f"{self.text(key, where, within)}: {self.text(value, f'{where}[{key!r}]', within)}"
            for key, value in values.items()
        ]
        return f"{{{', '.join(texts)}}}"

    def _array(self, value: Any, where: str, within: tuple[int, ...]) -> str | None:
        numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
        if numpy and isinstance(value, numpy.ndarray | numpy.generic):
            if value.dtype.hasobject:
                return f"numpy {value.shape} of {self.text(value.tolist(), where, within)}"
            kind = self._class(value, where, within)
            return f"{kind} {value.dtype.str} {value.shape} {_sha256(numpy.ascontiguousarray(value).tobytes())}"
        if torch and isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.is_quantized or value.is_meta:
                raise TypeError(f"{where} is a tensor whose values can't be read plainly; keep a dense one")
            data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            return f"{self._class(value, where, within)} {value.dtype} {tuple(value.shape)} {_sha256(data)}"
        if torch and isinstance(value, torch.nn.Module):
            state = dict(value.state_dict())  # a repr shows no weights
            fields = {} if not self.ours(type(value)) else _attributes(value)
            return f"{self._class(value, where, within)} {value!r} {self.items({**state, **fields}, where, within)}"
        return None

    def _special(self, value: Any, where: str, within: tuple[int, ...]) -> str | None:
        if isinstance(value, enum.Enum):
            return f"{self._class(value, where, within)}.{value.name}"
        if isinstance(value, PurePath):
            return f"{type(value).__name__} {self._portable(str(value))!r}"
        if isinstance(value, logging.Logger):
            return f"logger {value.name!r}"  # its repr shows the level, which a command line sets
        if isinstance(value, functools.partial | functools.partialmethod):
            called = (self.text(part, where, within) for part in (value.func, value.args, value.keywords))
            return f"{type(value).__name__} {' '.join(called)}"
        if isinstance(value, re.Pattern):
            return repr((value.pattern, value.flags))  # its repr is cut
        return None

    def _container(self, value: Any, where: str, within: tuple[int, ...]) -> str | None:
        kind = self._class(value, where, within)
        if isinstance(value, Mapping):
            factory = self.text(getattr(value, "default_factory", None), where, within)
            return f"{kind} {factory} {self.items(value, where, within)}"
        if isinstance(value, AbstractSet):
            return f"{kind} {sorted(self.text(item, where, within) for item in value)}"
        if isinstance(value, list | tuple | deque):
            texts = [self.text(item, f"{where}[{index}]", within) for index, item in enumerate(value)]
            return f"{kind} [{', '.join(texts)}]"
        if isinstance(value, str | bytes | bytearray | int | float):
            base = next(base for base in (str, bytes, bytearray, int, float) if isinstance(value, base))
            return f"{kind} {self.text(base(value), where, within) if base is str else base.__repr__(value)}"
        return None

    def _object(self, value: Any, where: str, within: tuple[int, ...]) -> str | None:
        if dataclasses.is_dataclass(value):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        elif self.ours(type(value)):
            fields = _attributes(value)
        else:
            return None
        return f"{self._class(value, where, within)} {self.items(fields, where, within)}"

    def _by_repr(self, value: Any, where: str) -> str:
        text = f"{type(value).__module__}.{type(value).__qualname__} {self._portable(repr(value))}"
        if _ADDRESS.search(text):
            raise TypeError(
                f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which shows nothing but its "
                "address: what it does can't be fingerprinted. Make it inside the function that needs it, or pass it in"
            )
        return text

    def _class(self, value: Any, where: str, within: tuple[int, ...]) -> str:
        return self.reference(type(value), where, within) or type(value).__qualname__

    def _portable(self, text: str) -> str:
        """Paths below the root mean the same in every checkout."""
        return text.replace(str(self.root), "<root>")


def _attributes(value: Any) -> dict[str, Any]:
    slots = [
        name
        for base in type(value).__mro__
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType) and hasattr(value, name)
    ]
    return {**{name: getattr(value, name) for name in slots}, **getattr(value, "__dict__", {})}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
