"""From a stage's traceable module to a Core ML package: trace, convert, compress, join. Knows no stage and no system.

Importing coremltools takes seconds. So the functions that build import it, and a run that finds all built does not.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from parity.base.files import with_room
from parity.build.palettes import Palettes
from parity.declarations import Dim, Stage, Tensor, Variant

WEIGHTED = ("linear", "conv", "conv_transpose", "matmul", "lstm")
"""Ops whose constants are weights. Tables that are only looked up keep their precision."""
_ROOM = 4 << 20
"""Bytes that a conversion may write besides the weights."""
_NUMPY = {"float16": np.float16, "float32": np.float32, "int32": np.int32}


class ConversionError(Exception):
    """A package could not be made from a stage."""


def traceable(stage: Stage, upstream: Any) -> nn.Module:
    """Return the module that is traced, which the module check compares with upstream.

    Folds the weight norms of `upstream` in place.
    """
    module = stage.module(upstream).eval().requires_grad_(False)
    for part in module.modules():
        hooks = list(part._forward_pre_hooks.values())
        if any(type(hook).__name__ == "WeightNorm" for hook in hooks):
            torch.nn.utils.remove_weight_norm(part)
    return module


def call(module: nn.Module, stage: Stage, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a traceable module on named arrays."""
    with torch.no_grad():
        results = module(*(torch.from_numpy(inputs[name].copy()) for name in stage.inputs))
    results = (results,) if isinstance(results, torch.Tensor) else results
    return {name: value.numpy() for name, value in zip(stage.outputs, results, strict=True)}


def convert(stage: Stage, variant: Variant, module: nn.Module, package: Path, facts: Mapping[str, str]) -> None:
    """Write the uncompressed package of one variant, with `facts` in its user-defined metadata."""
    weights = sum(part.numel() * part.element_size() for part in (*module.parameters(), *module.buffers()))
    with _room(weights, package):
        _convert(stage, variant, module, package, facts)


def _room(weights: int, package: Path) -> AbstractContextManager[None]:
    """Return a context in which a full disk is told as one. coremltools writes to a temporary folder, and copies."""
    return with_room(2 * weights + _ROOM, Path(tempfile.gettempdir()), package.parent)


def _convert(stage: Stage, variant: Variant, module: nn.Module, package: Path, facts: Mapping[str, str]) -> None:
    import coremltools as ct

    held = stage.held(variant)
    traced_with = dict(zip(stage.inputs, examples(stage), strict=True))
    traceable = Holding(module, stage, held, traced_with) if held else module
    given = [name for name in stage.inputs if name not in held.values()]
    with warnings.catch_warnings(), torch.no_grad():  # gradients would keep every value alive
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
            traceable, tuple(traced_with[name] for name in given), strict=False, check_trace=False
        )
        try:
            model = _unhindered(
                ct.convert,
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
                minimum_deployment_target=getattr(ct.target, "iOS18" if held else variant.target or stage.target),
                skip_model_load=True,
            )
        except Exception as error:
            raise ConversionError(f"{stage.name} {variant.name}: coremltools could not convert it: {error}") from error
    save(model, package, facts)


def _unhindered(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Call a function of coremltools without what takes more than half of its time, and return the model it makes.

    It validates the whole program after each of some hundred passes; here that is done once, at the end. And it makes
    so many objects that each search for garbage takes long, and finds next to none.
    """
    from coremltools.converters.mil.mil import Program

    collecting = gc.isenabled()
    gc.disable()
    try:
        with patch.object(Program, "validate", lambda *_, **__: None):
            model = function(*given, **named)
    finally:
        if collecting:
            gc.enable()
    model._mil_program.validate()
    return model


class Holding(nn.Module):
    """A stage's module with the variant's held values in buffers, which the converter turns into Core ML states."""

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


def compress(variant: Variant, source: Path, package: Path, facts: Mapping[str, str], palettes: Palettes) -> None:
    """Write the package at `source` again with the weights of a variant: pruned, palettized or quantized."""
    import coremltools as ct

    stored = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    with _room(stored, package):
        model = ct.models.MLModel(str(source), skip_model_load=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if variant.prune:
                model = _pruned(model, variant.prune)
            if variant.palettize:
                model = _palettized(model, palettes.config(variant.palettize))
            if variant.quantize:
                model = _quantized(model, variant, source)
            if variant.group:
                model = _grouped(model, variant)
        save(model, package, facts)


def _quantized(model: Any, variant: Variant, source: Path) -> Any:
    """Give weights eight bits and a scale per output channel; those that the variant spares keep their precision."""
    from coremltools.optimize import coreml

    prefixes = tuple(_spelled(part) for part in variant.spared)
    kept = {name: None for name in coreml.get_weights_metadata(model, weight_threshold=0) if name.startswith(prefixes)}
    if missing := [part for part in variant.spared if not any(name.startswith(_spelled(part)) for name in kept)]:
        raise ConversionError(
            f"{source.name}: no weight's name begins with {', '.join(missing)}; correct `spared` of the variant"
        )
    mode = "linear" if variant.zero_points else "linear_symmetric"
    linear = coreml.OpLinearQuantizerConfig(mode=mode, weight_threshold=variant.fewest - 1)
    config = coreml.OptimizationConfig(op_type_configs=dict.fromkeys(WEIGHTED, linear), op_name_configs=kept)
    return _unhindered(coreml.linear_quantize_weights, model, config)


def _grouped(model: Any, variant: Variant) -> Any:
    """Give the weights of linear layers four bits, and a scale to each group of values along a row."""
    from coremltools.optimize import coreml

    grouped = coreml.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype="int4",
        granularity="per_block",
        block_size=variant.group,
        weight_threshold=variant.fewest - 1,
    )
    return _unhindered(
        coreml.linear_quantize_weights, model, coreml.OptimizationConfig(op_type_configs={"linear": grouped})
    )


def _spelled(module: str) -> str:
    return module.replace(".", "_")


def _palettized(model: Any, config: Any) -> Any:
    from coremltools.optimize import coreml

    return _unhindered(coreml.palettize_weights, model, coreml.OptimizationConfig(global_config=config))


def _pruned(model: Any, magnitude: float) -> Any:
    """Set smaller weights to zero, in tensors of which these are at least half; others stay as they are."""
    from coremltools.optimize import coreml

    small = coreml.OpThresholdPrunerConfig(threshold=magnitude, minimum_sparsity_percentile=0.5)
    return _unhindered(coreml.prune_weights, model, coreml.OptimizationConfig(global_config=small))


def save(model: Any, package: Path, facts: Mapping[str, str]) -> None:
    """Write a coremltools model as a package, with `facts` in its user-defined metadata."""
    model.user_defined_metadata.update(facts)
    model.save(str(package))


def examples(stage: Stage) -> tuple[torch.Tensor, ...]:
    """Return inputs to trace a stage's module with: ones for integers, distinct small values for the rest.

    The traced graph must not depend on their values. A trace keeps every value alive: at the size of a large bucket it
    would need the memory of all of them.
    """
    generator = torch.Generator().manual_seed(0)
    declared = (stage.whole or stage).inputs.values()
    dims = (size for tensor in declared for size in tensor.shape if isinstance(size, Dim))
    sizes = {dim.name: stage.bucket for dim in dims if dim.buckets and stage.bucket} | dict(stage.trace_at)
    examples = []
    for tensor in declared:
        shape = tensor.sizes(sizes)
        if tensor.dtype == "int32":
            examples.append(torch.ones(shape, dtype=torch.int32))
        else:
            examples.append(torch.rand(shape, generator=generator) + 0.5)
    return tuple(examples)


def _input_types(stage: Stage, variant: Variant, given: Collection[str]) -> list[Any]:
    import coremltools as ct

    ranges: dict[Dim, Any] = {}

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

    def shape(tensor: Tensor) -> Any:
        dim = next((size for size in tensor.shape if isinstance(size, Dim) and size.buckets), None)
        if dim:
            shapes = [tensor.sizes({dim.name: bucket}) for bucket in dim.buckets]
            return ct.EnumeratedShapes(shapes, default=tensor.sizes(stage.trace_at))
        return tuple(size(declared) for declared in tensor.shape)

    return [
        ct.TensorType(name=name, shape=shape(tensor), dtype=_NUMPY[tensor.dtype_in(variant)])
        for name, tensor in stage.inputs.items()
        if name in given
    ]


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
