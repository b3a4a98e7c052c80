"""The inputs and outputs that a model describes: what a caller may pass, and what a caller gets back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from milrun import dtypes
from milrun.errors import ModelError
from milrun.images import ImageFeature, read_image, span
from milrun.program import TensorType, Type

_ARRAY_TYPES: dict[int, np.dtype[Any]] = {
    65552: np.dtype(np.float16),
    65568: np.dtype(np.float32),
    65600: np.dtype(np.float64),
    131080: np.dtype(np.int8),
    131104: np.dtype(np.int32),
}


@dataclass(frozen=True)
class ArrayFeature:
    """A multi-array: its type, the shape it was made with, and the other shapes that the model allows."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    ranges: tuple[tuple[int, int | None], ...] | None = None
    """Smallest and largest size per dimension, None for no limit; the one fixed shape otherwise."""
    enumerated: tuple[tuple[int, ...], ...] | None = None
    optional: bool = False
    default: float = 0.0
    """Fills an optional input that is left out; NaN where it is not known."""

    def allows(self, shape: tuple[int, ...]) -> bool:
        if self.enumerated is not None:
            return shape in self.enumerated
        if self.ranges is not None:
            return len(shape) == len(self.ranges) and all(
                low <= size and (high is None or size <= high)
                for size, (low, high) in zip(shape, self.ranges, strict=True)
            )
        return shape == self.shape

    def shapes(self) -> str:
        """Return the shapes allowed, as a person reads them."""
        if self.enumerated is not None:
            return "one of " + ", ".join(map(str, self.enumerated))
        if self.ranges is not None:
            return "(" + ", ".join(span(low, high) for low, high in self.ranges) + ")"
        return str(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype} {self.shapes()}"


@dataclass(frozen=True)
class PlainFeature:
    """A label or a dictionary of probabilities, as classifiers give them."""

    name: str
    kind: str

    def __str__(self) -> str:
        return self.kind


Feature = ArrayFeature | ImageFeature | PlainFeature


def is_optional(feature: Feature) -> bool:
    """Return whether a caller may leave an input out."""
    return isinstance(feature, ArrayFeature) and feature.optional


def read_features(messages: Any, place: str) -> dict[str, Feature]:
    """Return the features of a description, by name."""
    features: dict[str, Feature] = {}
    for message in messages:
        feature = _read(message, place)
        # A converter may list an output twice, to no harm; two features of one name are another matter.
        if features.get(message.name, feature) != feature:
            raise ModelError(f"{place}: two features are called {message.name!r}")
        features[message.name] = feature
    return features


def _read(message: Any, place: str) -> Feature:
    kind = message.type.WhichOneof("Type")
    if kind == "multiArrayType":
        return _read_array(message.name, message.type.multiArrayType, message.type.isOptional, place)
    if kind == "stateType":
        return _read_array(message.name, message.type.stateType.arrayType, False, place)
    if kind == "imageType":
        return read_image(message.name, message.type.imageType, place)
    if kind is None:
        raise ModelError(f"{place}: feature {message.name!r} has no type")
    return PlainFeature(message.name, kind.removesuffix("Type"))


def _read_array(name: str, message: Any, optional: bool, place: str) -> ArrayFeature:
    if message.dataType not in _ARRAY_TYPES:
        raise ModelError(f"{place}: feature {name!r} has the unknown array type {message.dataType}")
    ranges = enumerated = None
    flexibility = message.WhichOneof("ShapeFlexibility")
    if flexibility == "shapeRange":
        ranges = tuple(
            (r.lowerBound, None if r.upperBound < 0 else r.upperBound) for r in message.shapeRange.sizeRanges
        )
    elif flexibility == "enumeratedShapes":
        enumerated = tuple(tuple(s.shape) for s in message.enumeratedShapes.shapes)
    default_kind = message.WhichOneof("defaultOptionalValue")
    default = getattr(message, default_kind) if default_kind else 0.0
    dtype = _ARRAY_TYPES[message.dataType]
    return ArrayFeature(name, dtype, tuple(message.shape), ranges, enumerated, optional, default)


def to_tensor(feature: Feature, declared: Type, value: Any) -> Tensor:
    """Return a caller's value as the program's input; a ValueError that says what is allowed if it is not."""
    if isinstance(feature, ImageFeature):
        return feature.to_tensor(value)
    if not isinstance(feature, ArrayFeature) or not isinstance(declared, TensorType):
        raise ModelError(f"input {feature.name!r} is a {feature}, which no ML program takes")
    what = f"input {feature.name!r}"
    if isinstance(value, np.ndarray) and value.dtype == _NUMPY_TYPES.get(declared.dtype) and value.flags.carray:
        return torch.from_numpy(_fit_shape(what, feature, declared, value))
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{what} is not an array: {error}") from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what} has the dtype {array.dtype}, allowed are numbers ({feature.dtype})")
    array = _fit_shape(what, feature, declared, array)
    dtype = declared.dtype
    array = array.astype(_NUMPY_FLOATS[dtype], copy=False) if dtype.is_float else _integers(what, array, dtype)
    # The caller's own memory where it will do: nothing ever writes into an input.
    return torch.from_numpy(array if array.flags.carray else np.require(array, requirements=["C", "W"]))


def _fit_shape(what: str, feature: ArrayFeature, declared: TensorType, array: np.ndarray[Any, Any]) -> Any:
    if declared.shape == () and array.shape in ((), (1,)):
        return array.reshape(())
    unspecified = not feature.shape and feature.ranges is None and feature.enumerated is None
    if unspecified or feature.allows(array.shape):
        return array
    raise ValueError(f"{what} has the shape {array.shape}, allowed is {feature.shapes()}")


def _integers(what: str, array: np.ndarray[Any, Any], dtype: dtypes.DType) -> Any:
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ValueError(f"{what} has values that are not finite where {dtype} is wanted")
        if (array != np.trunc(array)).any():
            raise ValueError(f"{what} has fractions where {dtype} is wanted")
    if dtype is dtypes.BOOL:
        return array.astype(np.bool_, copy=False)
    low, high = _LIMITS[dtype]
    if array.size and (array.min() < low or array.max() > high):
        raise ValueError(f"{what} has values outside {low} to {high} where {dtype} is wanted")
    return array.astype(_NUMPY_INTEGERS[dtype.storage], copy=False)


def to_numpy(feature: Feature, value: Any, exact_type: bool, kept: set[int], taken: set[int]) -> Any:
    """Return a result as Core ML gives it; ``exact_type`` off leaves floating-point results in the precision computed.

    ``kept`` and ``taken`` are the addresses of memory that the model or the caller holds already: a result there is
    copied, any other is the caller's from now on.
    """
    if isinstance(feature, ImageFeature):
        return feature.to_image(value)
    if not isinstance(value, Tensor):
        return value
    if isinstance(feature, PlainFeature):
        return value.item()
    value = value.reshape(1) if value.dim() == 0 else value
    array = value.to(torch.float32).numpy() if value.dtype is torch.bfloat16 else value.numpy()
    if exact_type or array.dtype.kind != "f" or feature.dtype.kind != "f":
        array = array.astype(feature.dtype, copy=False)
    storage = value.untyped_storage()
    address = storage.data_ptr()
    if address in taken or address in kept or storage.nbytes() != array.nbytes:
        return np.array(array)
    taken.add(address)
    return array


_NUMPY_FLOATS = {dtypes.FP16: np.float16, dtypes.FP32: np.float32, dtypes.FP64: np.float64, dtypes.BF16: np.float32}
_NUMPY_INTEGERS = {
    torch.int8: np.int8,
    torch.uint8: np.uint8,
    torch.int16: np.int16,
    torch.int32: np.int32,
    torch.int64: np.int64,
}
_NUMPY_TYPES = {
    dtypes.FP16: np.dtype(np.float16),
    dtypes.FP32: np.dtype(np.float32),
    dtypes.INT8: np.dtype(np.int8),
    dtypes.INT32: np.dtype(np.int32),
}
"""Arrays of these types are taken as they are."""
_LIMITS = {
    dtypes.INT8: (-(2**7), 2**7 - 1),
    dtypes.INT16: (-(2**15), 2**15 - 1),
    dtypes.INT32: (-(2**31), 2**31 - 1),
    dtypes.INT64: (-(2**63), 2**63 - 1),
    dtypes.UINT8: (0, 2**8 - 1),
    dtypes.UINT16: (0, 2**16 - 1),
    dtypes.UINT32: (0, 2**32 - 1),
}
