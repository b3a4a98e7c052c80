"""Whole tensors in fewer bytes, and every bit of them kept: audio as its samples, rows that recur in a table.

    whole/PLACE       the tensor as it is
    pcm/PLACE         the int16 samples that its float32 values were made of
    rows/PLACE        for each row, its number in table/DTYPE-WIDTH
    pcm-rows/PLACE    for each row of samples, its number in table/int16-WIDTH

Windows over a spectrogram, caches and queues are mostly copies of rows that other tensors hold as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from parity.golden.tensors import Entry

WIDTH = 32
"""Numbers to a row, at the least: next to a shorter one, its number in a table is no small thing."""
LEAST = 4096
"""Bytes that a table has to spare."""
LINE = 64
"""Bytes that a tensor has to spare, because its line in the file's header may grow."""
_NUMBER = 4
_FULL_SCALE = np.float32(32768)
_ROWS = {"whole": "rows", "pcm": "pcm-rows"}


def pack(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same bytes for the same tensors, and never more than without."""
    packed: dict[str, np.ndarray] = {}
    groups: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for name, tensor in tensors.items():
        kind, _, place = name.partition("/")
        samples = _samples(tensor) if kind == "whole" else None
        if samples is not None:
            name, tensor = f"pcm/{place}", samples
        packed[name] = tensor
        if kind == "whole" and tensor.ndim and tensor.shape[-1] >= WIDTH:
            groups[_table(tensor.dtype.name, tensor.shape[-1])][name] = tensor
    for table, group in groups.items():
        rows, numbers = _shared(group)
        for name, index in numbers.items():
            kind, _, place = name.partition("/")
            del packed[name]
            packed[f"{_ROWS[kind]}/{place}"] = index
        if numbers:
            packed[table] = rows
    return packed


def unpack(stored: Mapping[str, np.ndarray], expected: Mapping[str, Entry]) -> dict[str, np.ndarray]:
    """By the names that are expected; what belongs to none of them keeps its own. A table that does not fit is a
    ValueError."""
    rest, tensors, tables = dict(stored), {}, set()
    for name, entry in expected.items():
        kind, _, place = name.partition("/")
        forms = [name, *(f"{form}/{place}" for form in ("pcm", *_ROWS.values()) if kind == "whole")]
        form = next((form for form in forms if form in rest), None)
        if form is None:
            continue
        tensor = rest.pop(form)
        pcm = form.startswith("pcm")
        dtype = "int16" if pcm else entry.dtype
        if form.startswith(tuple(_ROWS.values())):
            table = _table(dtype, entry.shape[-1] if entry.shape else 0)
            tables.add(table)
            tensor = _looked_up(form, tensor, table, stored.get(table), entry.shape, dtype)
        if pcm and tensor.dtype.name != dtype:
            raise ValueError(f"{form} is {tensor.dtype.name} where samples are {dtype}")
        tensors[name] = _values(tensor) if pcm else tensor
    for table in tables:
        rest.pop(table, None)
    return {**rest, **tensors}


def _table(dtype: str, width: int) -> str:
    return f"table/{dtype}-{width}"


def _shared(group: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The distinct rows in the order in which they come, and their numbers for each tensor that shares enough of them.

    Rows are equal where their bytes are: a NaN keeps its payload and a zero its sign.
    """
    first = next(iter(group.values()))
    size = first.shape[-1] * first.itemsize
    seen: dict[bytes, int] = {}
    found = {
        name: np.array([seen.setdefault(row, len(seen)) for row in _rows(tensor, size)], np.int64)
        for name, tensor in group.items()
    }
    counts = np.bincount(np.concatenate([*found.values()]))
    found = {name: at for name, at in found.items() if np.count_nonzero(counts[at] > 1) * size > at.size * _NUMBER}
    if not found:
        return first[:0], {}
    used, numbers = np.unique(np.concatenate([*found.values()]), return_inverse=True)
    numbers = numbers.astype(np.min_scalar_type(used.size - 1))
    if (numbers.size - used.size) * size - numbers.nbytes - len(found) * LINE < LEAST:
        return first[:0], {}
    distinct = list(seen)
    rows = np.frombuffer(b"".join(distinct[number] for number in used), first.dtype).reshape(used.size, -1)
    ends = np.cumsum([at.size for at in found.values()])[:-1]
    parts = zip(found, np.split(numbers, ends), strict=True)
    return rows, {name: part.reshape(group[name].shape[:-1]) for name, part in parts}


def _rows(tensor: np.ndarray, size: int) -> list[bytes]:
    found: list[bytes] = tensor.reshape(-1, tensor.shape[-1]).view(f"V{size}").ravel().tolist()
    return found


def _looked_up(
    form: str, index: np.ndarray, name: str, table: np.ndarray | None, shape: tuple[int, ...], dtype: str
) -> np.ndarray:
    """Looked at before it is made: a few numbers of a damaged file could stand for any amount of memory."""
    if table is None:
        raise ValueError(f"{form} is made of {name}, which is missing")
    if table.dtype.name != dtype or table.shape[1:] != shape[-1:]:
        raise ValueError(f"{name} is {table.dtype.name}{list(table.shape)}")
    if index.dtype.kind != "u" or index.shape != shape[:-1]:
        raise ValueError(f"{form} is {index.dtype.name}{list(index.shape)}, no number for each row of {list(shape)}")
    if index.max() >= len(table):
        raise ValueError(f"{form} asks for row {index.max()} of {name}, which has {len(table)}")
    return np.take(table, index, axis=0)


def _samples(tensor: np.ndarray) -> np.ndarray | None:
    """The int16 samples of audio, where these give back every bit of it."""
    if tensor.dtype != np.float32 or tensor.nbytes < 2 * LINE:
        return None
    with np.errstate(all="ignore"):  # what does not fit shows when it is compared
        samples = np.asarray(tensor * _FULL_SCALE).astype(np.int16)
    return samples if np.array_equal(_values(samples).view(np.uint32), tensor.view(np.uint32)) else None


def _values(samples: np.ndarray) -> np.ndarray:
    return np.asarray(samples.astype(np.float32) / _FULL_SCALE)
