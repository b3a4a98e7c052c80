"""From traceable modules to an ExecuTorch program: weights of few bits, a method for each stage, parts for XNNPACK.

Importing ExecuTorch and torchao takes seconds. So the functions that build import them, and a run that finds all built
does not.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parity.build.convert import ConversionError, examples
from parity.declarations import METADATA, Dim, Stage, Variant

PROGRAM = "model.pte"
TABLE_GROUP = 32
"""Values that share a scale in an embedding of 4 bits. In one of 8 bits those of a row do."""
SOUGHT: Mapping[str, tuple[str, ...]] = {
    "ConvertToUpsampleBilinear2d": ("index", "upsample"),
    "PropagateCustomMetaPass": ("quantize",),
    "ConvertToSDPAPass": ("softmax",),
    "FuseBatchNormPass": ("batch_norm",),
    "DecomposeBatchNorm": ("batch_norm",),
    "FuseActivationPass": ("relu", "hardtanh"),
    "DecomposeConcatenate": ("cat",),
    "RemoveGetItemPass": ("max",),
    "InsertPadQDQPass": ("quantize",),
    "Conv1dUnsqueezePass": ("convolution",),
    "PReLUReshapePass": ("prelu",),
    "RemoveRedundantCopyPass": ("to_copy",),
}
"""Parts of the names of ops without which a pass of XNNPACK changes nothing."""


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
    # Where oneDNN may take a convolution, torch asks whether that has more than 20,480 numbers, and takes the answer at
    # the traced size for an upper bound of dynamic sizes: the program would refuse what it is declared for.
    elsewhere = torch.backends.mkldnn.flags(enabled=False)
    with warnings.catch_warnings(), redirect_stderr(StringIO()), elsewhere:
        warnings.simplefilter("ignore")
        path.write_bytes(_lowered(stages, modules, {METADATA: metadata, **contract}))


def _lowered(stages: Sequence[Stage], modules: Mapping[str, nn.Module], constants: Mapping[str, Any]) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    exported = {}
    for stage in stages:
        _let_own(modules[stage.name])
        try:
            exported[stage.name] = torch.export.export(
                modules[stage.name], examples(stage), dynamic_shapes=_dynamic(stage), strict=False
            )
        except Exception as error:
            raise ConversionError(f"{stage.name}: torch.export could not export it: {error}") from error
    try:
        with _needed_passes():
            lowered = to_edge_transform_and_lower(
                exported,
                partitioner={stage.name: [] if stage.portable else [XnnpackPartitioner()] for stage in stages},
                constant_methods=dict(constants),
                # A third of the time; what comes out is run and judged.
                compile_config=EdgeCompileConfig(_check_ir_validity=False),
            )
        return bytes(lowered.to_executorch().buffer)
    except Exception as error:
        raise ConversionError(f"{', '.join(exported)}: executorch could not lower it: {error}") from error


def _let_own(module: nn.Module) -> None:
    """Give each weight that is a part of another tensor a storage of its own, with the same values.

    ExecuTorch 1.5.1 writes the beginning of the storage for it, whichever part it is.
    """
    for part in module.modules():
        for name, value in (*part._parameters.items(), *part._buffers.items()):
            plain = value is not None and type(value) in (Tensor, nn.Parameter)
            if value is not None and plain and value.untyped_storage().nbytes() > value.nbytes:
                own = value.detach().clone()
                setattr(part, name, own if type(value) is Tensor else nn.Parameter(own, requires_grad=False))


@contextmanager
def _needed_passes() -> Iterator[None]:
    """Leave out the passes of XNNPACK for ops that a graph does not have: each of all 17 traces it anew."""
    from executorch.backends.xnnpack import xnnpack_preprocess

    manager = xnnpack_preprocess.XNNPACKPassManager

    class Needed(manager):  # type: ignore[misc, valid-type]
        def transform(self) -> Any:
            program = self.exported_program
            for each in self.passes:
                ops = " ".join(str(node.target) for node in program.graph.nodes if node.op == "call_function")
                if any(op in ops for op in SOUGHT.get(each.__name__, ("",))):
                    program = manager(program, [each]).transform()
            return program

    xnnpack_preprocess.XNNPACKPassManager = Needed
    try:
        yield
    finally:
        xnnpack_preprocess.XNNPACKPassManager = manager


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


def quantized(module: nn.Module, stage: Stage, variant: Variant) -> nn.Module:
    """Return a module with the weights of a variant; a copy, since stages share the layers of the reference."""
    if not variant.group and not variant.tables:
        return module
    module = copy.deepcopy(module)
    if variant.group:
        _linear(module, stage, variant)
    if variant.tables:
        found = {name: part for name, part in module.named_modules() if type(part) is nn.Embedding}
        if not found:
            raise _refused(stage, variant, f"tables={variant.tables}, and it has no embedding")
        for name, part in found.items():
            columns = part.weight.shape[1]
            group = TABLE_GROUP if variant.tables == 4 else columns
            if columns % group:
                raise _refused(stage, variant, f"groups of {group} do not divide the {columns} columns of `{name}`")
            module.set_submodule(name, Table(part.weight, variant.tables, group))
    return module


def _linear(module: nn.Module, stage: Stage, variant: Variant) -> None:
    from torchao.quantization import quantize_
    from torchao.quantization.granularity import PerGroup
    from torchao.quantization.quant_api import Int8DynamicActivationIntxWeightConfig

    rows = {name: part.in_features for name, part in module.named_modules() if isinstance(part, nn.Linear)}
    if not rows:
        raise _refused(stage, variant, f"group={variant.group}, and it has no linear layer")
    if stage.portable:
        raise _refused(stage, variant, f"group={variant.group}, and no portable kernel multiplies int4 weights")
    if odd := [f"`{name}`, {size}" for name, size in rows.items() if size % (variant.group or 1)]:
        raise _refused(stage, variant, f"groups of {variant.group} do not divide the rows of {', '.join(odd)}")
    granularity = PerGroup(variant.group)
    quantize_(
        module,
        Int8DynamicActivationIntxWeightConfig(
            weight_dtype=torch.int4,  # type: ignore[attr-defined]
            weight_granularity=granularity,
        ),
    )


def _refused(stage: Stage, variant: Variant, why: str) -> ConversionError:
    return ConversionError(f"{stage.name} {variant.name}: {why}. Declare another variant for this stage")


class Table(nn.Module):
    """An embedding in few bits, in the form for which ExecuTorch has kernels."""

    packed: Tensor
    scales: Tensor

    def __init__(self, weight: Tensor, bits: int, group: int) -> None:
        super().__init__()
        import executorch.exir.passes._quant_patterns_and_replacements  # noqa: F401  (registers the ops)
        from torchao.quantization import IntxUnpackedToInt8Tensor

        made: Any = IntxUnpackedToInt8Tensor.from_hp(weight.detach(), (1, group), getattr(torch, f"int{bits}"))
        self.bits = bits
        packed = made.qdata if bits == 8 else torch.ops.quant_fusion._pack_embedding_weight(made.qdata, bits)
        self.register_buffer("packed", packed)
        self.register_buffer("scales", made.scale if made.scale.shape[1] > 1 else made.scale[:, 0])

    def forward(self, ids: Tensor) -> Tensor:
        ops = torch.ops.quantized_decomposed
        look_up = ops.embedding_byte if self.bits == 8 else ops.embedding_4bit
        ids = ids.long() if self.bits == 8 else ids  # the kernel of bytes takes no other ids, and kills its process
        most = 1 << self.bits - 1
        found: Tensor = look_up(self.packed, self.scales, None, -most, most - 1, ids)
        return found
