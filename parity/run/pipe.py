"""Messages between the harness and a child process: a little JSON and the bytes of arrays, over a pipe.

No pickle, and nothing is held twice: arrays are written from, and read into, their own memory.
"""

from __future__ import annotations

import json
import math
import os
import select
import struct
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.declarations import Arrays

Message = tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]

_LENGTH = struct.Struct("<I")
_LONGEST_HEADER = 1 << 24
_MOST_BYTES = 1 << 34
_KINDS = "biuf"


def send(pipe: int, fields: Mapping[str, Any], arrays: Arrays, until: float | None = None) -> None:
    """Writes a message; a TimeoutError once the monotonic clock passes `until` (the pipe must not block then)."""
    packed = {name: np.array(value, order="C", copy=None) for name, value in arrays.items()}
    for name, value in packed.items():
        if value.dtype.kind not in _KINDS:
            raise ValueError(f"array {name!r} holds {value.dtype} values: only plain numbers cross")
    index = [[name, value.dtype.str, value.shape] for name, value in packed.items()]
    header = json.dumps({"fields": fields, "arrays": index}).encode()
    if len(header) > _LONGEST_HEADER:
        raise ValueError(f"a message of {len(header)} bytes beside its arrays, where {_LONGEST_HEADER} are allowed")
    _write(pipe, memoryview(_LENGTH.pack(len(header)) + header), until)
    for value in packed.values():
        _write(pipe, _bytes_of(value), until)


def receive(pipe: int, until: float | None = None) -> Message:
    """Reads a message; EOFError where the other end is gone, TimeoutError as in `send`."""
    length = bytearray(_LENGTH.size)
    _read(pipe, memoryview(length), until)
    (size,) = _LENGTH.unpack(length)
    if size > _LONGEST_HEADER:
        raise ValueError(f"a message announces {size} bytes beside its arrays, where {_LONGEST_HEADER} are allowed")
    header = bytearray(size)
    _read(pipe, memoryview(header), until)
    parsed = json.loads(header)
    arrays = {}
    for name, kind, shape in parsed["arrays"]:
        arrays[name] = _room_for(name, np.dtype(kind), tuple(shape))
        _read(pipe, _bytes_of(arrays[name]), until)
    return parsed["fields"], arrays


def _room_for(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    if dtype.kind not in _KINDS or any(size < 0 for size in shape):
        raise ValueError(f"array {name!r} announces {dtype} of shape {shape}: only plain numbers cross")
    if math.prod(shape) * dtype.itemsize > _MOST_BYTES:
        raise ValueError(f"array {name!r} announces {dtype} of shape {shape}: more than {_MOST_BYTES} bytes")
    return np.empty(shape, dtype)


def _bytes_of(array: np.ndarray[Any, Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _write(pipe: int, data: memoryview, until: float | None) -> None:
    while data:
        _wait(pipe, select.POLLOUT, until)
        data = data[os.write(pipe, data) :]


def _read(pipe: int, room: memoryview, until: float | None) -> None:
    while room:
        _wait(pipe, select.POLLIN, until)
        count = os.readv(pipe, [room])
        if not count:
            raise EOFError("the other end of the pipe is closed")
        room = room[count:]


def _wait(pipe: int, event: int, until: float | None) -> None:
    if until is None:
        return
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
        raise TimeoutError
