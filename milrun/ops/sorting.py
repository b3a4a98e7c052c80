"""Sorting and selecting: argsort, topk. Of equal values the one with the lower index comes first."""

from __future__ import annotations

import torch
from torch import Tensor

from milrun.registry import op


@op("argsort")
def argsort(x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    return x.argsort(dim=axis, descending=not ascending, stable=True)


@op("topk")
def topk(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Tensor | tuple[Tensor, Tensor]:
    """Return a sorted result in either case: without ``sort`` any order will do."""
    if output_indices_dtype not in ("int32", "uint16"):
        raise ValueError(f"topk: output_indices_dtype is {output_indices_dtype!r}, allowed are int32, uint16")
    size = x.shape[axis]
    if not -1 <= k <= size:
        raise ValueError(f"topk: k is {k}, allowed are -1 (all) and 0 to {size}")
    values, indices = _extremes(x, size if k == -1 else k, axis, ascending)
    return (values, indices) if return_indices else values


def _extremes(x: Tensor, k: int, axis: int, ascending: bool) -> tuple[Tensor, Tensor]:
    if k == 1 and x.numel():
        values, indices = (x.min if ascending else x.max)(axis, keepdim=True)
        return values, indices
    if 0 < k < x.shape[axis] and x.numel():
        # The unstable search is much faster than sorting. Without equal values it gives the same result.
        values, indices = x.topk(k + 1, axis, largest=not ascending)
        if not bool((values.narrow(axis, 1, k) == values.narrow(axis, 0, k)).any()):
            return values.narrow(axis, 0, k), indices.narrow(axis, 0, k)
    values, indices = torch.sort(x, dim=axis, descending=not ascending, stable=True)
    return values.narrow(axis, 0, k), indices.narrow(axis, 0, k)
