"""Compiled models as Core ML's compiler lays them out, made of packages: text, description, metadata, weights."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any, Literal

from milrun.package import Package
from milrun.text.writer import write_program

Described = Literal["coremldata.bin", "metadata.json"]
_TYPES = {65552: "Float16", 65568: "Float32", 65600: "Double", 131104: "Int32"}


def compile_package(package: Path, folder: Path, described: Described = "coremldata.bin") -> Path:
    """Write a package as a compiled model, its inputs and outputs described in one of the two files."""
    spec = Package(package).spec()
    _write(spec, folder, described)
    if spec.WhichOneof("Type") == "mlProgram":
        shutil.copytree(package / "Data/com.apple.CoreML/weights", folder / "weights", dirs_exist_ok=True)
        return folder
    for index, part in enumerate(spec.pipeline.models):
        _write(part, folder / f"model{index}", described)
        shutil.copytree(package / "Data/com.apple.CoreML/weights", folder / f"model{index}/weights")
    return folder


def _write(spec: Any, folder: Path, described: Described) -> None:
    folder.mkdir(parents=True)
    kind = spec.WhichOneof("Type")
    metadata: dict[str, Any] = {
        "specificationVersion": spec.specificationVersion,
        "modelType": {"name": f"MLModelType_{kind}"},
    }
    if kind == "mlProgram":
        (folder / "model.mil").write_text(write_program(spec.mlProgram, str(folder)))
    if described == "coremldata.bin" and kind == "mlProgram":
        data = spec.description.SerializeToString()
        header = struct.pack("<IIQQ", 502, 5, 0, 0) + b"generic"
        (folder / "coremldata.bin").write_bytes(header + struct.pack("<Q", len(data)) + data + bytes(16))
    else:
        metadata["inputSchema"] = [_schema(feature) for feature in spec.description.input]
        metadata["outputSchema"] = [_schema(feature) for feature in spec.description.output]
        metadata["stateSchema"] = [_schema(feature) for feature in spec.description.state]
    (folder / "metadata.json").write_text(json.dumps([metadata]))


def _schema(feature: Any) -> dict[str, str]:
    kind = feature.type.WhichOneof("Type")
    array = feature.type.stateType.arrayType if kind == "stateType" else feature.type.multiArrayType
    flexible = array.WhichOneof("ShapeFlexibility")
    entry = {
        "name": feature.name,
        "type": "State" if kind == "stateType" else "MultiArray",
        "dataType": _TYPES[array.dataType],
        "shape": str(list(array.shape)),
        "isOptional": "1" if feature.type.isOptional else "0",
        "hasShapeFlexibility": "1" if flexible else "0",
    }
    if flexible == "shapeRange":
        entry["shapeRange"] = str([[size.lowerBound, size.upperBound] for size in array.shapeRange.sizeRanges])
    elif flexible == "enumeratedShapes":
        entry["enumeratedShapes"] = str([list(shape.shape) for shape in array.enumeratedShapes.shapes])
    return entry
