"""The element types of MIL, and how milrun holds each of them in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class DType:
    """One element type: its name in MIL, its number in the protobuf, its size in a file, and its torch storage.

    torch has no arithmetic on uint16 and uint32 and no type below 8 bits: those are held in the next wider type
    that keeps every value exact.
    """

    name: str
    number: int
    bits: int
    storage: torch.dtype

    @property
    def is_float(self) -> bool:
        return self.storage.is_floating_point

    def __str__(self) -> str:
        return self.name


BOOL = DType("bool", 1, 8, torch.bool)
STRING = DType("string", 2, 0, torch.uint8)
FP16 = DType("fp16", 10, 16, torch.float16)
FP32 = DType("fp32", 11, 32, torch.float32)
FP64 = DType("fp64", 12, 64, torch.float64)
BF16 = DType("bf16", 13, 16, torch.bfloat16)
INT8 = DType("int8", 21, 8, torch.int8)
INT16 = DType("int16", 22, 16, torch.int16)
INT32 = DType("int32", 23, 32, torch.int32)
INT64 = DType("int64", 24, 64, torch.int64)
INT4 = DType("int4", 25, 4, torch.int8)
UINT8 = DType("uint8", 31, 8, torch.uint8)
UINT16 = DType("uint16", 32, 16, torch.int32)
UINT32 = DType("uint32", 33, 32, torch.int64)
UINT64 = DType("uint64", 34, 64, torch.int64)
UINT4 = DType("uint4", 35, 4, torch.uint8)
UINT2 = DType("uint2", 36, 2, torch.uint8)
UINT1 = DType("uint1", 37, 1, torch.uint8)
UINT6 = DType("uint6", 38, 6, torch.uint8)
UINT3 = DType("uint3", 39, 3, torch.uint8)

_FLOATS = (FP16, FP32, FP64, BF16)
_INTEGERS = (INT4, INT8, INT16, INT32, INT64, UINT1, UINT2, UINT3, UINT4, UINT6, UINT8, UINT16, UINT32, UINT64)
ALL = (BOOL, STRING, *_FLOATS, *_INTEGERS)
BY_NUMBER = {dtype.number: dtype for dtype in ALL}
BY_NAME = {dtype.name: dtype for dtype in ALL}
