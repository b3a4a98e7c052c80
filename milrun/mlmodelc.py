"""A compiled model, a ``.mlmodelc`` folder: the specification that it was compiled from, as far as milrun needs it.

``model.mil`` holds the program as text. ``coremldata.bin`` holds the description of inputs and outputs within a header
that is not documented, and ``metadata.json`` says the same in words. A pipeline has its parts in folders of their own.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from math import nan
from typing import Any

from google.protobuf.message import DecodeError

from milrun.errors import ModelError
from milrun.protobuf import model_class

PROGRAM, METADATA, DESCRIPTION = "model.mil", "metadata.json", "coremldata.bin"
_LENGTH = struct.Struct("<Q")
_MAX_HEADER = 1 << 12
_ARRAYS = {"Float16": 65552, "Float32": 65568, "Double": 65600, "Float64": 65600, "Int8": 131080, "Int32": 131104}
_COLORS = {"gray": 10, "grayscale": 10, "rgb": 20, "bgr": 30, "grayscalefloat16": 40}
_UNREAD = f"which milrun can't read from {METADATA}: keep {DESCRIPTION} beside it, or load the package"


def described(program: Any, metadata: Any, data: bytes, place: str) -> Any:
    """Return the ``Model`` message of a compiled ML program.

    Parameters
    ----------
    program
        The ``MILSpec.Program`` message.
    metadata
        The content of ``metadata.json``, or None where there is none.
    data
        The content of ``coremldata.bin``, empty where there is none.
    place
        The folder, as error messages name it.
    """
    spec = model_class()()
    spec.mlProgram.CopyFrom(program)
    if isinstance(metadata, dict) and isinstance(metadata.get("specificationVersion"), int):
        spec.specificationVersion = metadata["specificationVersion"]
    found = next((found for found in _descriptions(data) if _fits(found, program)), None)
    if found is not None:
        spec.description.CopyFrom(found)
    else:
        describe(spec.description, metadata, place)
    return spec


def describe(description: Any, metadata: Any, place: str) -> None:
    """Fill a description from the schemas of ``metadata.json``."""
    if not isinstance(metadata, dict):
        raise ModelError(
            f"{place}: neither {DESCRIPTION} nor {METADATA} describes its inputs and outputs: compile the model again, "
            "or download the whole folder"
        )
    for key, features in (
        ("inputSchema", description.input),
        ("outputSchema", description.output),
        ("stateSchema", description.state),
    ):
        for entry in metadata.get(key) or ():
            try:
                _feature(features.add(), entry, key == "stateSchema")
            except (KeyError, ValueError, TypeError) as error:
                raise ModelError(f"{place}: {METADATA}, {key}: {type(error).__name__}: {error}") from error


def model_type(metadata: Any) -> str:
    """Return the type of model that ``metadata.json`` names, such as ``mlProgram``; empty where it names none."""
    found = metadata.get("modelType") if isinstance(metadata, dict) else None
    name = found.get("name") if isinstance(found, dict) else None
    return name.removeprefix("MLModelType_") if isinstance(name, str) else ""


def layers(metadata: Any) -> str:
    """Return the layers of a neural network as ``metadata.json`` counts them, such as ``Convolution (13)``."""
    found = metadata.get("neuralNetworkLayerTypeHistogram") if isinstance(metadata, dict) else None
    counted = sorted(found.items()) if isinstance(found, dict) else []
    return ", ".join(f"{name} ({count})" for name, count in counted)


def parse_metadata(text: bytes, place: str) -> Any:
    """Return the one entry of a ``metadata.json``."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{place}: not valid JSON: {error}") from error
    entry = content[0] if isinstance(content, list) and len(content) == 1 else content
    if not isinstance(entry, dict):
        raise ModelError(f"{place}: one description of a model expected")
    return entry


def _descriptions(data: bytes) -> Iterator[Any]:
    """Yield every run of bytes in ``coremldata.bin`` that reads as a description, each behind its length."""
    message = type(model_class()().description)
    for start in range(min(len(data), _MAX_HEADER) - _LENGTH.size):
        (length,) = _LENGTH.unpack_from(data, start)
        begin = start + _LENGTH.size
        if 0 < length <= len(data) - begin:
            try:
                yield message.FromString(data[begin : begin + length])
            except (DecodeError, RecursionError):
                continue


def _fits(description: Any, program: Any) -> bool:
    """Return whether a description names exactly what the program's functions take and give."""
    described = {one.name: one for one in description.functions} or {"main": description}
    if described.keys() != program.functions.keys():
        return False
    for name, one in described.items():
        function = program.functions[name]
        if function.opset not in function.block_specializations:
            return False
        taken = {feature.name for feature in (*one.input, *one.state)}
        given = {feature.name for feature in one.output}
        if taken != {typed.name for typed in function.inputs}:
            return False
        if given != set(function.block_specializations[function.opset].outputs):
            return False
    return True


def _feature(feature: Any, entry: Any, state: bool) -> None:
    feature.name = entry["name"]
    feature.type.isOptional = entry.get("isOptional") == "1"
    if entry["type"] == "Image":
        feature.type.imageType.width, feature.type.imageType.height = int(entry["width"]), int(entry["height"])
        if entry.get("hasSizeFlexibility", "0") != "0":
            raise ValueError(f"{entry['name']!r} is an image of flexible sizes, {_UNREAD}")
        color = re.sub("[^a-z0-9]", "", str(entry.get("colorspace")).lower())
        if color not in _COLORS:
            raise ValueError(f"{entry['name']!r} has the colour space {entry.get('colorspace')!r}, {_UNREAD}")
        feature.type.imageType.colorSpace = _COLORS[color]
        return
    if entry["type"] not in ("MultiArray", "State") or entry["dataType"] not in _ARRAYS:
        raise ValueError(f"{entry['name']!r} is a {entry.get('formattedType') or entry['type']}, which is not known")
    array = feature.type.stateType.arrayType if state else feature.type.multiArrayType
    array.dataType = _ARRAYS[entry["dataType"]]
    array.shape.extend(json.loads(entry["shape"]))
    if feature.type.isOptional:
        array.doubleDefaultValue = nan  # a default is not written here
    if entry.get("hasShapeFlexibility") != "1":
        return
    if "enumeratedShapes" in entry:
        for shape in json.loads(entry["enumeratedShapes"]):
            array.enumeratedShapes.shapes.add().shape.extend(shape)
    else:
        for low, high in json.loads(entry["shapeRange"]):
            size = array.shapeRange.sizeRanges.add()
            size.lowerBound, size.upperBound = low, high
