"""Lists of tensors. A list is a Python list that nobody changes: writing returns a new one."""

from __future__ import annotations

import torch
from torch import Tensor

from milrun.registry import op

_MAX_LENGTH = 1 << 22
_DTYPES = {"bool": torch.bool, "fp16": torch.float16, "fp32": torch.float32, "int32": torch.int32}


@op("make_list")
def make_list(
    elem_shape: list[str] | None = None,
    init_length: int = 1,
    dynamic_length: bool = True,
    dtype: str = "fp32",
) -> list[Tensor]:
    """Return a list of zeros. A named dimension is unknown, and empty, until the first write."""
    if dtype not in _DTYPES:
        raise ValueError(f"make_list: dtype is {dtype!r}, allowed are {', '.join(_DTYPES)}")
    if not 0 <= init_length <= _MAX_LENGTH:
        raise ValueError(f"make_list: init_length is {init_length}, allowed are 0 to {_MAX_LENGTH}")
    sizes = [0] if elem_shape is None else [_size(dim) for dim in elem_shape]
    return [torch.zeros(sizes, dtype=_DTYPES[dtype])] * init_length


def _size(dim: str | int) -> int:
    try:
        return int(dim)
    except ValueError:
        return 0


@op("list_length")
def list_length(ls: list[Tensor]) -> Tensor:
    return torch.tensor(len(ls), dtype=torch.int32)


@op("list_read")
def list_read(ls: list[Tensor], index: int) -> Tensor:
    _check("list_read", index, len(ls))
    return ls[index]


@op("list_gather")
def list_gather(ls: list[Tensor], indices: list[int]) -> Tensor:
    for index in indices:
        _check("list_gather", index, len(ls))
    if not indices:
        return ls[0].new_empty((0, *ls[0].shape)) if ls else torch.empty(0)
    return torch.stack([ls[index] for index in indices])


@op("list_write")
def list_write(ls: list[Tensor], index: int, value: Tensor) -> list[Tensor]:
    return _written("list_write", ls, [index], [value])


@op("list_scatter")
def list_scatter(ls: list[Tensor], indices: list[int], value: Tensor) -> list[Tensor]:
    if len(indices) != value.shape[0]:
        raise ValueError(f"list_scatter: {value.shape[0]} values for {len(indices)} indices")
    return _written("list_scatter", ls, indices, list(value.unbind(0)))


def _written(op: str, ls: list[Tensor], indices: list[int], values: list[Tensor]) -> list[Tensor]:
    if not indices:
        return ls
    if min(indices) < 0:
        raise ValueError(f"{op}: index {min(indices)} is negative")
    if max(indices) >= _MAX_LENGTH:
        raise ValueError(f"{op}: index {max(indices)}, a list holds {_MAX_LENGTH} at most")
    blank = torch.zeros_like(values[0])
    written = list(ls)
    if written and written[0].shape != blank.shape:
        written = [blank if item.numel() == 0 else item for item in written]
    written += [blank] * (max(indices) + 1 - len(written))
    for index, value in zip(indices, values, strict=True):
        written[index] = value
    return written


def _check(op: str, index: int, length: int) -> None:
    if not 0 <= index < length:
        raise ValueError(f"{op}: index {index} is out of range for a list of {length}")
