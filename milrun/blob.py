"""The weight file of a package: 64-byte records that describe runs of packed elements."""

from __future__ import annotations

import mmap
import os
import struct
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from milrun import dtypes
from milrun.dtypes import DType
from milrun.errors import ModelError

_HEADER = struct.Struct("<II56x")
_RECORD = struct.Struct("<IIQQQ32x")
_SENTINEL = 0xDEADBEEF
_VERSION = 2

_ELEMENT_TYPES = {
    1: dtypes.FP16,
    2: dtypes.FP32,
    3: dtypes.UINT8,
    4: dtypes.INT8,
    5: dtypes.BF16,
    6: dtypes.INT16,
    7: dtypes.UINT16,
    8: dtypes.INT4,
    9: dtypes.UINT1,
    10: dtypes.UINT2,
    11: dtypes.UINT4,
    12: dtypes.UINT3,
    13: dtypes.UINT6,
    14: dtypes.INT32,
    15: dtypes.UINT32,
}
_RAW = {
    dtypes.FP16: torch.float16,
    dtypes.FP32: torch.float32,
    dtypes.FP64: torch.float64,
    dtypes.BF16: torch.bfloat16,
    dtypes.INT8: torch.int8,
    dtypes.INT16: torch.int16,
    dtypes.INT32: torch.int32,
    dtypes.INT64: torch.int64,
    dtypes.UINT8: torch.uint8,
    dtypes.BOOL: torch.bool,
}


class BlobFile:
    """A memory-mapped weight file. Tensors of it share the mapping; nothing is read before it is used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                # Copy-on-write: torch wants writable memory, and no write may ever reach the file.
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
                # On Windows nothing tells how many blocks there are.
                self._blocks = getattr(os.fstat(file.fileno()), "st_blocks", None)
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: the weight file can't be mapped: {error}") from error
        if len(self._data) < _HEADER.size:
            raise ModelError(f"{path}: the weight file has {len(self._data)} bytes, less than its header")
        self._address = int(np.frombuffer(self._data, np.uint8).ctypes.data)
        _FILES.add(self)
        _, version = _HEADER.unpack_from(self._data, 0)
        if version != _VERSION:
            raise ModelError(f"{path}: weight file version {version}, only {_VERSION} is known")

    def tensor(self, offset: int, dtype: DType, shape: tuple[int, ...]) -> Tensor:
        """Return the tensor of the record at this offset, checked against the type that the program declares."""
        where = f"{self.path}: the weight record at offset {offset}"
        if offset % 64 or offset + _RECORD.size > len(self._data):
            raise ModelError(f"{where} is outside the file ({len(self._data)} bytes) or not aligned to 64")
        sentinel, number, size, start, padding_bits = _RECORD.unpack_from(self._data, offset)
        if sentinel != _SENTINEL:
            raise ModelError(f"{where} has no record mark")
        stored = _ELEMENT_TYPES.get(number)
        # A bool weight is written as the bytes it consists of.
        if stored is not dtype and not (stored in (dtypes.UINT8, dtypes.INT8) and dtype is dtypes.BOOL):
            raise ModelError(f"{where} holds {stored or f'unknown type {number}'}, the program says {dtype}")
        if start > len(self._data) or size > len(self._data) - start:
            raise ModelError(f"{where} points to bytes {start} to {start + size} of a file of {len(self._data)}")
        needed = (count(shape) * dtype.bits + 7) // 8
        # coremltools before 8 left the padding uninitialised, and it means something only where bits are left over.
        wrong_padding = dtype.bits < 8 and padding_bits != needed * 8 - count(shape) * dtype.bits
        if size != needed or wrong_padding:
            raise ModelError(f"{where} has {size} bytes, a {dtype} tensor of shape {shape} takes {needed}")
        return decode(memoryview(self._data)[start : start + size], dtype, shape)

    def bytes_on_disk(self) -> int:
        """Return how many bytes the file takes on disk, less than its size where it has holes."""
        return len(self._data) if self._blocks is None else min(self._blocks * 512, len(self._data))

    def forget(self, address: int, size: int) -> None:
        """Let go of the pages that lie within these bytes, if they are of this file: it is read again if need be."""
        start, end = address - self._address, address - self._address + size
        if start >= 0 and end <= len(self._data):
            first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
            if first < last:
                self._data.madvise(mmap.MADV_DONTNEED, first, last - first)


_FILES: weakref.WeakSet[BlobFile] = weakref.WeakSet()


def forget(*weights: Tensor) -> None:
    """Release the pages of weights that a kernel now holds in another form."""
    # Elsewhere the advice may mean something else; mapped pages that nobody reads go by themselves in the end.
    if sys.platform == "linux":
        for weight in weights:
            for file in _FILES:
                file.forget(weight.data_ptr(), weight.numel() * weight.element_size())


def count(shape: tuple[int, ...]) -> int:
    """Return the number of elements, in Python's unbounded integers."""
    total = 1
    for size in shape:
        total *= size
    return total


def decode(data: memoryview | bytes, dtype: DType, shape: tuple[int, ...]) -> Tensor:
    """Return packed little-endian elements as a tensor in milrun's storage type. The size must already fit."""
    if count(shape) == 0:
        return torch.empty(shape, dtype=dtype.storage)
    if dtype.bits < 8:
        return _unpack(data, dtype, count(shape)).reshape(shape)
    if dtype in (dtypes.UINT16, dtypes.UINT32):
        wide = np.frombuffer(data, np.uint16 if dtype is dtypes.UINT16 else np.uint32)
        return torch.from_numpy(wide.astype(np.int32 if dtype is dtypes.UINT16 else np.int64)).reshape(shape)
    if dtype not in _RAW:
        raise ModelError(f"weights of type {dtype} are not known")
    buffer = bytearray(data) if isinstance(data, bytes) else data
    return torch.frombuffer(buffer, dtype=_RAW[dtype], count=count(shape)).reshape(shape)


def _unpack(data: memoryview | bytes, dtype: DType, elements: int) -> Tensor:
    """Return elements below 8 bits, packed from the least significant bit on."""
    packed = np.frombuffer(data, np.uint8)
    if 8 % dtype.bits == 0:
        per_byte = 8 // dtype.bits
        shifts = np.arange(per_byte, dtype=np.uint8) * dtype.bits
        values: np.ndarray[Any, Any] = ((packed[:, None] >> shifts) & ((1 << dtype.bits) - 1)).reshape(-1)[:elements]
    else:
        bits = np.unpackbits(packed, count=elements * dtype.bits, bitorder="little").reshape(elements, dtype.bits)
        values = np.packbits(bits, axis=1, bitorder="little").reshape(-1)
    if dtype is dtypes.INT4:
        return torch.from_numpy(((values.astype(np.int8) ^ 8) - 8).astype(np.int8))
    return torch.from_numpy(np.ascontiguousarray(values))
