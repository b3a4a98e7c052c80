"""What a package is made of, whatever it computes: whether its weights are compressed as its variant says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coremltools as ct

from parity.declarations import Variant
from parity.verdict import Finding

OUTPUT, GATE = "weights", "compression"
_PALETTE = ("constexpr_lut_to_dense",)
_INTEGERS = ("constexpr_affine_dequantize", "constexpr_blockwise_shift_scale")


def compression(package: Path, variant: Variant) -> Finding:
    """A label is no proof: a compression that failed in silence ships what it should have made smaller."""
    found = list(_compressed(ct.models.MLModel(str(package), skip_model_load=True).get_spec()))
    palettized = [name for kind, name in found if kind in _PALETTE]
    integers = [name for kind, name in found if kind in _INTEGERS]
    spared = tuple(part.replace(".", "_") for part in variant.spared)
    harmed = [name for name in integers if spared and name.startswith(spared)]
    if bool(palettized) != bool(variant.palettize):
        fault = "palettized, and the variant is not to be" if palettized else "not palettized, as the variant says"
    elif bool(integers) != variant.quantize:
        fault = "quantized, and the variant is not to be" if integers else "not quantized, as the variant says"
    elif harmed:
        fault = f"{', '.join(harmed[:3])} quantized, and the variant spares it"
    else:
        return Finding(
            OUTPUT, GATE, True, message=f"{len(palettized)} palettized, {len(integers)} quantized, as it says"
        )
    return Finding(OUTPUT, GATE, False, message=fault)


def _compressed(spec: Any) -> Iterator[tuple[str, str]]:
    """Each compressed constant of the program, with its op."""
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            yield from _of_block(block)


def _of_block(block: Any) -> Iterator[tuple[str, str]]:
    for op in block.operations:
        if op.type.startswith("constexpr_"):
            yield op.type, op.outputs[0].name
        for inner in op.blocks:
            yield from _of_block(inner)
