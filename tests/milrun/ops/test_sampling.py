"""Sampling against pixel-by-pixel formulas in float64."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import milrun.ops  # noqa: F401 (registers the ops)
from milrun.registry import find
from tests.support.covering import each, pairs

RNG = np.random.default_rng(14)
MODES = ["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS"]
PADDINGS = ["constant", "border", "reflection", "symmetric"]
COORDINATES = ["unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one"]


RESAMPLE = {
    "x": np.array([11, 22, 33, 44], np.float32).reshape(1, 1, 2, 2),
    "coordinates": np.array([-1, -2, -3.7, -1, 0, 0, 3.5, 1.2], np.float32).reshape(1, 2, 2, 2),
    "sampling_mode": "bilinear",
    "padding_mode": "constant",
    "padding_value": 0.0,
    "coordinates_mode": "normalized_minus_one_to_one",
    "align_corners": True,
}
AFFINE = {name: value for name, value in RESAMPLE.items() if name != "coordinates"} | {
    "transform_matrix": np.array([[-1, -2, -3.7, -1, 3.5, 1.2]], np.float32),
    "output_height": 3,
    "output_width": 3,
}


def run(op: str, opset: str = "iOS16", **arguments: Any) -> np.ndarray:
    found = find(op, opset)
    assert found is not None
    tensors = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
    result: np.ndarray = found.run(**tensors).numpy()
    return result


def random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def pixel(position: float, size: int, mode: str, align: bool) -> float:
    """A coordinate in units of pixels, whose first centre is 0."""
    if mode == "unnormalized":
        return position
    unit = (position + 1) / 2 if mode == "normalized_minus_one_to_one" else position
    return unit * (size - 1) if align else unit * size - 0.5


def bounded(p: float, size: int, padding: str) -> float:
    if padding == "constant":
        return p
    if padding == "reflection" and size > 1:
        p = abs((p + size - 1) % (2 * size - 2) - (size - 1))
    elif padding == "symmetric":
        p = abs((p + 0.5 + size) % (2 * size) - size) - 0.5
    return min(max(p, 0.0), size - 1.0)


def at(image: np.ndarray, row: int, column: int, fill: float) -> Any:
    inside = 0 <= row < image.shape[1] and 0 <= column < image.shape[2]
    return image[:, row, column].astype(np.float64) if inside else fill


def sampled(image: np.ndarray, y: float, x: float, fill: float, nearest: bool = False) -> Any:
    """One sample of an image of shape (C, H, W)."""
    if nearest:
        return at(image, int(np.rint(y)), int(np.rint(x)), fill)
    top, left = int(np.floor(y)), int(np.floor(x))
    corners = itertools.product(((top, top + 1 - y), (top + 1, y - top)), ((left, left + 1 - x), (left + 1, x - left)))
    return sum(a * b * at(image, row, column, fill) for (row, a), (column, b) in corners)


def resampled(
    x: np.ndarray, coordinates: np.ndarray, nearest: bool, padding: str, fill: float, mode: str, align: bool
) -> np.ndarray:
    out = np.empty((*x.shape[:2], *coordinates.shape[1:3]))
    for b, i, j in np.ndindex(*coordinates.shape[:3]):
        pairs = zip(coordinates[b, i, j].astype(np.float64), (x.shape[3], x.shape[2]), strict=True)
        column, row = (bounded(pixel(c, n, mode, align), n, padding) for c, n in pairs)
        out[b, :, i, j] = sampled(x[b], row, column, fill, nearest)
    return out


@pairs(
    {
        "align": [True, False],
        "mode": COORDINATES,
        "padding": PADDINGS,
        "sampling": ["bilinear", "nearest"],
        "size": [(4, 5), (1, 3)],
    }
)
def test_resample_reads_the_image_at_the_coordinates(
    sampling: str, padding: str, mode: str, align: bool, size: tuple[int, int]
) -> None:
    x = random(2, 3, *size)
    spread = 8 if mode == "unnormalized" else 2
    coordinates = (RNG.random((2, 4, 6, 2)) * 2 * spread - spread).astype(np.float32)
    got = run(
        "resample", x=x, coordinates=coordinates, sampling_mode=sampling, padding_mode=padding, padding_value=6.25,
        coordinates_mode=mode, align_corners=align,
    )  # fmt: skip
    want = resampled(x, coordinates, sampling == "nearest", padding, 6.25, mode, align)
    np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize(
    ("attributes", "want"),
    [
        (("bilinear", "constant", 6.17, "normalized_minus_one_to_one", True), [8.585, 6.17, 27.5, 6.17]),
        (("nearest", "border", -1.0, "unnormalized", False), [11, 11, 11, 44]),
        (("bilinear", "reflection", -1.0, "normalized_zero_to_one", True), [22, 36.3, 11, 34.1]),
        (("nearest", "symmetric", -1.0, "normalized_zero_to_one", False), [22, 33, 11, 33]),
    ],
)
def test_resample_gives_the_values_of_the_formats_own_tests(attributes: tuple[Any, ...], want: list[float]) -> None:
    names = ("sampling_mode", "padding_mode", "padding_value", "coordinates_mode", "align_corners")
    got = run("resample", **RESAMPLE | dict(zip(names, attributes, strict=True)))
    np.testing.assert_allclose(got.ravel(), want, rtol=1e-5)


def test_resample_takes_integer_coordinates() -> None:
    x = random(1, 2, 3, 4)
    coordinates = np.array([0, 0, 3, 2, 1, 2, 9, 0], np.int32).reshape(1, 2, 2, 2)
    changes = {"x": x, "coordinates": coordinates, "padding_mode": "border", "coordinates_mode": "unnormalized"}
    for sampling in ("nearest", "bilinear"):
        got = run("resample", **RESAMPLE | changes | {"sampling_mode": sampling})
        np.testing.assert_allclose(got[0, :, 0], x[0][:, [0, 2], [0, 3]], atol=1e-5)
        np.testing.assert_allclose(got[0, :, 1], x[0][:, [2, 0], [1, 3]], atol=1e-5)


def test_resample_takes_what_is_no_number_for_outside() -> None:
    changes = {"coordinates": np.full((1, 1, 2, 2), np.nan, np.float32), "sampling_mode": "nearest"}
    got = run("resample", **RESAMPLE | changes | {"padding_value": 3.0})
    np.testing.assert_array_equal(got.ravel(), [3, 3])


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("matrices", [1, 2])
def test_affine_transforms_normalized_coordinates(align: bool, matrices: int) -> None:
    x, matrix, (height, width) = random(2, 2, 4, 5), random(matrices, 6), (3, 6)
    grids = np.empty((2, height, width, 2))
    for b, i, j in np.ndindex(2, height, width):
        row, column = (2 * k / (n - 1) - 1 if align else (2 * k + 1) / n - 1 for k, n in ((i, height), (j, width)))
        a = matrix[b % matrices].astype(np.float64)
        grids[b, i, j] = a[0] * column + a[1] * row + a[2], a[3] * column + a[4] * row + a[5]
    changes = {"x": x, "transform_matrix": matrix, "output_height": height, "output_width": width}
    got = run("affine", **AFFINE | changes | {"align_corners": align})
    want = resampled(x, grids, False, "constant", 0.0, "normalized_minus_one_to_one", align)
    np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize(
    ("height", "width", "want"),
    [(3, 3, [10.752501, 2.5025, 0, 1.98, 0, 0, 0, 0, 0]), (2, 5, [10.752501, 5.94, 2.5025, 0.44, 0, 0, 0, 0, 0, 0])],
)
def test_affine_gives_the_values_of_the_formats_own_tests(height: int, width: int, want: list[float]) -> None:
    got = run("affine", **AFFINE | {"output_height": height, "output_width": width})
    np.testing.assert_allclose(got.ravel(), want, atol=1e-5)


def points(mode: str, start: float, end: float, count: int) -> np.ndarray:
    """Where a box that reaches from one pixel to another is sampled; backwards if it ends before it starts."""
    size, i = abs(end - start) + 1, np.arange(count)
    offsets = {
        "STRICT_ALIGN_CORNERS": i * (size - 1) / max(count - 1, 1),
        "ALIGN_CORNERS": i * (size - 1) / (count - 1) if count > 1 else np.array([(size - 1) / 2]),
        "DEFAULT": i * size / count,
        "OFFSET_CORNERS": (i + 0.5) * max(1, size - 1) / count,
        "UNALIGN_CORNERS": (i + 0.5) * size / count - 0.5,
    }[mode]
    return start + np.sign(end - start) * np.clip(offsets, 0, size - 1)


def cropped(image: np.ndarray, box: Any, height: int, width: int, mode: str, fill: float) -> np.ndarray:
    """One crop, from a box of two corners in pixels; a point past the outermost centres is padding."""
    rows, columns = points(mode, box[0], box[2], height), points(mode, box[1], box[3], width)
    out = np.full((len(image), height, width), fill)
    for i, j in np.ndindex(height, width):
        if 0 <= rows[i] <= image.shape[1] - 1 and 0 <= columns[j] <= image.shape[2] - 1:
            out[:, i, j] = sampled(image, rows[i], columns[j], 0.0)
    return out


BOXES = np.array(
    [[1, 2, 4, 5], [0, 0, 5, 6], [2.25, 1.5, 2.75, 5.25], [4, 5, 1, 0.5], [-1, 3, 2, 9], [3, 3, 3, 3]], np.float32
)


@each(
    {
        "mode": MODES,
        "size": [(3, 4), (1, 1), (7, 2)],
    }
)
def test_crop_resize_samples_each_box_of_its_image(mode: str, size: tuple[int, int]) -> None:
    x, indices = random(3, 2, 6, 7), np.array([2, 0, 1, 1, 0, 2], np.int32)
    got = run(
        "crop_resize", "iOS17", x=x, boxes=BOXES, box_indices=indices, target_height=size[0], target_width=size[1],
        sampling_mode=mode, pad_value=-3.5,
    )  # fmt: skip
    want = [cropped(x[b], box, *size, mode, -3.5) for b, box in zip(indices, BOXES.astype(np.float64), strict=True)]
    np.testing.assert_allclose(got, np.stack(want), atol=1e-5)


@pytest.mark.parametrize("with_index", [False, True])
def test_crop_resize_of_rois_cuts_every_box_out_of_its_image_or_of_all(with_index: bool) -> None:
    x = random(3, 2, 6, 7)
    indices = np.array([[2], [0], [1], [1], [0], [2]], np.float32)
    rois = np.concatenate([indices, BOXES], 1) if with_index else BOXES
    got = run(
        "crop_resize", x=x, roi=rois.reshape(6, 1, -1, 1, 1), target_height=2, target_width=3,
        sampling_mode="ALIGN_CORNERS",
    )  # fmt: skip
    for n, box in enumerate(BOXES.astype(np.float64)):
        images = [int(indices[n, 0])] if with_index else [0, 1, 2]
        want = np.stack([cropped(x[b], box, 2, 3, "ALIGN_CORNERS", 0.0) for b in images])
        np.testing.assert_allclose(got[n], want, atol=1e-5)


@pairs(
    {
        "normalized": [False, True],
        "scale": [1.0, 0.5],
        "mode, order, centred": [
            ("CORNERS_HEIGHT_FIRST", [0, 1, 2, 3], False),
            ("CORNERS_WIDTH_FIRST", [1, 0, 3, 2], False),
            ("CENTER_SIZE_HEIGHT_FIRST", [0, 1, 2, 3], True),
            ("CENTER_SIZE_WIDTH_FIRST", [1, 0, 3, 2], True),
        ],
    }
)
def test_crop_resize_reads_boxes_in_every_convention(
    mode: str, order: list[int], centred: bool, normalized: bool, scale: float
) -> None:
    x, box = random(1, 2, 5, 9), np.array([1.0, 2.5, 3.0, 7.0])
    given = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]])
    given = (given if centred else box)[order] / scale
    if normalized:
        given = given / np.array([4, 8, 4, 8])[order]
    got = run(
        "crop_resize", "iOS17", x=x, boxes=given[None].astype(np.float32), target_height=3, target_width=4,
        normalized_coordinates=normalized, spatial_scale=scale, box_coordinate_mode=mode, sampling_mode="DEFAULT",
    )  # fmt: skip
    np.testing.assert_allclose(got[0], cropped(x[0], box, 3, 4, "DEFAULT", 0.0), atol=1e-5)


def test_crop_resize_gives_the_values_of_the_formats_own_tests() -> None:
    x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    common = {"x": x, "target_height": 2, "target_width": 2, "sampling_mode": "ALIGN_CORNERS"}
    boxes = np.array([[0.1, 0.3, 1.3, 1.0], [0.5, 1.8, 1.0, 0.3], [0.0, 0.4, 0.6, 0.7]], np.float32)
    got = run(
        "crop_resize", "iOS17", boxes=boxes, box_indices=np.zeros(3, np.int32), normalized_coordinates=True,
        pad_value=10.0, **common,
    )  # fmt: skip
    want = [3.1, 5.2, 10, 10, 10, 7.9, 10, 13.9, 2.2, 3.1, 9.4, 10.3]
    np.testing.assert_allclose(got.ravel(), want, rtol=1e-5)
    inverted = np.array([2, 2, 1, 1], np.float32).reshape(1, 1, 4, 1, 1)
    np.testing.assert_array_equal(run("crop_resize", "iOS15", roi=inverted, **common).ravel(), [11, 10, 7, 6])


@pytest.mark.parametrize(("start", "end"), [(0, 1), (0.7, 10), (-2.64338, 2), (-2.270877, 14), (-1.895419, 1)])
def test_crop_resize_of_a_box_that_ends_on_the_last_pixel_touches_no_padding_there(start: float, end: int) -> None:
    x, box = random(1, 1, end + 1, end + 1), np.array([[start, 0, end, end]], np.float32)
    got = run(
        "crop_resize", "iOS17", x=x, boxes=box, target_height=4, target_width=end + 1, sampling_mode="ALIGN_CORNERS",
    )  # fmt: skip
    np.testing.assert_array_equal(got[0, 0, -1], x[0, 0, -1])


def test_crop_resize_of_no_boxes_is_empty() -> None:
    got = run("crop_resize", "iOS17", x=random(2, 3, 4, 5), boxes=random(0, 4), target_height=2, target_width=6)
    assert got.shape == (0, 3, 2, 6)


CROP = {"x": np.zeros((1, 1, 2, 2), np.float32), "boxes": np.zeros((1, 4), np.float32)}


@pytest.mark.parametrize(
    ("op", "arguments", "message"),
    [
        ("resample", RESAMPLE | {"sampling_mode": "cubic"}, "sampling_mode 'cubic' is not one of"),
        ("resample", RESAMPLE | {"padding_mode": "wrap"}, "padding_mode 'wrap' is not one of"),
        ("resample", RESAMPLE | {"coordinates_mode": "pixels"}, "coordinates_mode 'pixels' is not one of"),
        ("affine", AFFINE | {"sampling_mode": "nearest"}, "sampling_mode 'nearest' is not one of 'bilinear'"),
        ("affine", AFFINE | {"padding_value": 1.0}, "padding_value 1.0 is not one of 0.0"),
        ("affine", AFFINE | {"transform_matrix": np.zeros((3, 6), np.float32)}, r"transform_matrix of shape \(3, 6\)"),
        ("crop_resize", CROP | {"sampling_mode": "HALF"}, "sampling_mode 'HALF' is not one of"),
        ("crop_resize", CROP | {"box_coordinate_mode": "CORNERS"}, "box_coordinate_mode 'CORNERS' is not one of"),
        ("crop_resize", CROP | {"box_indices": np.array([1])}, r"box indices \[1\] are not all within 1 images"),
        ("crop_resize", CROP | {"box_indices": np.array([-1])}, r"box indices \[-1\]"),
        ("crop_resize", CROP | {"box_indices": np.array([0, 0])}, r"\(2,\) box_indices for 1 boxes"),
        ("crop_resize", CROP | {"boxes": np.zeros((1, 5), np.float32)}, r"boxes of shape \(1, 5\)"),
        ("crop_resize", {"x": CROP["x"], "roi": CROP["boxes"]}, r"roi of shape \(1, 4\)"),
    ],
)
def test_sampling_refuses_arguments_outside_the_specification(op: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"{op}: .*{message}"):
        run(op, "iOS16" if "roi" in arguments else "iOS17", **arguments)
