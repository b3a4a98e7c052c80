"""Image inputs and outputs: pictures on the caller's side, (1, channels, height, width) tensors on the program's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from milrun.errors import ModelError

_COLORS = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE_FLOAT16"}


@dataclass(frozen=True)
class ImageFeature:
    """An image: its colour space, the size it was made with, and the other sizes that the model allows."""

    name: str
    color: str
    width: int
    height: int
    sizes: tuple[tuple[int, int], ...] | None = None
    ranges: tuple[tuple[int, int | None], tuple[int, int | None]] | None = None

    def __str__(self) -> str:
        if self.sizes is not None:
            return f"image {self.color} one of {', '.join(f'{width}x{height}' for width, height in self.sizes)}"
        if self.ranges is not None:
            return f"image {self.color} {' x '.join(span(low, high) for low, high in self.ranges)}"
        return f"image {self.color} {self.width}x{self.height}"

    def allows(self, width: int, height: int) -> bool:
        if self.sizes is not None:
            return (width, height) in self.sizes
        if self.ranges is not None:
            return all(
                low <= size and (high is None or size <= high)
                for size, (low, high) in zip((width, height), self.ranges, strict=True)
            )
        return (width, height) == (self.width, self.height)

    def to_tensor(self, value: Any) -> Tensor:
        """Return a PIL image as the fp32 tensor (1, channels, height, width) that the program takes."""
        mode = getattr(value, "mode", None)
        allowed = {"GRAYSCALE": ("L",), "GRAYSCALE_FLOAT16": ("F", "L")}.get(self.color, ("RGB", "RGBA"))
        if mode not in allowed:
            got = f"mode {mode}" if mode else type(value).__name__
            raise ValueError(f"input {self.name!r} is {got}, allowed is a PIL image of mode {' or '.join(allowed)}")
        if not self.allows(*value.size):
            raise ValueError(f"input {self.name!r} is {value.size[0]}x{value.size[1]}, allowed is {self}")
        pixels = np.asarray(value, dtype=np.float32)
        if pixels.ndim == 2:
            return torch.from_numpy(pixels.copy())[None, None]
        pixels = pixels[..., :3] if self.color == "RGB" else pixels[..., 2::-1]
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]

    def to_image(self, tensor: Tensor) -> Any:
        """Return a (1, channels, height, width) result as a PIL image."""
        from PIL import Image

        pixels = tensor.reshape(tensor.shape[-3:]).permute(1, 2, 0).float().numpy()
        if self.color == "GRAYSCALE_FLOAT16":
            return Image.fromarray(pixels[..., 0])
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        if self.color == "GRAYSCALE":
            return Image.fromarray(pixels[..., 0])
        return Image.fromarray(np.ascontiguousarray(pixels if self.color == "RGB" else pixels[..., ::-1]))


def span(low: int, high: int | None) -> str:
    """Return a range of sizes, as a person reads it."""
    return f"{low} or more" if high is None else str(low) if low == high else f"{low} to {high}"


def read_image(name: str, message: Any, place: str) -> ImageFeature:
    """Return an image feature from its description."""
    if message.colorSpace not in _COLORS:
        raise ModelError(f"{place}: image {name!r} has the unknown colour space {message.colorSpace}")
    sizes = ranges = None
    flexibility = message.WhichOneof("SizeFlexibility")
    if flexibility == "enumeratedSizes":
        sizes = tuple((s.width, s.height) for s in message.enumeratedSizes.sizes)
    elif flexibility == "imageSizeRange":
        bounds = (message.imageSizeRange.widthRange, message.imageSizeRange.heightRange)
        width, height = ((b.lowerBound, None if b.upperBound < 0 else b.upperBound) for b in bounds)
        ranges = (width, height)
    return ImageFeature(name, _COLORS[message.colorSpace], message.width, message.height, sizes, ranges)
