"""Sampling of images at computed positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from milrun.ops.resize import SAMPLING_MODES, sample_points
from milrun.registry import op

_BOX_MODES = ("CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST")
_COORDINATES = ("unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one")
_PADDINGS = ("constant", "border", "reflection", "symmetric")


@op("affine")
def affine(
    x: Tensor,
    transform_matrix: Tensor,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    _check("affine", "sampling_mode", sampling_mode.lower(), ("bilinear",))
    _check("affine", "padding_mode", padding_mode.lower(), ("constant",))
    _check("affine", "padding_value", padding_value, (0.0,))
    _check("affine", "coordinates_mode", coordinates_mode.lower(), ("normalized_minus_one_to_one",))
    batch, channels = x.shape[:2]
    if transform_matrix.shape not in ((1, 6), (batch, 6)):
        raise ValueError(f"affine: transform_matrix of shape {tuple(transform_matrix.shape)} is not (1 or {batch}, 6)")
    theta = transform_matrix.reshape(-1, 2, 3).expand(batch, 2, 3)
    grid = F.affine_grid(theta, [batch, channels, output_height, output_width], align_corners=align_corners)
    return F.grid_sample(x, grid, "bilinear", "zeros", align_corners)


@op("resample")
def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    _check("resample", "sampling_mode", sampling_mode, ("bilinear", "nearest"))
    _check("resample", "padding_mode", padding_mode, _PADDINGS)
    _check("resample", "coordinates_mode", coordinates_mode, _COORDINATES)
    coordinates = coordinates.to(x.dtype)
    if sampling_mode == "nearest":
        pixels = _pixels(x, coordinates, coordinates_mode, align_corners)
        return _pick_nearest(x, pixels, padding_mode, padding_value)
    # torch reflects about the corner pixels' centres or about their edges, whichever its coordinates extend to.
    unnormalized = coordinates_mode == "unnormalized"
    reflects = {"reflection": True, "symmetric": False}
    about_centres = reflects.get(padding_mode, align_corners and not unnormalized)
    if unnormalized or about_centres != align_corners:
        pixels = _pixels(x, coordinates, coordinates_mode, align_corners)
        size = _size(x)
        grid = 2 * pixels / (size - 1).clamp(min=1) - 1 if about_centres else (2 * pixels + 1) / size - 1
    elif coordinates_mode == "normalized_zero_to_one":
        grid = 2 * coordinates - 1
    else:
        grid = coordinates
    torch_padding = {"constant": "zeros", "border": "border"}.get(padding_mode, "reflection")
    y = F.grid_sample(x, grid, "bilinear", torch_padding, about_centres)
    if padding_mode == "constant" and padding_value:
        inside = F.grid_sample(torch.ones_like(x[:, :1]), grid, "bilinear", "zeros", about_centres)
        y = y + padding_value * (1 - inside)
    return y


@op("crop_resize")
def crop_resize(
    x: Tensor,
    roi: Tensor,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    if roi.dim() != 5 or roi.shape[2] not in (4, 5) or roi.numel() != roi.shape[0] * roi.shape[2]:
        raise ValueError(f"crop_resize: roi of shape {tuple(roi.shape)} is not (N, 1, 4 or 5, 1, 1)")
    roi = roi.reshape(roi.shape[0], roi.shape[2])
    # Without an index of its own, every box is cut out of every image.
    images = 1 if roi.shape[1] == 5 else x.shape[0]
    indices = roi[:, 0] if roi.shape[1] == 5 else torch.arange(x.shape[0]).repeat(len(roi))
    sampled = (target_height, target_width, normalized_coordinates, spatial_scale, box_coordinate_mode, sampling_mode)
    crops = crop_resize_of_boxes(x, roi[:, -4:].repeat_interleave(images, 0), indices, *sampled, pad_value)
    return torch.unflatten(crops, 0, (len(roi), images))


@op("crop_resize", since="iOS17")
def crop_resize_of_boxes(
    x: Tensor,
    boxes: Tensor,
    box_indices: Tensor | None = None,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(f"crop_resize: boxes of shape {tuple(boxes.shape)} is not (N, 4)")
    indices = torch.arange(len(boxes)) if box_indices is None else box_indices
    if indices.shape != boxes.shape[:1]:
        raise ValueError(f"crop_resize: {tuple(indices.shape)} box_indices for {len(boxes)} boxes")
    rows, columns = _box_points(
        x, boxes, target_height, target_width, normalized_coordinates, spatial_scale, box_coordinate_mode, sampling_mode
    )
    return _crops(x, indices, rows, columns, pad_value)


def _check(op: str, name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{op}: {name} {value!r} is not one of {', '.join(map(repr, allowed))}")


def _size(x: Tensor) -> Tensor:
    """Return width and height, in the order of coordinates."""
    return torch.tensor([x.shape[3], x.shape[2]], dtype=x.dtype)


def _pixels(x: Tensor, coordinates: Tensor, mode: str, align_corners: bool) -> Tensor:
    """Return the coordinates as positions between pixel centres, the first of which is 0."""
    if mode == "unnormalized":
        return coordinates
    size = _size(x)
    if mode == "normalized_minus_one_to_one":
        return (coordinates + 1) / 2 * (size - 1) if align_corners else ((coordinates + 1) * size - 1) / 2
    return coordinates * (size - 1) if align_corners else coordinates * size - 0.5


def _pick_nearest(x: Tensor, pixels: Tensor, padding_mode: str, padding_value: float) -> Tensor:
    last = _size(x) - 1
    if padding_mode == "reflection":
        pixels = _fold(pixels, torch.zeros_like(last), last)
    elif padding_mode == "symmetric":
        pixels = _fold(pixels, torch.full_like(last, -0.5), last + 0.5)
    if padding_mode != "constant":
        pixels = pixels.clamp(min=0).minimum(last)
    nearest = pixels.round()
    inside = ((nearest >= 0) & (nearest <= last)).all(-1)
    columns, rows = torch.where(inside[..., None], nearest, 0).long().unbind(-1)
    places = (rows * x.shape[3] + columns).flatten(1)[:, None].expand(-1, x.shape[1], -1)
    y = torch.unflatten(x.flatten(2).gather(2, places), 2, pixels.shape[1:3])
    return torch.where(inside[:, None], y, padding_value) if padding_mode == "constant" else y


def _fold(pixels: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the positions mirrored at both bounds until they lie between them."""
    span = (high - low).clamp(min=torch.finfo(low.dtype).tiny)
    offset = torch.remainder(pixels - low, 2 * span)
    return low + torch.minimum(offset, 2 * span - offset)


def _box_points(
    x: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    normalized: bool,
    scale: float,
    box_mode: str,
    sampling_mode: str,
) -> tuple[Tensor, Tensor]:
    """Return the rows and the columns to sample for each box."""
    _check("crop_resize", "box_coordinate_mode", box_mode, _BOX_MODES)
    _check("crop_resize", "sampling_mode", sampling_mode, SAMPLING_MODES)
    first, second = (boxes.float() * scale).reshape(-1, 2, 2).unbind(1)
    if box_mode.startswith("CENTER_SIZE"):
        first, second = first - second / 2, first + second / 2
    if "WIDTH_FIRST" in box_mode:
        first, second = first.flip(1), second.flip(1)
    if normalized:
        last = torch.tensor([x.shape[2] - 1, x.shape[3] - 1], dtype=torch.float32)
        first, second = first * last, second * last
    # The last sample of a box must not land a rounding error past the last pixel, where there is only padding.
    first, second = first.double(), second.double()
    extent, direction = (second - first).abs() + 1, torch.where(second < first, -1.0, 1.0)
    rows, columns = (
        first[:, i, None] + direction[:, i, None] * sample_points(sampling_mode, extent[:, i], count)
        for i, count in enumerate((height, width))
    )
    return rows, columns


def _crops(x: Tensor, indices: Tensor, rows: Tensor, columns: Tensor, pad_value: float) -> Tensor:
    """Return bilinear samples of the images that the indices name, on one grid for each."""
    images = indices.long()
    if images.numel() and not 0 <= int(images.min()) <= int(images.max()) < x.shape[0]:
        raise ValueError(f"crop_resize: box indices {images.tolist()} are not all within {x.shape[0]} images")
    (top, bottom, down, inside_y), (left, right, across, inside_x) = (
        _neighbours(points, size, x.dtype) for points, size in ((rows, x.shape[2]), (columns, x.shape[3]))
    )
    pixels, images = x.permute(0, 2, 3, 1), images[:, None, None]
    top, bottom, left, right = top[:, :, None], bottom[:, :, None], left[:, None], right[:, None]
    across, down = across[:, None, :, None], down[:, :, None, None]
    upper = torch.lerp(pixels[images, top, left], pixels[images, top, right], across)
    lower = torch.lerp(pixels[images, bottom, left], pixels[images, bottom, right], across)
    outside = ~(inside_y[:, :, None] & inside_x[:, None])
    return torch.lerp(upper, lower, down).masked_fill_(outside[..., None], pad_value).movedim(-1, 1)


def _neighbours(points: Tensor, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return each point's elements before and after it, the latter's weight, and whether the point is on the image."""
    inside = (points >= 0) & (points <= size - 1)
    points = torch.where(inside, points, 0.0)
    before = points.long()
    return before, (before + 1).clamp(max=size - 1), (points - before).to(dtype), inside
