"""Whole tensors by their rows: every bit comes back, from fewer bytes, and a damaged table is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from parity.golden import case_file
from parity.golden.errors import DamagedGolden
from parity.golden.recording import Held, HeldSeam, Recording
from parity.golden.sketch import DTYPES, sha256
from parity.golden.tensors import CaseEntry

Arrays = Mapping[str, np.ndarray]
RANDOM = np.random.default_rng(0)
SPECTROGRAM = RANDOM.standard_normal((400, 128)).astype(np.float32)
WINDOWS = np.stack([SPECTROGRAM[None, start : start + 112] for start in range(0, 240, 48)])
QUEUE = np.concatenate([np.zeros((8, 128), np.float32), SPECTROGRAM[:40]])[None]
AUDIO = (RANDOM.integers(-32768, 32768, (1, 8000)) / 32768).astype(np.float32)


def case_of(arrays: Arrays) -> CaseEntry:
    held = {name: Held(sha256(array), array) for name, array in arrays.items()}
    return CaseEntry.of(Recording((HeldSeam("stage", held, {}),)), {}, {}, whole=True)


def packed(arrays: Arrays, by_rows: bool = True) -> tuple[CaseEntry, bytes]:
    return case_file.pack(case_of(arrays), {sha256(array): array for array in arrays.values()}, by_rows)


def assert_kept(arrays: Arrays) -> None:
    entry, data = packed(arrays)
    found = case_file.unpack(Path("case"), entry, data)
    for array in arrays.values():
        kept = found[sha256(array)]
        assert (kept.dtype, kept.shape, kept.tobytes()) == (array.dtype, array.shape, array.tobytes())
        assert not kept.flags.writeable


def stored(arrays: Arrays) -> dict[str, tuple[str, tuple[int, ...]]]:
    found = load(packed(arrays)[1])
    return {name: (array.dtype.name, array.shape) for name, array in found.items()}


@st.composite
def tensors(draw: Any) -> np.ndarray:
    """Of any bits. Tensors of one dtype and width draw their rows from one pool, of which some draw little."""
    dtype, width = np.dtype(draw(st.sampled_from(DTYPES))), draw(st.sampled_from([1, 31, 32, 48]))
    shape = draw(st.lists(st.integers(1, 12), max_size=3))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    pool = np.random.default_rng(width).integers(0, 256, (300, width, dtype.itemsize), np.uint8)
    rows = pool[random.integers(0, draw(st.sampled_from([1, 5, 300])), shape)]
    if dtype.kind == "b":
        return rows[..., 0] < 128
    return np.ascontiguousarray(rows).view(dtype)[..., 0]


@st.composite
def audio(draw: Any) -> np.ndarray:
    """Samples, and now and then a value that is none."""
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    shape = draw(st.sampled_from([(), (7,), (31,), (32,), (3, 480), (40, 1, 64)]))
    values = random.integers(-32768, 32768, shape) / 32768
    values = np.array(values * draw(st.sampled_from([0, 1])), np.float32)
    odd = draw(st.sampled_from([None, -0.0, 1.0, -1.0, 0.1, 1.5, np.nan, -np.inf, 3e38]))
    if odd is not None:
        values.flat[0] = odd
    return values


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of statistics over any bits
@settings(max_examples=60, deadline=None)
@given(st.lists(tensors() | audio(), min_size=1, max_size=6))
def test_every_bit_comes_back_from_no_more_bytes_and_always_the_same(drawn: list[np.ndarray]) -> None:
    arrays = {f"t{number}": array for number, array in enumerate(drawn)}
    assert_kept(arrays)
    data = packed(arrays)[1]
    assert packed({name: array.copy() for name, array in arrays.items()})[1] == data
    assert len(data) <= len(packed(arrays, by_rows=False)[1])


def test_rows_that_recur_anywhere_are_kept_once() -> None:
    arrays = {"windows": WINDOWS, "queue": QUEUE, "zeros": np.zeros((64, 128), np.int32)}
    assert stored(arrays) == {
        "rows/stage/inputs/windows": ("uint16", (5, 1, 112)),
        "rows/stage/inputs/queue": ("uint16", (1, 48)),
        "table/float32-128": ("float32", (305, 128)),
        "rows/stage/inputs/zeros": ("uint8", (64,)),
        "table/int32-128": ("int32", (1, 128)),
    }
    assert_kept(arrays)


def test_a_tensor_that_shares_no_row_stays_as_it_is() -> None:
    arrays = {"windows": WINDOWS, "other": SPECTROGRAM[300:] + 1}
    assert set(stored(arrays)) == {"rows/stage/inputs/windows", "table/float32-128", "whole/stage/inputs/other"}
    assert set(stored({"spectrogram": SPECTROGRAM})) == {"whole/stage/inputs/spectrogram"}


def test_a_table_that_spares_next_to_nothing_is_not_made() -> None:
    assert set(stored({"few": np.tile(SPECTROGRAM[:1], (8, 1))})) == {"whole/stage/inputs/few"}
    assert set(stored({"narrow": np.ones((9999, 31), np.float64)})) == {"whole/stage/inputs/narrow"}


@pytest.mark.parametrize(("rows", "dtype"), [(256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")])
def test_a_number_is_as_small_as_it_can_be(rows: int, dtype: str) -> None:
    once = np.arange(rows, dtype=np.int32)[:, None] + np.zeros(32, np.int32)
    arrays = {"twice": np.concatenate([once, once])}
    assert stored(arrays)["rows/stage/inputs/twice"] == (dtype, (2 * rows,))
    assert_kept(arrays)


def test_rows_that_only_look_equal_are_told_apart() -> None:
    zeros = np.zeros((50, 128), np.float32)
    quiet = zeros.copy()
    quiet.view(np.uint32)[:, 0] = 0x7FC00001
    loud = quiet.copy()
    loud.view(np.uint32)[:, 0] = 0x7FC00002
    arrays = {"zeros": zeros[:40], "negative": -zeros, "quiet": quiet, "loud": loud}
    assert stored(arrays)["table/float32-128"] == ("float32", (3, 128))
    assert_kept(arrays)


def test_audio_is_kept_as_its_samples() -> None:
    silence = np.zeros((100, 1, 480), np.float32)
    arrays = {"audio": AUDIO, "silence": silence, "clipped": np.append(AUDIO, np.float32(1))}
    assert stored(arrays) == {
        "pcm/stage/inputs/audio": ("int16", (1, 8000)),
        "pcm-rows/stage/inputs/silence": ("uint8", (100, 1)),
        "table/int16-480": ("int16", (1, 480)),
        "whole/stage/inputs/clipped": ("float32", (8001,)),
    }
    assert_kept(arrays)


def test_what_is_not_told_to_share_its_rows_is_a_file_as_ever() -> None:
    _, data = packed({"windows": WINDOWS, "audio": AUDIO}, by_rows=False)
    assert set(load(data)) == {"whole/stage/inputs/windows", "whole/stage/inputs/audio"}


def damaged(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    return lambda stored: {key: change(array) if key == name else array for key, array in stored.items()}


TABLE, INDEX, SAMPLES = "table/float32-128", "rows/stage/inputs/windows", "pcm/stage/inputs/audio"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: {n: a for n, a in s.items() if n != TABLE}, f"{INDEX} is made of {TABLE}, which is missing"),
        (lambda s: {n: a for n, a in s.items() if n != INDEX}, "too many or too few: whole/stage/inputs/windows"),
        (lambda s: s | {"table/float32-64": s[TABLE]}, "too many or too few: table/float32-64"),
        (lambda s: s | {"whole/stage/inputs/windows": WINDOWS}, f"too many or too few: {INDEX}"),
        (lambda s: s | {"rows/stage/inputs/more": s[INDEX]}, "too many or too few: rows/stage/inputs/more"),
        (damaged(TABLE, lambda a: a[:-1]), "asks for row 303 of table/float32-128, which has 303"),
        (damaged(TABLE, lambda a: a[:0]), "which has 0"),
        (damaged(TABLE, lambda a: a[:, :-1].copy()), r"is float32\[304, 127\]"),
        (damaged(TABLE, lambda a: a.astype("f8")), "is float64"),
        (damaged(TABLE, lambda a: a[::-1].copy()), "is not the tensor that the lock names"),
        (damaged(TABLE, lambda a: -a), "is not the tensor that the lock names"),
        (damaged(INDEX, lambda a: a.astype("i2")), r"is int16\[5, 1, 112\], no number for each row"),
        (damaged(INDEX, lambda a: a.astype("f4")), "no number for each row"),
        (damaged(INDEX, lambda a: a[:-1]), r"is uint16\[4, 1, 112\], no number for each row of \[5, 1, 112, 128\]"),
        (damaged(INDEX, lambda a: np.zeros((99, 1, 112), "u2")), "no number for each row"),
        (damaged(INDEX, np.zeros_like), "is not the tensor that the lock names"),
        (damaged(SAMPLES, lambda a: a.astype("f4")), "is float32 where samples are int16"),
        (damaged(SAMPLES, lambda a: a[:, 1:].copy()), "is not the tensor that the lock names"),
        (damaged(SAMPLES, lambda a: a + np.int16(1)), "is not the tensor that the lock names"),
    ],
)
def test_a_damaged_table_is_refused(change: Any, said: str) -> None:
    entry, data = packed({"windows": WINDOWS, "copy": WINDOWS[::-1].copy(), "audio": AUDIO})
    damaged = save(change(load(data)))
    entry = replace(entry, file_sha256=hashlib.sha256(damaged).hexdigest(), file_bytes=len(damaged))
    with pytest.raises(DamagedGolden, match=said):
        case_file.unpack(Path("case"), entry, damaged)
