"""Core ML pipelines: one package of the packages of a stage's parts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from parity.build.convert import ConversionError, save
from parity.declarations import Stage


def join(stage: Stage, packages: Mapping[str, Path], package: Path, facts: Mapping[str, str]) -> None:
    """Write a pipeline of the packages of a stage's parts, in their order.

    A part takes its inputs by name from the outputs of the parts before it. coremltools' `make_pipeline` is not used:
    it loads the model, checks no types, drops an output that a later part takes, and lists a shared output twice.
    """
    import coremltools as ct

    whole = ct.proto.Model_pb2.Model()
    known: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as weights:
        for index, (part, path) in enumerate(packages.items()):
            model = ct.models.MLModel(str(path), skip_model_load=True)
            spec = whole.pipeline.models.add()
            spec.CopyFrom(model.get_spec())
            whole.pipeline.names.append(part)
            if spec.description.state:
                raise ConversionError(f"{stage.name}: {part} has states, which a pipeline can't have")
            _connect(stage, part, spec, known)
            _rename_weights(spec, f"{index}-weight.bin")
            if (file := Path(model.weights_dir or "") / "weight.bin").is_file():
                shutil.copyfile(file, Path(weights) / f"{index}-weight.bin")
            whole.specificationVersion = max(whole.specificationVersion, spec.specificationVersion)
        given = {feature.name for spec in whole.pipeline.models for feature in spec.description.output}
        for kind, names, unknown in (
            ("input", stage.inputs, [name for name in stage.inputs if name not in known.keys() - given]),
            ("output", stage.outputs, [name for name in stage.outputs if name not in given]),
        ):
            if unknown:
                raise ConversionError(f"{stage.name}: no part has the {kind} {', '.join(unknown)}")
            getattr(whole.description, kind).extend(known[name] for name in names)
        save(ct.models.MLModel(whole, weights_dir=weights, skip_model_load=True), package, facts)


def _connect(stage: Stage, part: str, spec: Any, known: dict[str, Any]) -> None:
    """Check a part's inputs against the `known` features of the pipeline and add the part's outputs to them."""
    for taken in spec.description.input:
        if taken.name not in stage.inputs and taken.name not in known:
            raise ConversionError(f"{stage.name}: {part} takes {taken.name}, which no part before it gives")
        feature = known.setdefault(taken.name, taken)
        one, other = feature.type.multiArrayType, taken.type.multiArrayType
        if not one.shape and one.dataType == other.dataType:  # a description leaves out sizes that it does not know
            one.CopyFrom(other)
        if (one.dataType, one.shape) != (other.dataType, other.shape):
            was, wanted = (f"{_dtype(array)} {tuple(array.shape)}" for array in (one, other))
            raise ConversionError(f"{stage.name}: {part} takes {taken.name} as {wanted}, and is given {was}")
    for feature in spec.description.output:
        if feature.name in known:
            raise ConversionError(f"{stage.name}: {part} gives {feature.name}, which there is before it: rename it")
        known[feature.name] = feature


def _dtype(array: Any) -> str:
    from coremltools.proto import FeatureTypes_pb2

    return str(FeatureTypes_pb2.ArrayFeatureType.ArrayDataType.Name(array.dataType)).lower()


def _rename_weights(spec: Any, file: str) -> None:
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            for value in _values(block):
                if value.WhichOneof("value") == "blobFileValue":
                    value.blobFileValue.fileName = f"@model_path/weights/{file}"


def _values(block: Any) -> Iterator[Any]:
    for op in block.operations:
        yield from op.attributes.values()
        for argument in op.inputs.values():
            yield from (binding.value for binding in argument.arguments if binding.WhichOneof("binding") == "value")
        for inner in op.blocks:
            yield from _values(inner)
