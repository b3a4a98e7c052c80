"""Decompression of weights against element-by-element look-ups in numpy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import milrun.ops  # noqa: F401 (registers the ops)
from milrun.ops import constexpr
from milrun.registry import find
from tests.support.covering import each, pairs

RNG = np.random.default_rng(16)


def run(op: str, opset: str = "iOS18", **arguments: Any) -> Any:
    found = find(f"constexpr_{op}", opset)
    assert found is not None
    arrays = (np.ndarray, np.generic)
    result = found.run(
        **{k: torch.from_numpy(np.asarray(v)) if isinstance(v, arrays) else v for k, v in arguments.items()}
    )
    return tuple(r.numpy() for r in result) if isinstance(result, tuple) else result.numpy()


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """Numbers packed one after the other, least significant bit first."""
    stream = np.unpackbits(values.reshape(-1, 1), axis=1, bitorder="little")[:, :bits]
    return np.packbits(stream.reshape(-1), bitorder="little")


@pytest.fixture(params=[None, 7], ids=["whole", "in pieces"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test as it is, and with weights larger than what is worked on at a time."""
    if request.param is not None:
        monkeypatch.setattr(constexpr, "_PIECE", request.param)


def values_of(dtype: type, shape: Any) -> np.ndarray:
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return np.asarray(RNG.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True))
    return np.asarray(RNG.standard_normal(shape).astype(dtype))


@pytest.mark.usefixtures("pieces")
@pairs(
    {
        "dtype": [np.int8, np.uint8],
        "zero_dtype": [np.int8, np.uint8, np.float32],
        "shape, axis, vectors": [
            ((), 0, (0, 0)),
            ((5,), 0, (0, 0)),
            ((3, 4), -1, (1, 1)),
            ((2, 3, 2, 2), 1, (1, 0)),
            ((3, 5), 0, (0, 1)),
        ],
    }
)
def test_affine_dequantize_scales_the_distance_from_the_zero_point(
    dtype: type, zero_dtype: type, shape: tuple[int, ...], axis: int, vectors: tuple[int, int]
) -> None:
    data = values_of(dtype, shape)
    scale, zero = (
        values_of(t, (shape[axis],) if vector else ())
        for t, vector in zip((np.float32, zero_dtype), vectors, strict=True)
    )
    got = run("affine_dequantize", "iOS16", quantized_data=data, scale=scale, zero_point=zero, axis=axis)
    want = np.empty(shape)
    for place in np.ndindex(*shape):
        s, z = (float(v[place[axis]] if v.ndim else v) for v in (scale, zero))
        want[place] = s * (float(data[place]) - z)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-5)


def test_affine_dequantize_of_fp16_scales_is_exact_but_for_one_rounding() -> None:
    data, scale = values_of(np.uint8, (64, 9)), values_of(np.float16, (64,))
    got = run("affine_dequantize", "iOS16", quantized_data=data, scale=scale, zero_point=np.uint8(255), axis=0)
    want = (scale[:, None].astype(np.float64) * (data - 255.0)).astype(np.float16)
    np.testing.assert_array_equal(got.astype(np.float16), want)


@pytest.mark.usefixtures("pieces")
@pairs(
    {
        "dtype": [np.int8, np.uint8, np.float16],
        "offset_dtype": [None, np.int8, np.float16],
        "shape, blocks": [
            ((6,), (3,)),
            ((4, 6), (1, 1)),
            ((4, 6), (4, 2)),
            ((4, 6), (2, 6)),
            ((2, 4, 3, 2), (1, 2, 3, 1)),
            ((3, 4), (3, 4)),
        ],
    }
)
def test_blockwise_shift_scale_applies_the_scale_of_each_block(
    dtype: type, offset_dtype: type | None, shape: tuple[int, ...], blocks: tuple[int, ...]
) -> None:
    data, scale = values_of(dtype, shape), values_of(np.float16, blocks)
    offset = None if offset_dtype is None else values_of(offset_dtype, blocks)
    got = run("blockwise_shift_scale", data=data, scale=scale, offset=offset)
    want = np.empty(shape)
    for place in np.ndindex(*shape):
        block = tuple(i * b // n for i, b, n in zip(place, blocks, shape, strict=True))
        shift = 0.0 if offset is None else float(offset[block])
        want[place] = float(scale[block]) * (float(data[place]) - shift)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_cast_widens_fp16() -> None:
    x = values_of(np.float16, (2, 3))
    np.testing.assert_array_equal(run("cast", "iOS16", source_val=x, output_dtype="fp32"), x.astype(np.float32))


@pairs(
    {
        "piece": [None, 64],
        "bits": [1, 2, 4, 6, 8],
        "dtype": [np.int8, np.float16],
        "shape": [(1,), (4, 1), (2, 3, 5), (7, 31), (0, 3)],
    }
)
def test_packed_lut_to_dense_looks_up_indices_of_any_width(
    piece: int | None, bits: int, dtype: type, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if piece is not None:
        monkeypatch.setattr(constexpr, "_PIECE", piece)
    lut, indices = values_of(dtype, 2**bits), RNG.integers(0, 2**bits, shape, dtype=np.uint8)
    got = run("lut_to_dense", "iOS16", indices=packed(indices, bits), lut=lut, shape=list(shape))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, lut[indices])


def test_packed_lut_to_dense_reads_bytes_from_their_least_significant_bit() -> None:
    lut = np.array([1, 2, 3, 4], np.float32)
    got = run("lut_to_dense", "iOS16", indices=np.array([10, 4], np.uint8), lut=lut, shape=[5])
    np.testing.assert_array_equal(got, [3, 3, 1, 1, 1])


def looked_up(indices: np.ndarray, lut: np.ndarray, axis: int) -> np.ndarray:
    length = lut.shape[-1]
    shape = list(indices.shape)
    shape[axis] *= length
    out = np.empty(shape, lut.dtype)
    for place, k in itertools.product(np.ndindex(*indices.shape), range(length)):
        table = tuple(i * t // n for i, t, n in zip(place, lut.shape, indices.shape, strict=False))
        target = list(place)
        target[axis] = place[axis] * length + k
        out[tuple(target)] = lut[(*table, indices[place], k)]
    return out


LUTS = [
    # indices, tables, vector_axis, length of a vector
    ((6, 2), (2, 1), None, 1),
    ((5,), (1,), None, 1),
    ((5,), (5,), 0, 1),
    ((4, 6), (2, 3), -1, 1),
    ((2, 4, 2), (1, 2, 1), 0, 3),
    ((2, 4, 2), (1, 2, 1), 1, 3),
    ((2, 4, 2), (1, 2, 1), -1, 3),
    ((4, 4, 2, 3), (2, 1, 2, 3), -3, 2),
    ((3, 4), (1, 1), 0, 4),
    ((0, 4), (1, 2), 1, 2),
]


@pytest.mark.usefixtures("pieces")
@each(
    {
        "shape, tables, axis, length": LUTS,
        "bits, dtype": [(1, np.float16), (3, np.int8), (8, np.float32)],
    }
)
def test_lut_to_dense_looks_up_the_table_of_each_block(
    shape: tuple[int, ...], tables: tuple[int, ...], axis: int | None, length: int, bits: int, dtype: type
) -> None:
    indices, lut = RNG.integers(0, 2**bits, shape, dtype=np.uint8), values_of(dtype, (*tables, 2**bits, length))
    got = run("lut_to_dense", indices=indices, lut=lut, vector_axis=axis)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, looked_up(indices, lut, -1 if axis is None else axis))


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize(("shape", "tables", "axis", "length"), LUTS)
def test_lut_to_sparse_looks_up_what_the_mask_keeps(
    shape: tuple[int, ...], tables: tuple[int, ...], axis: int | None, length: int
) -> None:
    mask = RNG.integers(0, 2, shape, dtype=np.uint8)
    lut, indices = values_of(np.float16, (*tables, 4, length)), RNG.integers(0, 4, shape, dtype=np.uint8)
    out_mask, nonzero = run(
        "lut_to_sparse", indices_mask=mask, indices_nonzero_data=indices[mask == 1], lut=lut, vector_axis=axis
    )
    want_mask = np.repeat(mask, length, -1 if axis is None else axis)
    np.testing.assert_array_equal(out_mask, want_mask)
    np.testing.assert_array_equal(nonzero, looked_up(indices, lut, -1 if axis is None else axis)[want_mask == 1])


def test_lut_to_sparse_gives_the_values_of_the_formats_own_tests() -> None:
    mask = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]], np.uint8)
    data = np.array([0, 1, 1, 0, 1, 1, 0, 0, 1], np.uint8)
    lut = np.array([2, 2, 3, 3], np.float32).reshape(1, 1, 2, 2)
    out_mask, nonzero = run("lut_to_sparse", indices_mask=mask, indices_nonzero_data=data, lut=lut, vector_axis=0)
    np.testing.assert_array_equal(out_mask, np.repeat(mask, 2, 0))
    np.testing.assert_array_equal(nonzero, [2, 3, 2, 3, 3, 2, 3, 3, 2, 3, 3, 2, 2, 3, 2, 2, 3, 3])


@each(
    {
        "dtype": [np.int8, np.uint8, np.float16, np.float32],
        "shape": [(5,), (8,), (2, 3, 4), (7, 9), (0, 2)],
    }
)
def test_sparse_to_dense_puts_the_values_where_the_mask_is_set(dtype: type, shape: tuple[int, ...]) -> None:
    mask = RNG.integers(0, 2, shape, dtype=np.uint8)
    values = values_of(dtype, int(mask.sum()))
    want = np.zeros(shape, dtype)
    want[mask == 1] = values
    for got in (
        run("sparse_to_dense", nonzero_data=values, mask=mask),
        run("sparse_to_dense", "iOS16", nonzero_data=values, mask=packed(mask, 1), shape=list(shape)),
    ):
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, want)


@pytest.mark.usefixtures("pieces")
@each(
    {
        "blocks": [(1, 1), (4, 1), (1, 6), (2, 3)],
        "with_offset": [False, True],
    }
)
def test_sparse_blockwise_shift_scale_is_the_dense_one_where_the_mask_is_set(
    blocks: tuple[int, int], with_offset: bool
) -> None:
    mask, dense = RNG.integers(0, 2, (4, 6), dtype=np.uint8), values_of(np.int8, (4, 6))
    scale, offset = values_of(np.float32, blocks), values_of(np.int8, blocks)
    out_mask, got = run(
        "sparse_blockwise_shift_scale", data_mask=mask, nonzero_data=dense[mask == 1], scale=scale,
        offset=offset if with_offset else None,
    )  # fmt: skip
    spread = [np.kron(v, np.ones((4 // blocks[0], 6 // blocks[1]))) for v in (scale, offset)]
    want = spread[0] * (dense - (spread[1] if with_offset else 0.0))
    np.testing.assert_array_equal(out_mask, mask)
    np.testing.assert_allclose(got, want[mask == 1], rtol=1e-6, atol=1e-5)


def ones(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.ones(shape, dtype)


def floats(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


FITTING: dict[tuple[str, str], dict[str, Any]] = {
    ("affine_dequantize", "iOS16"): {
        "quantized_data": ones(2, 3), "zero_point": np.uint8(0), "scale": np.float32(1), "axis": 0
    },
    ("blockwise_shift_scale", "iOS18"): {"data": ones(2, 3), "scale": floats(1, 3)},
    ("cast", "iOS16"): {"source_val": ones(1, dtype=np.float16), "output_dtype": "fp32"},
    ("lut_to_dense", "iOS16"): {"indices": ones(2), "lut": floats(16), "shape": [4]},
    ("lut_to_dense", "iOS18"): {"indices": ones(2, 2), "lut": floats(1, 1, 4, 1)},
    ("lut_to_sparse", "iOS18"): {
        "indices_mask": ones(3), "indices_nonzero_data": ones(3), "lut": floats(1, 2, 1)
    },
    ("sparse_to_dense", "iOS16"): {"nonzero_data": floats(3), "mask": np.array([11], np.uint8), "shape": [4]},
    ("sparse_to_dense", "iOS18"): {"nonzero_data": floats(2), "mask": np.array([1, 0, 1], np.uint8)},
    ("sparse_blockwise_shift_scale", "iOS18"): {
        "data_mask": ones(1, 3), "nonzero_data": ones(3), "scale": floats(1, 3)
    },
}  # fmt: skip

HOSTILE: list[tuple[str, str, dict[str, Any], str]] = [
    ("affine_dequantize", "iOS16", {"scale": floats(2), "axis": 1}, r"scale of shape \(2,\)"),
    ("affine_dequantize", "iOS16", {"zero_point": ones(2, 1)}, r"zero_point of shape \(2, 1\)"),
    ("affine_dequantize", "iOS16", {"zero_point": ones(2), "axis": 2}, "axis 2"),
    ("blockwise_shift_scale", "iOS18", {"scale": floats(2)}, "does not have the rank"),
    ("blockwise_shift_scale", "iOS18", {"data": np.uint8(1), "scale": np.float32(1)}, "does not have the rank"),
    ("blockwise_shift_scale", "iOS18", {"scale": floats(1, 2)}, "does not divide"),
    ("blockwise_shift_scale", "iOS18", {"scale": floats(0, 1)}, "does not divide"),
    ("blockwise_shift_scale", "iOS18", {"offset": ones(3, 1)}, "differ"),
    ("cast", "iOS16", {"output_dtype": "int8"}, "output_dtype 'int8' is not 'fp32'"),
    ("lut_to_dense", "iOS16", {"lut": floats(8)}, r"lut of shape \(8,\)"),
    ("lut_to_dense", "iOS16", {"shape": [2**31, 2**31]}, "does not hold 4 bits"),
    ("lut_to_dense", "iOS16", {"shape": [-1, -4]}, "does not hold 4 bits"),
    ("lut_to_dense", "iOS16", {"indices": ones(3)}, "does not hold 4 bits"),
    ("lut_to_dense", "iOS16", {"indices": ones(2, dtype=np.int32)}, "torch.int32"),
    ("lut_to_dense", "iOS18", {"lut": floats(1, 2, 1)}, "lut of rank 3"),
    ("lut_to_dense", "iOS18", {"lut": floats(1, 1, 3, 1)}, "3 entries"),
    ("lut_to_dense", "iOS18", {"lut": floats(1, 1, 512, 1)}, "512 entries"),
    ("lut_to_dense", "iOS18", {"lut": floats(1, 3, 4, 1)}, "does not divide"),
    ("lut_to_dense", "iOS18", {"indices": 4 * ones(2, 2)}, "indices reach 4, past the 4 entries"),
    ("lut_to_dense", "iOS18", {"indices": -ones(2, 2, dtype=np.int8)}, "indices"),
    ("lut_to_dense", "iOS18", {"lut": floats(1, 1, 4, 2)}, "vector_axis None"),
    ("lut_to_dense", "iOS18", {"lut": floats(1, 1, 4, 0), "vector_axis": 0}, "vectors of 0 values"),
    ("lut_to_dense", "iOS18", {"lut": floats(1, 1, 4, 2), "vector_axis": 2}, "vector_axis 2"),
    ("lut_to_sparse", "iOS18", {"indices_nonzero_data": ones(2)}, "3 bits set"),
    ("sparse_to_dense", "iOS16", {"shape": [2]}, "past the 2 elements"),
    ("sparse_to_dense", "iOS16", {"shape": [9]}, "does not hold 1 bits"),
    ("sparse_to_dense", "iOS16", {"nonzero_data": floats(2)}, "3 bits set"),
    ("sparse_to_dense", "iOS18", {"nonzero_data": floats(3)}, "2 bits set"),
    ("sparse_to_dense", "iOS18", {"nonzero_data": floats(2, 1)}, "2 bits set"),
    ("sparse_blockwise_shift_scale", "iOS18", {"nonzero_data": ones(2)}, "3 bits set"),
]


@pytest.mark.parametrize(("op", "opset", "changes", "message"), HOSTILE)
def test_decompression_refuses_parts_that_do_not_fit(
    op: str, opset: str, changes: dict[str, Any], message: str
) -> None:
    fitting = FITTING[op, opset]
    run(op, opset, **fitting)
    with pytest.raises(ValueError, match=f"constexpr_{op}: .*{message}"):
        run(op, opset, **fitting | changes)
