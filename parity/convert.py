"""From a stage's traceable module to a Core ML package: trace, convert, compress. No stage and no system is special."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import torch
from coremltools.optimize.coreml import OpPalettizerConfig, OptimizationConfig, palettize_weights
from torch import nn

from parity.declarations import Dim, Stage, Tensor, Variant

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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(module, _examples(stage), strict=False, check_trace=False)  # type: ignore[no-untyped-call]
        try:
            model = ct.convert(
                traced,
                convert_to="mlprogram",
                inputs=_input_types(stage, variant),
                outputs=[
                    ct.TensorType(name=name, dtype=_NUMPY[tensor.dtype_in(variant)])
                    for name, tensor in stage.outputs.items()
                ],
                compute_precision=ct.precision[variant.precision.upper()],
                compute_units=ct.ComputeUnit[stage.compute_units],
                minimum_deployment_target=getattr(ct.target, stage.target),
                skip_model_load=True,
            )
        except Exception as error:
            raise ConversionError(f"{stage.name} {variant.name}: coremltools could not convert it: {error}") from error
    _save(model, package, facts)


def palettize(bits: int, source: Path, package: Path, facts: Mapping[str, str]) -> None:
    """Writes the package at `source` again with its weights clustered to 2^bits values each."""
    config = OptimizationConfig(global_config=OpPalettizerConfig(mode="kmeans", nbits=bits))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = palettize_weights(ct.models.MLModel(str(source), skip_model_load=True), config)
    _save(model, package, facts)


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


def _input_types(stage: Stage, variant: Variant) -> list[ct.TensorType]:
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
    ]
