"""From traceable modules to an ExecuTorch program: each stage is exported to a method, and lowered for XNNPACK.

Importing ExecuTorch takes seconds. So the functions that build import it, and a run that finds all built does not.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from parity.build.convert import ConversionError, examples
from parity.declarations import METADATA, Dim, Stage

PROGRAM = "model.pte"


def write(
    stages: Sequence[Stage],
    modules: Mapping[str, nn.Module],
    path: Path,
    facts: Mapping[str, str],
    contract: Mapping[str, float],
) -> None:
    """Write a program with a method for each stage.

    Args:
        stages: The stages.
        modules: The traceable module of each.
        path: The `.pte`.
        facts: What the program is to remember of its making.
        contract: Numbers that the program tells by methods of their names.
    """
    try:
        import executorch.exir  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConversionError(
            f"{path.name}: a .pte cannot be built without executorch: make extra-executorch"
        ) from error
    logging.getLogger("torchao").setLevel(logging.ERROR)
    told = {stage.name: {"inputs": list(stage.inputs), "outputs": list(stage.outputs)} for stage in stages}
    metadata = json.dumps({"methods": told, "facts": dict(facts)})
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        path.write_bytes(_lowered(stages, modules, {METADATA: metadata, **contract}))


def _lowered(stages: Sequence[Stage], modules: Mapping[str, nn.Module], constants: Mapping[str, Any]) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    exported = {}
    for stage in stages:
        try:
            exported[stage.name] = torch.export.export(
                modules[stage.name], examples(stage), dynamic_shapes=_dynamic(stage), strict=False
            )
        except Exception as error:
            raise ConversionError(f"{stage.name}: torch.export could not export it: {error}") from error
    try:
        lowered = to_edge_transform_and_lower(
            exported,
            partitioner={stage.name: [] if stage.portable else [XnnpackPartitioner()] for stage in stages},
            constant_methods=dict(constants),
        )
        return bytes(lowered.to_executorch().buffer)
    except Exception as error:
        raise ConversionError(f"{', '.join(exported)}: executorch could not lower it: {error}") from error


def _dynamic(stage: Stage) -> tuple[dict[int, Any], ...] | None:
    """Return torch's description of the dynamic sizes of each input; None for a stage of fixed sizes.

    A module that takes its caches by `*caches` has fewer parameters than inputs, so that only None describes it.
    """
    known: dict[str, Any] = {}

    def size(declared: Dim) -> Any:
        root = known.setdefault(declared.name, torch.export.Dim(declared.name, min=declared.low, max=declared.high))
        scaled = declared.scale * root if declared.scale != 1 else root
        return scaled + declared.offset if declared.offset else scaled

    found = tuple(
        {axis: size(declared) for axis, declared in enumerate(tensor.shape) if isinstance(declared, Dim)}
        for tensor in stage.inputs.values()
    )
    return found if known else None
