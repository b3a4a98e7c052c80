"""Bounds what a package can make milrun allocate and, where a caller asks for it, how long it computes.

A few bytes can ask for any amount of memory: a fill, a tile, an outer product, a chain of concatenations. So in a
watched run each op that can make much out of little says how much before it runs (``milrun.growth``), and large
results count for as long as they live. Where sizes follow from the shapes of the inputs, a model need not be watched
again on shapes that went well; where they depend on data, every run is watched.

Work is counted in multiplications and elements (``milrun.work``), before an op runs. What the loops of a model do
counts in every run.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from milrun.program import MAX_RANK

FLOOR = 4 << 30
"""Bytes that every package may use, however small it is."""
PER_PACKAGE_BYTE = 16
"""Bytes that each byte of the program, and of the weights that it refers to, adds to that."""
PER_INPUT_BYTE = 1024
"""Bytes that each byte of a caller's inputs adds to that."""
WORK_OF_STRANGERS = 3 * 10**12
"""The most that a package that nobody vouches for may do in one run, in multiplications and elements.

A core takes some minutes for it; half a minute of speech takes the largest vocoder of the harness 5e11.
"""
LARGE = 1 << 18
"""Elements from which a tensor is counted."""


def budget(package_bytes: int) -> int:
    """Return how many bytes of tensors may be alive at once."""
    return FLOOR + PER_PACKAGE_BYTE * package_bytes


class Guard:
    """The account of one load or one prediction. A trusted run is not watched."""

    def __init__(self, limit: int, work_limit: int | None = None) -> None:
        self.limit = limit
        self.used = 0
        self.work_limit = work_limit
        self.work = 0
        self.trusted = False
        self.settled = True
        """True if all sizes of the run follow from the shapes of its inputs, as far as the run has shown."""
        self._counted: set[int] = set()

    def justify(self, inputs: Iterable[Tensor]) -> None:
        """Let the run use more for these inputs."""
        self.limit += PER_INPUT_BYTE * sum(tensor.numel() * tensor.element_size() for tensor in inputs)

    def check(self, size: int) -> None:
        """Refuse this many bytes more where they would be too many."""
        if self.used + size > self.limit:
            raise MemoryError(
                f"it would take {size} bytes more than the {self.used} in use, "
                f"and the package and its inputs justify {self.limit}"
            )

    def spend(self, work: int) -> None:
        """Count work, and refuse it where it would be more than the caller allows."""
        self.work += work
        if self.work_limit is not None and self.work > self.work_limit:
            raise TimeoutError(
                f"the run would take {self.work:.2g} multiplications and elements of work, {self.work_limit:.2g} are "
                "allowed: load the package with a larger limit of work (work, --work) if you trust it"
            )

    def charge(self, value: Any) -> None:
        """Count the memory of a result for as long as it is alive."""
        if isinstance(value, list):
            for item in value:
                self.charge(item)
        elif isinstance(value, Tensor):
            if value.dim() > MAX_RANK:
                raise ValueError(f"a tensor of rank {value.dim()}, more than {MAX_RANK}")
            if value.numel() >= LARGE:
                self._count(value)

    def _count(self, tensor: Tensor) -> None:
        # torch keeps one Python object per storage for as long as the storage lives, so views count once.
        storage = tensor.untyped_storage()
        if id(storage) in self._counted:
            return
        size = storage.nbytes()
        self.check(size)
        self.used += size
        self._counted.add(id(storage))
        weakref.finalize(storage, self._release, id(storage), size).atexit = False

    def _release(self, key: int, size: int) -> None:
        self._counted.discard(key)
        self.used -= size


_DATA_SIZED = frozenset(
    "non_zero range_1d space_to_batch batch_to_space make_list list_write list_scatter list_read list_gather "
    "reshape_like cond".split()
)


def depends_on_data(op_type: str, runtime_numbers: bool) -> bool:
    """Return whether the sizes of an op's results may depend on more than the shapes of its operands."""
    return runtime_numbers or op_type in _DATA_SIZED
