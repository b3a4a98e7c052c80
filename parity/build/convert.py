"""From a stage's traceable module to a Core ML package: trace, convert, compress, join. No stage and no system is
special."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import torch
from coremltools.optimize.coreml import (
    OpLinearQuantizerConfig,
    OpPalettizerConfig,
    OptimizationConfig,
    get_weights_metadata,
    linear_quantize_weights,
    palettize_weights,
)
from torch import nn

from parity.declarations import Dim, Stage, Tensor, Variant

WEIGHTED = ("linear", "conv", "conv_transpose", "matmul")
"""Ops whose constants are weights. Tables that are only looked up keep their precision."""
_NUMPY = {"float16": np.float16, "float32": np.float32, "int32": np.int32}


class ConversionError(Exception):
    """A package could not be made from a stage."""


def traceable(stage: Stage, upstream: Any) -> nn.Module:
    """The module that is traced: hop 1 compares this one with upstream. Folds the weight norms of `upstream`."""
    module = stage.module(upstream).eval().requires_grad_(False)
    for part in module.modules():
        hooks = list(part._forward_pre_hooks.values())
        if any(type(hook).__name__ == "WeightNorm" for hook in hooks):
            torch.nn.utils.remove_weight_norm(part)
    return module


def call(module: nn.Module, stage: Stage, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs a traceable module on named arrays."""
    with torch.no_grad():
        results = module(*(torch.from_numpy(inputs[name].copy()) for name in stage.inputs))
    results = (results,) if isinstance(results, torch.Tensor) else results
    return {name: value.numpy() for name, value in zip(stage.outputs, results, strict=True)}


def convert(stage: Stage, variant: Variant, module: nn.Module, package: Path, facts: Mapping[str, str]) -> None:
    """Writes the package of one variant, uncompressed, with `facts` in its user-defined metadata."""
    held = stage.held(variant)
    examples = dict(zip(stage.inputs, _examples(stage), strict=True))
    traceable = Holding(module, stage, held, examples) if held else module
    given = [name for name in stage.inputs if name not in held.values()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
            traceable, tuple(examples[name] for name in given), strict=False, check_trace=False
        )
        try:
            model = ct.convert(
                traced,
                convert_to="mlprogram",
                inputs=_input_types(stage, variant, given),
                outputs=[
                    ct.TensorType(name=name, dtype=_NUMPY[tensor.dtype_in(variant)])
                    for name, tensor in stage.outputs.items()
                    if name not in held
                ],
                states=[
                    ct.StateType(ct.TensorType(shape=stage.inputs[source].sizes({}), dtype=np.float16), name=source)
                    for source in held.values()
                ]
                or None,
                compute_precision=ct.precision[variant.precision.upper()],
                compute_units=ct.ComputeUnit[stage.units(variant)],
                minimum_deployment_target=getattr(ct.target, "iOS18" if held else stage.target),
                skip_model_load=True,
            )
        except Exception as error:
            raise ConversionError(f"{stage.name} {variant.name}: coremltools could not convert it: {error}") from error
    _save(model, package, facts)


class Holding(nn.Module):
    """A stage's module that keeps what the variant holds in buffers, which the converter makes Core ML states of."""

    def __init__(
        self, module: nn.Module, stage: Stage, held: Mapping[str, str], examples: Mapping[str, torch.Tensor]
    ) -> None:
        super().__init__()
        self.module = module
        self.held = dict(held)
        self.outputs, self.inputs = list(stage.outputs), list(stage.inputs)
        for source in held.values():
            self.register_buffer(source, torch.zeros_like(examples[source]))

    def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rest = iter(given)
        inputs = [getattr(self, name) if name in self.held.values() else next(rest) for name in self.inputs]
        outputs = dict(zip(self.outputs, self.module(*inputs), strict=True))
        for name, source in self.held.items():
            getattr(self, source)[:] = outputs[name]
        return tuple(value for name, value in outputs.items() if name not in self.held)


def quantize(spared: Collection[str], source: Path, package: Path, facts: Mapping[str, str]) -> None:
    """Writes the package at `source` again with its weights as int8, one scale for each output channel, but for those
    whose names begin with one of `spared`."""
    model = ct.models.MLModel(str(source), skip_model_load=True)
    prefixes = tuple(_spelled(part) for part in spared)
    kept = {name: None for name in get_weights_metadata(model, weight_threshold=0) if name.startswith(prefixes)}
    if missing := [part for part in spared if not any(name.startswith(_spelled(part)) for name in kept)]:
        raise ConversionError(f"{source.name}: no weight is named after {', '.join(missing)}, which is to be spared")
    config = OptimizationConfig(
        op_type_configs=dict.fromkeys(WEIGHTED, OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)),
        op_name_configs=kept,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = linear_quantize_weights(model, config)
    _save(model, package, facts)


def _spelled(module: str) -> str:
    return module.replace(".", "_")


def palettizer(bits: int) -> OpPalettizerConfig:
    return OpPalettizerConfig(mode="kmeans", nbits=bits)


def palettize(bits: int, source: Path, package: Path, facts: Mapping[str, str]) -> None:
    """Writes the package at `source` again with its weights clustered to 2^bits values each."""
    config = OptimizationConfig(global_config=palettizer(bits))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = palettize_weights(ct.models.MLModel(str(source), skip_model_load=True), config)
    _save(model, package, facts)


def join(stage: Stage, packages: Mapping[str, Path], package: Path, facts: Mapping[str, str]) -> None:
    """Writes a pipeline of the packages of a stage's parts, one after another: what one gives, those behind it take by
    its name. Spelled out, since `make_pipeline` loads what it makes, checks no type, leaves out an output that a later
    model takes, and lists twice what two models give."""
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
        _save(ct.models.MLModel(whole, weights_dir=weights, skip_model_load=True), package, facts)


def _connect(stage: Stage, part: str, spec: Any, known: dict[str, Any]) -> None:
    """Takes the inputs of a part from what is `known`, as the pipeline's own or of the parts before, and adds what it
    gives."""
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
    return str(ct.proto.FeatureTypes_pb2.ArrayFeatureType.ArrayDataType.Name(array.dataType)).lower()


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


def _save(model: Any, package: Path, facts: Mapping[str, str]) -> None:
    model.user_defined_metadata.update(facts)
    model.save(str(package))


def _examples(stage: Stage) -> tuple[torch.Tensor, ...]:
    """Inputs to trace with: ones for integers, small distinct values for the rest. A graph must not depend on them."""
    generator = torch.Generator().manual_seed(0)
    examples = []
    for tensor in stage.inputs.values():
        shape = tensor.sizes(stage.trace_at)
        if tensor.dtype == "int32":
            examples.append(torch.ones(shape, dtype=torch.int32))
        else:
            examples.append(torch.rand(shape, generator=generator) + 0.5)
    return tuple(examples)


def _input_types(stage: Stage, variant: Variant, given: Collection[str]) -> list[ct.TensorType]:
    ranges: dict[Dim, ct.RangeDim] = {}

    def size(declared: int | Dim) -> Any:
        if not isinstance(declared, Dim):
            return declared
        return ranges.setdefault(
            declared,
            ct.RangeDim(
                declared.at(declared.low),
                declared.at(declared.high),
                default=declared.at(stage.trace_at[declared.name]),
            ),
        )

    def shape(tensor: Tensor) -> tuple[Any, ...]:
        return tuple(size(declared) for declared in tensor.shape)

    return [
        ct.TensorType(name=name, shape=shape(tensor), dtype=_NUMPY[tensor.dtype_in(variant)])
        for name, tensor in stage.inputs.items()
        if name in given
    ]
