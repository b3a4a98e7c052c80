"""Bounds what a package can make milrun allocate.

A few bytes can ask for any amount of memory: a fill, a tile, an outer product, a chain of concatenations. So a guard
watches every tensor that torch is about to make, works out its size on torch's meta device first, and refuses what
neither the package nor its inputs justify.

Watching costs tens of microseconds for each tensor, and the sizes of a program's values depend on little: on the
shapes of its inputs, and on what the few ops do whose results have a size that depends on data. A run therefore
reports those shapes as it meets them. Where all shapes so far are those of a run that went well, nobody watches; at
the first new one the watch begins, and lasts to the end of the run.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from milrun.program import MAX_RANK

FLOOR = 4 << 30
"""Bytes that every package may use, however small it is."""
PER_PACKAGE_BYTE = 16
"""Bytes that each byte of a package adds to that."""
PER_INPUT_BYTE = 1024
"""Bytes that each byte of a caller's inputs adds to that."""
MAX_KNOWN = 1 << 14
"""How many shapes a model remembers before it starts anew."""

_SMALL = 1 << 20
_META = torch.device("meta")
_IMPLICIT = torch._C.DispatchKey.CompositeImplicitAutograd


def budget(package_bytes: int) -> int:
    """How many bytes of tensors may be alive at once."""
    return FLOOR + PER_PACKAGE_BYTE * package_bytes


class Guard:
    """The account of one load or one prediction: what is alive of all that was made under watch."""

    def __init__(self, limit: int, known: set[int] | None = None) -> None:
        self.limit = limit
        self.used = 0
        self.chain = 0
        """Stands for all shapes met so far."""
        self._known = set[int]() if known is None else known
        self._met = set[int]()
        self._mode: _Watch | None = None

    @contextmanager
    def running(self, *shapes: Any) -> Iterator[None]:
        """Around a whole run on inputs of these shapes."""
        self.meet(*shapes)
        try:
            yield
        finally:
            self._end()
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        self._known.update(self._met)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around work that is watched in every run."""
        if self._mode is not None:
            yield
            return
        self._begin()
        try:
            yield
        finally:
            self._end()

    def meet(self, *shapes: Any) -> None:
        """Report shapes that those before do not determine: hashable, whatever they are."""
        self.chain = hash((self.chain, shapes))
        if self.chain not in self._known:
            self._met.add(self.chain)
            if self._mode is None:
                self._begin()

    def justify(self, tensor: Tensor) -> None:
        """Let the run use more for this input."""
        self.limit += PER_INPUT_BYTE * tensor.numel() * tensor.element_size()

    def charge(self, tensor: Tensor) -> None:
        """Count the memory of a tensor for as long as it is alive."""
        if tensor.layout is not torch.strided:
            return
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        self.check(size)
        self.used += size
        weakref.finalize(storage, self._release, size).atexit = False

    def check(self, size: int) -> None:
        if self.used + size > self.limit:
            raise MemoryError(
                f"it would take {size} bytes more than the {self.used} in use, "
                f"and the package and its inputs justify {self.limit}"
            )

    def _release(self, size: int) -> None:
        self.used -= size

    def _begin(self) -> None:
        self._mode = _Watch(self)
        self._mode.__enter__()  # type: ignore[no-untyped-call]

    def _end(self) -> None:
        if self._mode is not None:
            mode, self._mode = self._mode, None
            mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every call of torch's operators below Python."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.guard = guard

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        composite, makes, pointwise = _traits(func)
        if composite:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        if makes and not (pointwise and _is_small(args)):
            self.guard.check(_bytes_made(func, args, kwargs))
        results = func(*args, **kwargs)
        for tensor in results if isinstance(results, list | tuple) else (results,):
            if isinstance(tensor, Tensor):
                if tensor.dim() > MAX_RANK:
                    raise ValueError(f"a tensor of rank {tensor.dim()}, more than {MAX_RANK}")
                if makes:
                    self.guard.charge(tensor)
        return results


@cache
def _traits(func: Any) -> tuple[bool, bool, bool]:
    """Whether an operator consists of others, makes new tensors, and does so element by element."""
    composite = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), _IMPLICIT)
    makes = not any(result.alias_info is not None for result in func._schema.returns)
    return composite, makes, torch.Tag.pointwise in func.tags or func is torch.ops.aten._to_copy.default


def _is_small(args: tuple[Any, ...]) -> bool:
    """Whether no broadcast of these operands could be large: that need not be worked out."""
    return math.prod(argument.numel() for argument in args if isinstance(argument, Tensor)) <= _SMALL


def _bytes_made(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """The size of an operator's results, without computing them; 0 where that depends on data or it is no tensor."""
    try:
        args, kwargs = tree_map_only(Tensor, _on_meta, (args, kwargs))
        if any(argument.name == "device" for argument in func._schema.arguments):
            kwargs["device"] = _META
        results = func(*args, **kwargs)
    except Exception:
        # The operator itself will say what is wrong, if anything is: its results may only be unknown before it runs.
        return 0
    made = results if isinstance(results, list | tuple) else (results,)
    return sum(tensor.numel() * tensor.element_size() for tensor in made if isinstance(tensor, Tensor))


def _on_meta(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=_META)


def shape_of(value: Any) -> Any:
    """What a value contributes to the shapes met."""
    if isinstance(value, Tensor):
        return value.shape
    if isinstance(value, list):
        return (len(value), shape_of(value[0])) if value else ()
    return None


DATA_SIZED = frozenset(
    "non_zero range_1d space_to_batch batch_to_space make_list list_write list_scatter list_read list_gather "
    "reshape_like".split()
)
"""Ops whose result has a size that depends on values of their operands, even where they take no run-time number."""
NEVER_LARGER = frozenset("slice_by_index slice_by_size slice_update reshape squeeze expand_dims transpose topk".split())
"""Ops that make nothing larger than their operands, whatever numbers they are given."""


def depends_on_data(op_type: str, runtime_numbers: bool) -> bool:
    return op_type in DATA_SIZED or runtime_numbers


def reporting(run: Callable[[list[Any]], None], op_type: str, writes: tuple[int, ...]) -> Callable[[list[Any]], None]:
    """The step of an op whose results have a size that depends on data."""

    def run_and_report(env: list[Any]) -> None:
        guard: Guard = env[0].guard
        if op_type in NEVER_LARGER:
            run(env)
        else:
            with guard.watching():
                run(env)
        guard.meet(*(shape_of(env[slot]) for slot in writes))

    return run_and_report
