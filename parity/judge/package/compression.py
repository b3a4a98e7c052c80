"""The compression of weights: each has to be compressed as the variant says, and in a way that its compute units bear.

A label proves nothing, and a compression that failed silently ships what it should have made smaller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from milrun.blob import count
from milrun.program import Operation, TensorType
from parity.build.convert import WEIGHTED
from parity.declarations import ComputeUnits, Variant
from parity.judge.package.contents import Contents, Program, judged
from parity.judge.package.rounding import Stored
from parity.verdict import Finding

PALETTE = "constexpr_lut_to_dense"
SPARSE = "constexpr_sparse_to_dense"
INTEGERS = ("constexpr_affine_dequantize", "constexpr_blockwise_shift_scale")
MEND = "build it again, and see what coremltools warned of; or declare the variant as it is"
GPU: tuple[ComputeUnits, ...] = ("ALL", "CPU_AND_GPU")
UNITS_MEND = 'palettize instead, or give the variant compute_units="CPU_AND_NE"'
_FEWEST = 10
"""Elements: coremltools does not take a smaller constant for a weight."""


def gate(contents: Contents, variant: Variant, parts: Sequence[Variant] = ()) -> Finding:
    """Judge each model of a pipeline by the variant of its own part."""
    faults, held = [], []
    for program, own in zip(contents.programs, parts or [variant] * len(contents.programs), strict=False):
        faults += [program.place + fault for fault in _faults(program, own)]
        counts = {"palettized": (PALETTE,), "quantized": INTEGERS, "sparse": (SPARSE,)}
        found = {how: len(_of(program, *kinds)) for how, kinds in counts.items()}
        held.append(", ".join(f"{count} {how}" for how, count in found.items() if count or how != "sparse"))
    for kept in ("palettize", "quantize"):
        if parts and getattr(variant, kept) and all(getattr(own, kept) != getattr(variant, kept) for own in parts):
            faults.append(f"the pipeline is to {kept}, and no part of it is")
    return judged("weights", "compression", faults, MEND, f"{'; '.join(held)}, as it says")


def on_units(contents: Contents, units: ComputeUnits) -> Finding:
    """Refuse integer weights on the GPU: MPSGraph ends with "MLIR pass manager failed". Palettes do no harm there."""
    found = [(program, op) for program in contents.programs for op in program.operations if op.type in INTEGERS]
    faults = []
    if found and units in GPU:
        program, op = found[0]
        faults.append(
            f"{program.place}`{op.outputs[0][0]}` ({op.type}), one of {len(found)} weights of integers, is to run on "
            f"{units}: the GPU's MPSGraph fails on these"
        )
    return judged("weights", "hazard", faults, UNITS_MEND, f"nothing is known to fail on {units}")


def in_groups(contents: Contents) -> Iterator[Stored]:
    """Yield the weights of integers in groups along their rows."""
    for program in contents.programs:
        for op in _of(program, *INTEGERS):
            data, scale = (program.numbers(op.inputs.get(name, ())) for name in ("data", "scale"))
            if data is None or scale is None or data.ndim != 2 or scale.ndim != 2:
                yield Stored("weight", f"`{op.outputs[0][0]}`", 4, 1, None)
                continue
            group = data.shape[1] // scale.shape[1]
            values = data.astype(np.float32).reshape(-1, group) * scale.astype(np.float32).reshape(-1, 1)
            form = f"`{op.outputs[0][0]}`, {_grouped(program, op)}"
            yield Stored("weight", form, 4, group, values.reshape(data.shape))


def _faults(program: Program, variant: Variant) -> Iterator[str]:
    luts, integers, sparse = _of(program, PALETTE), _of(program, *INTEGERS), _of(program, SPARSE)
    if sparse and not variant.prune:
        yield f"{_first(sparse)} sparse, and the variant is not to be pruned"
    if variant.prune and not sparse:
        yield "not pruned, as the variant says: no weight is sparse"
    if luts and not variant.palettize:
        yield f"{_first(luts)} palettized, and the variant is not to be"
    if integers and not variant.quantize and not variant.group:
        yield f"{_first(integers)} quantized, and the variant is not to be"
    if variant.palettize:
        yield from _left(program, list(_weights(program, _fewest_palettized())), luts, "palettized")
        yield from _other_bits(program, luts, variant.palettize)
    if variant.group:
        yield from _left(program, list(_weights(program, variant.fewest, ("linear",))), integers, "quantized")
        yield from _other_groups(program, integers, variant.group)
    if variant.quantize:
        spared = tuple(part.replace(".", "_") for part in variant.spared)
        wanted = [
            name for name in _weights(program, variant.fewest, WEIGHTED) if not (spared and name.startswith(spared))
        ]
        yield from _left(program, wanted, integers, "quantized")
        yield from _other_types(program, integers)
        harmed = [op for op in integers if spared and op.outputs[0][0].startswith(spared)]
        if harmed:
            yield f"{_first(harmed)} quantized, and the variant spares it"


def _left(program: Program, names: Sequence[str], made: Sequence[Operation], how: str) -> Iterator[str]:
    if not names:
        if not made:
            yield f"not {how}, as the variant says: there is no weight that could be"
        return
    reader = program.readers[names[0]][0]
    yield (
        f"{len(names)} of {len(names) + len(made)} weights not {how}, as the variant says, the first `{names[0]}` "
        f"{program.constants[names[0]]} of {reader.type} `{reader.name}`"
    )


def _other_bits(program: Program, luts: Sequence[Operation], bits: int) -> Iterator[str]:
    entries = {op.outputs[0][0]: _entries(program.tensor(op.inputs["lut"])) for op in luts}
    wrong = [name for name, size in entries.items() if size != 1 << bits]
    if wrong:
        yield (
            f"{len(wrong)} of {len(luts)} palettes are not of {bits} bits, as the variant says, the first that of "
            f"`{wrong[0]}`: {entries[wrong[0]]} entries where {1 << bits} are expected"
        )


def _other_types(program: Program, integers: Sequence[Operation]) -> Iterator[str]:
    few = [op for op in integers if (data := program.tensor(op.inputs.get("data", ()))) and "int4" in str(data.dtype)]
    if few:
        yield f"{_first(few)} of 4 bits, and the variant says 8"


def _other_groups(program: Program, integers: Sequence[Operation], group: int) -> Iterator[str]:
    wanted = f"int4 in groups of {group}"
    found = {op.outputs[0][0]: _grouped(program, op) for op in integers}
    wrong = [name for name, form in found.items() if form != wanted]
    if wrong:
        yield (
            f"{len(wrong)} of {len(integers)} weights are not {wanted}, as the variant says, the first `{wrong[0]}`: "
            f"{found[wrong[0]]}"
        )


def _grouped(program: Program, op: Operation) -> str:
    """Return the type of integer weights, and how many values along a row share a scale."""
    data, scale = (program.tensor(op.inputs.get(name, ())) for name in ("data", "scale"))
    if data is None or scale is None or not data.shape or not scale.shape or len(scale.shape) != len(data.shape):
        return "a scale for each channel"
    return f"{data.dtype} in groups of {(data.shape[-1] or 0) // (scale.shape[-1] or 1)}"


def _entries(lut: TensorType | None) -> int | None:
    """Return the size of a palette: until iOS 17 a row, since iOS 18 the last but one of its axes."""
    if lut is None or not lut.shape:
        return None
    return lut.shape[0] if len(lut.shape) == 1 else lut.shape[-2]


def _weights(program: Program, least: int, readers: Sequence[str] = ()) -> Iterator[str]:
    """Yield the constants that coremltools takes for weights; a compressed one is no longer among them."""
    for name, type in program.constants.items():
        shape = tuple(size or 0 for size in type.shape or ())
        taken = [op.type for op in program.readers.get(name, []) if not op.type.startswith("constexpr_")]
        large = type.dtype.is_float and len(shape) > 1 and count(shape) >= max(least, _FEWEST)
        if large and any(not readers or kind in readers for kind in taken):
            yield name


def _fewest_palettized() -> int:
    """Return the elements of the smallest weight that coremltools palettizes."""
    from coremltools.optimize import coreml

    return int(coreml.OpPalettizerConfig(nbits=8).weight_threshold) + 1


def _of(program: Program, *kinds: str) -> list[Operation]:
    return [op for op in program.operations if op.type in kinds]


def _first(ops: Sequence[Operation]) -> str:
    more = f" and {len(ops) - 1} more are" if len(ops) > 1 else " is"
    return f"`{ops[0].outputs[0][0]}`{more}"
