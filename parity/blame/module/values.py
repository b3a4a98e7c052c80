"""Values of a rewrite that upstream computes as well, wherever and in whatever layout it does."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from parity.blame.module.calls import tensors

POINTS = 512
"""The number of places at which values are compared, about."""
FEWEST = 4
"""Fewer values than these are alike by chance."""
MOST_AXES = 5
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Sketch:
    """The values of a tensor at a few places, without its axes of size 1."""

    sizes: Sizes
    values: Tensor

    @property
    def layouts(self) -> Iterator[Tensor]:
        """All orders of its axes that sort their sizes."""
        for order in itertools.permutations(range(len(self.sizes))):
            if [self.sizes[axis] for axis in order] == sorted(self.sizes):
                yield self.values.permute(order).reshape(-1)


def sketch(value: Tensor) -> Sketch | None:
    """Return the sketch of a tensor of real numbers; None where it is too small, or the same everywhere."""
    small = value.detach().squeeze()
    if not small.is_floating_point() or small.numel() < FEWEST or small.dim() > MOST_AXES:
        return None
    sizes = tuple(small.shape)
    most = round(POINTS ** (1 / len(sizes)))
    for axis, size in enumerate(sizes):
        places = torch.linspace(0, size - 1, min(size, most), dtype=torch.float64).round().long()
        small = small.index_select(axis, places)
    values = small.double()
    if not bool(values.isfinite().all()) or bool((values == values.reshape(-1)[0]).all()):
        return None
    return Sketch(sizes, values)


def distances(ours: Mapping[str, Sketch], run: Callable[[], object]) -> dict[str, float]:
    """Return the relative L2 of each of our values from the nearest value that upstream computes.

    Args:
        ours: Values of the rewrite, by name.
        run: Runs upstream.
    """
    groups: dict[Sizes, list[str]] = {}
    for name, found in ours.items():
        groups.setdefault(tuple(sorted(found.sizes)), []).append(name)
    known = {sizes: torch.stack([next(ours[name].layouts) for name in names]) for sizes, names in groups.items()}
    least = {sizes: torch.full((len(rows),), math.inf, dtype=torch.float64) for sizes, rows in known.items()}

    def heard(value: Tensor) -> None:
        sizes = tuple(sorted(size for size in value.shape if size != 1))
        if sizes not in known or not (found := sketch(value)):
            return
        rows = known[sizes]
        for layout in found.layouts:
            apart = (rows - layout).norm(dim=1) / rows.norm(dim=1)
            least[sizes] = torch.minimum(least[sizes], apart)

    with _Heard(heard):
        run()
    return {name: float(least[sizes][place]) for sizes, names in groups.items() for place, name in enumerate(names)}


class _Heard(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hears every tensor that torch computes, also within scripted models."""

    def __init__(self, hear: Callable[[Tensor], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._hear = hear

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in tensors(result):
            self._hear(value)
        return result
