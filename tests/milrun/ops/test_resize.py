"""Resizing against the grid formulas in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import milrun.ops  # noqa: F401 (registers the ops)
from milrun.registry import find
from tests.support.covering import each, pairs

RNG = np.random.default_rng(13)
MODES = ["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS"]


def run(op: str, x: np.ndarray, opset: str = "iOS17", **attributes: Any) -> np.ndarray:
    found = find(op, opset)
    assert found is not None
    result: np.ndarray = found.run(x=torch.from_numpy(x), **attributes).numpy()
    return result


def random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def grid(mode: str, size: int, count: int) -> np.ndarray:
    """Sample positions as evenly spaced points between a start and an end."""
    if mode == "ALIGN_CORNERS" and count == 1:
        return np.array([(size - 1) / 2])
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        start, end = 0.0, size - 1.0
    elif mode == "DEFAULT":
        start, end = 0.0, size - size / count
    elif mode == "OFFSET_CORNERS":
        spacing = max(1, size - 1) / count
        start, end = 0.5 * spacing, (count - 0.5) * spacing
    else:
        start, end = 0.5 * size / count - 0.5, (count - 0.5) * size / count - 0.5
    return np.clip(np.linspace(start, end, count), 0, size - 1)


def interpolated(x: np.ndarray, sizes: list[int], mode: str) -> np.ndarray:
    y = x.astype(np.float64)
    for axis, count in enumerate(sizes, start=x.ndim - len(sizes)):
        points = grid(mode, y.shape[axis], count)
        places = np.arange(y.shape[axis])
        y = np.apply_along_axis(lambda line: np.interp(points, places, line), axis, y)  # noqa: B023
    return y


@pairs(
    {
        "mode": MODES,
        "shape": [(2, 3, 5, 7), (3, 4, 6), (1, 2, 2, 3, 4), (2, 1, 4)],
        "sizes": [[4, 9], [10, 14], [1, 6], [1, 1], [6, 2]],
    }
)
def test_resize_bilinear_samples_the_grid_of_its_mode(mode: str, shape: tuple[int, ...], sizes: list[int]) -> None:
    x = random(*shape)
    got = run("resize_bilinear", x, target_size_height=sizes[0], target_size_width=sizes[1], sampling_mode=mode)
    want = interpolated(x, sizes, mode)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "want"),
    [
        ("STRICT_ALIGN_CORNERS", [0, 0.25, 0.5, 0.75, 1]),
        ("ALIGN_CORNERS", [0, 0.25, 0.5, 0.75, 1]),
        ("DEFAULT", [0, 0.4, 0.8, 1, 1]),
        ("OFFSET_CORNERS", [0.1, 0.3, 0.5, 0.7, 0.9]),
        ("UNALIGN_CORNERS", [0, 0.1, 0.5, 0.9, 1]),
    ],
)
def test_resize_bilinear_gives_the_points_of_the_specification(mode: str, want: list[float]) -> None:
    x = np.array([[[0, 1]]], np.float32)
    got = run("resize_bilinear", x, target_size_height=1, target_size_width=5, sampling_mode=mode)
    np.testing.assert_allclose(got.ravel(), want, atol=1e-6)


def test_resize_bilinear_makes_one_pixel_of_the_first_by_default() -> None:
    x = random(1, 1, 3, 4)
    np.testing.assert_array_equal(run("resize_bilinear", x), x[:, :, :1, :1])


@each(
    {
        "shape, wanted, dims, sizes": [
            ((1, 2, 3, 4), [1, 6, 8], 2, [6, 8]),
            ((1, 2, 3, 4), [9, 9, 5, 7], 1, [7]),
            ((2, 3, 4), [2, 5, 3], 3, [2, 5, 3]),
            ((1, 2, 3, 4), [1, 0, 0], 2, [3, 4]),
            ((1, 2, 3, 4), [0, 5], 2, [3, 5]),
            ((2, 3), [7], 0, []),
            ((2, 2, 3, 2, 3), [3, 4, 5], 3, [3, 4, 5]),
        ],
        "mode": ["DEFAULT", "UNALIGN_CORNERS"],
    }
)
def test_resize_takes_its_sizes_from_the_end_of_shape_and_zeros_from_x(
    shape: tuple[int, ...], wanted: list[int], dims: int, sizes: list[int], mode: str
) -> None:
    x = random(*shape)
    got = run("resize", x, shape=wanted, resized_dims=dims, sampling_mode=mode)
    want = interpolated(x, sizes, mode)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-5)


def picked(x: np.ndarray, places: list[list[int]]) -> np.ndarray:
    for axis, chosen in enumerate(places, start=x.ndim - len(places)):
        x = np.take(x, chosen, axis)
    return x


SIZES = [(3, 5), (5, 3), (4, 8), (8, 4), (2, 6), (7, 7), (1, 4), (6, 1), (3, 41), (41, 3), (10, 45), (2, 41)]


@each(
    {
        "size, count": SIZES,
        "dtype": [np.float32, np.float16],
    }
)
def test_resize_nearest_neighbor_picks_the_element_under_the_centre(size: int, count: int, dtype: type) -> None:
    x = random(2, 2, size, 3).astype(dtype)
    centres = [(2 * i + 1) * size // (2 * count) for i in range(count)]
    got = run("resize_nearest_neighbor", x, target_size_height=count, target_size_width=6)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, picked(x, [centres, [0, 0, 1, 1, 2, 2]]))


@pytest.mark.parametrize(("size", "count"), SIZES)
def test_resize_picks_nearest_elements_of_integers_and_of_any_number_of_dimensions(size: int, count: int) -> None:
    x = RNG.integers(-(2**31), 2**31, (2, size, 3), dtype=np.int32)
    centres = [(2 * i + 1) * size // (2 * count) for i in range(count)]
    got = run("resize", x, shape=[2, count, 3], resized_dims=3, interpolation_mode="NEAREST_NEIGHBOR")
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, picked(x, [[0, 1], centres, [0, 1, 2]]))


@pytest.mark.parametrize("mode", ["STRICT_ALIGN_CORNERS", "OFFSET_CORNERS"])
@pytest.mark.parametrize(("size", "count"), SIZES)
def test_resize_picks_the_element_nearest_to_the_grid_of_other_modes(mode: str, size: int, count: int) -> None:
    x = random(1, 1, size, 1)
    places = [int(np.floor(round(p, 9) + 0.5)) for p in grid(mode, size, count)]
    got = run("resize", x, shape=[count, 1], resized_dims=2, interpolation_mode="NEAREST_NEIGHBOR", sampling_mode=mode)
    np.testing.assert_array_equal(got, picked(x, [places, [0]]))


def test_resize_nearest_neighbor_gives_the_values_of_the_formats_own_tests() -> None:
    x = np.array([-6.174, 9.371], np.float32).reshape(1, 1, 2, 1)
    got = run("resize", x, shape=[1, 1, 3, 2], resized_dims=2, interpolation_mode="NEAREST_NEIGHBOR")
    np.testing.assert_array_equal(got.ravel(), x.ravel()[[0, 0, 1, 1, 1, 1]])


def test_resize_interpolates_integers_exactly_enough_for_all_of_int32() -> None:
    x = np.array([[2**31 - 1, 2**31 - 1, -(2**31), 7]], np.int32)
    got = run("resize", x, shape=[1, 8], resized_dims=2)
    np.testing.assert_allclose(got, interpolated(x, [1, 8], "DEFAULT"), rtol=0, atol=1e-6)


@each(
    {
        "factors": [(2.0, 3.0), (2.5, 1.0), (0.5, 0.75), (1.3, 3.17), (1.0, 1.0)],
        "corners, centres, mode": [
            (True, None, "STRICT_ALIGN_CORNERS"),
            (True, False, "STRICT_ALIGN_CORNERS"),
            (False, None, "UNALIGN_CORNERS"),
            (False, True, "UNALIGN_CORNERS"),
            (False, False, "DEFAULT"),
        ],
    }
)
def test_upsample_bilinear_spaces_its_grid_by_the_rounded_size(
    factors: tuple[float, float], corners: bool, centres: bool | None, mode: str
) -> None:
    x = random(2, 2, 6, 5)
    sizes = [int(np.floor(np.float32(f) * n)) for f, n in zip(factors, (6, 5), strict=True)]
    got = run(
        "upsample_bilinear", x, scale_factor_height=factors[0], scale_factor_width=factors[1], align_corners=corners,
        half_pixel_centers=centres,
    )  # fmt: skip
    want = interpolated(x, sizes, mode)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_upsample_bilinear_of_one_pixel_repeats_it() -> None:
    x = random(1, 2, 1, 1)
    got = run("upsample_bilinear", x, scale_factor_height=1.0, scale_factor_width=4.0, align_corners=True)
    np.testing.assert_array_equal(got, np.repeat(x, 4, 3))


@pytest.mark.parametrize(
    ("size", "factor", "count"), [(3, 0.67, 2), (3, 1.12, 3), (1, 3.17, 3), (5, 2.0, 10), (4, 2.6, 10), (10, 0.7, 7)]
)
def test_upsample_nearest_neighbor_rounds_positions_down(size: int, factor: float, count: int) -> None:
    x = random(1, 2, 3, size)
    # The size is a product in fp32: 10 * float32(0.7) rounds up to 7.
    got = run("upsample_nearest_neighbor", x, scale_factor_width=float(np.float32(factor)))
    np.testing.assert_array_equal(got, picked(x, [[i * size // count for i in range(count)]]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32])
def test_crop_takes_off_each_edge(dtype: type) -> None:
    x = np.arange(2 * 5 * 6).reshape(2, 5, 6).astype(dtype)
    np.testing.assert_array_equal(run("crop", x, crop_height=[0, 1], crop_width=[2, 3]), x[:, :4, 2:3])
    np.testing.assert_array_equal(run("crop", x, crop_height=[0, 0], crop_width=[0, 0]), x)


@pytest.mark.parametrize(
    ("op", "attributes", "message"),
    [
        ("crop", {"crop_height": [1], "crop_width": [0, 0]}, r"crop: crop_height \[1\]"),
        ("crop", {"crop_height": [0, 0], "crop_width": [3, 2]}, r"crop: crop_width \[3, 2\]"),
        ("resize", {"shape": [1], "resized_dims": 2}, "resize: resized_dims 2"),
        ("resize", {"shape": [1], "resized_dims": 1, "sampling_mode": "HALF"}, "sampling_mode 'HALF' is not one of"),
        ("resize", {"shape": [1], "resized_dims": 1, "interpolation_mode": "CUBIC"}, "interpolation_mode 'CUBIC'"),
        ("resize_bilinear", {"sampling_mode": "default"}, "resize_bilinear: sampling_mode 'default'"),
        ("upsample_bilinear", {"half_pixel_centers": True}, "half_pixel_centers True does not go with"),
    ],
)
def test_resizing_refuses_attributes_outside_the_specification(
    op: str, attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(op, random(1, 3, 4), **attributes)
