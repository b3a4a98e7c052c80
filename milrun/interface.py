"""Agreement between the description of a model and its program, checked before use."""

from __future__ import annotations

from milrun import dtypes
from milrun.blob import count
from milrun.errors import ModelError
from milrun.features import ArrayFeature, Feature, PlainFeature
from milrun.images import ImageFeature
from milrun.program import Function, StateType, TensorType

_NOT_TAKEN = (dtypes.STRING, dtypes.UINT64)


def check_interface(
    place: str,
    function: Function,
    inputs: dict[str, Feature],
    outputs: dict[str, Feature],
    states: dict[str, Feature],
    limit: int,
) -> None:
    """Check names, kinds, ranks and element types. ``limit`` bounds the bytes of an input or of all states."""
    types = dict(function.inputs)
    for name, type in function.inputs:
        if name not in (states if isinstance(type, StateType) else inputs):
            raise ModelError(f"{place}: the program's input {name!r} ({type}) is not described")
    for name, feature in (inputs | states).items():
        if name not in types:
            raise ModelError(f"{place}: the described input {name!r} ({feature}) is none of the program's")
        if isinstance(feature, PlainFeature):
            raise ModelError(f"{place}: input {name!r} is a {feature}, which no ML program takes")
    for name, feature in (inputs | outputs | states).items():
        if _bytes_of(place, name, feature) > limit:
            raise ModelError(f"{place}: feature {name!r} is {feature}, larger than the package justifies")
    for name, feature in inputs.items():
        declared = types[name]
        if not isinstance(declared, TensorType) or declared.dtype in _NOT_TAKEN or declared.dtype.bits < 8:
            raise ModelError(f"{place}: input {name!r} is described as {feature}, the program has {declared}")
    for name, feature in states.items():
        declared = types[name]
        wrapped = declared.wrapped if isinstance(declared, StateType) else None
        described = feature.shape if isinstance(feature, ArrayFeature) else None
        if described is None or not isinstance(wrapped, TensorType) or wrapped.shape != described:
            raise ModelError(f"{place}: state {name!r} is described as {feature}, the program has {declared}")
    if sum(_bytes_of(place, name, feature) for name, feature in states.items()) > limit:
        raise ModelError(f"{place}: the states are larger than the package justifies")


def _bytes_of(place: str, name: str, feature: Feature) -> int:
    """Return the size of the shape that a feature was made with."""
    if isinstance(feature, PlainFeature):
        return 0
    shape = (feature.height, feature.width) if isinstance(feature, ImageFeature) else feature.shape
    if min(shape, default=0) < 0:
        raise ModelError(f"{place}: feature {name!r} has a negative size: {shape}")
    return count(shape) * (4 if isinstance(feature, ImageFeature) else feature.dtype.itemsize)
