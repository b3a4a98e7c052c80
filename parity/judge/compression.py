"""The compression of weights: each has to be compressed as the variant says, in a way that its compute units bear.

A label proves nothing, and a compression that failed silently ships what it should have made smaller. In few bits, a
weight may lose what rounding to the nearest loses in its form, and no more. Where the form itself costs a tenth, no
bound on outputs sees scales of another group or values in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from milrun.blob import count
from milrun.program import Operation, TensorType, Type
from parity.build.convert import WEIGHTED
from parity.declarations import ComputeUnits, Variant
from parity.judge.contents import Contents, Program, judged
from parity.run.program import Weight
from parity.verdict import Finding

INTEGERS = ("constexpr_affine_dequantize", "constexpr_blockwise_shift_scale")
FORMS = {"palettized": ("constexpr_lut_to_dense",), "quantized": INTEGERS, "sparse": ("constexpr_sparse_to_dense",)}
"""The ops that hold the weights of each form."""
MEND = "build it again, and see what coremltools warned of; or declare the variant as it is"
GPU: tuple[ComputeUnits, ...] = ("ALL", "CPU_AND_GPU")
UNITS_MEND = 'palettize instead, or give the variant compute_units="CPU_AND_NE"'
ROUNDING_MEND = "see what quantized it, and in which order its groups and scales are stored"
ROOM = 1.05
"""Times the loss of rounding to the nearest that a weight may lose: scales are themselves rounded, to 8 or 11 bits."""
_FEWEST = 10
"""Elements: coremltools does not take a smaller constant for a weight."""


def gate(contents: Contents, variant: Variant, parts: Sequence[Variant] = ()) -> Finding:
    """Judge each model of a pipeline by the variant of its own part."""
    faults, held = [], []
    for program, own in zip(contents.programs, parts or [variant] * len(contents.programs), strict=False):
        made = {form: [op for op in program.operations if op.type in types] for form, types in FORMS.items()}
        faults += [program.place + fault for fault in _faults(program, made, own)]
        held.append(", ".join(f"{len(ops)} {form}" for form, ops in made.items() if ops or form != "sparse"))
    for kept in ("palettize", "quantize"):
        if parts and getattr(variant, kept) and all(getattr(own, kept) != getattr(variant, kept) for own in parts):
            faults.append(f"the pipeline is to {kept}, and no part of it is")
    return judged("weights", "compression", faults, MEND, f"{'; '.join(held)}, as it says")


def on_units(contents: Contents, units: ComputeUnits) -> Finding:
    """Refuse integer weights on the GPU: MPSGraph ends with "MLIR pass manager failed". Palettes do no harm there."""
    found = [(program.place, op) for program, op in _integers(contents)] if units in GPU else []
    faults = [
        f"{place}`{_name(op)}` ({op.type}), one of {len(found)} weights of integers, is to run on {units}: the GPU's "
        "MPSGraph fails on these"
        for place, op in found[:1]
    ]
    return judged("weights", "hazard", faults, UNITS_MEND, f"nothing is known to fail on {units}")


def in_groups(contents: Contents) -> Iterator[Weight]:
    """Yield the weights of integers in groups along their rows. Those of another form have no values."""
    for program, op in _integers(contents):
        name, type = op.outputs[0]
        whole = Weight(f"weight `{name}` of", _shape(type), "int4")
        data, scale = (program.numbers(op, parameter) for parameter in ("data", "scale"))
        if data is None or scale is None or data.ndim != 2 or scale.ndim != 2:
            yield whole
        else:
            group = data.shape[1] // scale.shape[1]
            yield replace(whole, group=group, numbers=data, scales=scale.astype(np.float32))


def _integers(contents: Contents) -> Iterator[tuple[Program, Operation]]:
    yield from ((program, op) for program in contents.programs for op in program.operations if op.type in INTEGERS)


def rounding(held: Iterable[Weight], originals: Mapping[str, np.ndarray], place: str = "") -> Finding:
    """Return the finding on all weights in few bits of a method or package.

    Args:
        held: The weights. Each is compared with the original that it is most like.
        originals: Those of the module by name, of which each one held is the rounded form.
        place: What comes before each fault, such as the method.
    """
    faults, losses = [], []
    for weight in held:
        if (values := weight.values) is None:
            faults.append(f"{place}{weight.kind} {weight}: its values cannot be read")
            continue
        alike = [(_apart(values, own), name) for name, own in originals.items() if own.shape == values.shape]
        if alike:
            found, name = min(alike)
            nearest = _nearest(originals[name], weight)
            told = f"{weight.kind} `{name}`, {weight}, loses {found:.3g}, rounding to the nearest {nearest:.3g}"
            losses.append((found / max(nearest, 1e-9), told))
    faults += [f"{place}{told}" for share, told in losses if not share <= ROOM]
    if not losses and not faults:
        faults = [f"{place}no weight in few bits has the shape of one of the module's"]
    worst = max(losses, default=(0.0, ""))[1]
    return judged("weights", "rounding", faults, ROUNDING_MEND, f"{len(losses)} weights; {worst}")


def _faults(program: Program, made: Mapping[str, Sequence[Operation]], variant: Variant) -> Iterator[str]:
    """Yield what differs between the weights of each form that a program has and those that a variant asks for."""
    luts, integers, sparse = made.values()
    for asked, ops, how in (
        (variant.prune, sparse, "sparse, and the variant is not to be pruned"),
        (variant.palettize, luts, "palettized, and the variant is not to be"),
        (variant.quantize or variant.group, integers, "quantized, and the variant is not to be"),
    ):
        if ops and not asked:
            yield f"{_first(ops)} {how}"
    if variant.prune and not sparse:
        yield "not pruned, as the variant says: no weight is sparse"
    if variant.palettize:
        yield from _left(program, list(_weights(program, _fewest_palettized())), luts, "palettized")
        entries, right = {_name(op): _entries(program.tensor(op, "lut")) for op in luts}, 1 << variant.palettize
        wrong = {name: f"{size} entries where {right} are expected" for name, size in entries.items() if size != right}
        yield from _others(f"{len(luts)} palettes are not of {variant.palettize} bits", wrong)
    if variant.group:
        yield from _left(program, list(_weights(program, variant.fewest, ("linear",))), integers, "quantized")
        grouped, found = f"int4 in groups of {variant.group}", {_name(op): _grouped(program, op) for op in integers}
        wrong = {name: form for name, form in found.items() if form != grouped}
        yield from _others(f"{len(integers)} weights are not {grouped}", wrong)
    if variant.quantize:
        spared = tuple(part.replace(".", "_") for part in variant.spared)
        wanted = [
            name for name in _weights(program, variant.fewest, WEIGHTED) if not (spared and name.startswith(spared))
        ]
        yield from _left(program, wanted, integers, "quantized")
        if few := [op for op in integers if (data := program.tensor(op, "data")) and "int4" in str(data.dtype)]:
            yield f"{_first(few)} of 4 bits, and the variant says 8"
        if harmed := [op for op in integers if spared and _name(op).startswith(spared)]:
            yield f"{_first(harmed)} quantized, and the variant spares it"


def _left(program: Program, names: Sequence[str], made: Sequence[Operation], how: str) -> Iterator[str]:
    if not names:
        if not made:
            yield f"not {how}, as the variant says: there is no weight that could be"
        return
    reader = program.readers[names[0]][0]
    yield (
        f"{len(names)} of {len(names) + len(made)} weights not {how}, as the variant says, the first `{names[0]}` "
        f"{program.constants[names[0]].type} of {reader.type} `{reader.name}`"
    )


def _others(said: str, wrong: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence about compressed weights in another form, by their names."""
    for name, form in list(wrong.items())[:1]:
        yield f"{len(wrong)} of {said}, as the variant says, the first `{name}`: {form}"


def _grouped(program: Program, op: Operation) -> str:
    """Return the type of integer weights, and how many values along a row share a scale."""
    data, scale = (program.tensor(op, parameter) for parameter in ("data", "scale"))
    row, scales = _shape(data), _shape(scale)
    if data is None or not row or len(row) != len(scales):
        return "a scale for each channel"
    return f"{data.dtype} in groups of {row[-1] // (scales[-1] or 1)}"


def _entries(lut: TensorType | None) -> int:
    """Return the size of a palette: until iOS 17 a row, since iOS 18 the last but one of its axes."""
    return next(iter(_shape(lut)[-2:]), 0)


def _shape(type: Type | None) -> tuple[int, ...]:
    """Return the sizes of a tensor, 0 for an unknown one; none for what is not a tensor."""
    sizes = type.shape if isinstance(type, TensorType) else None
    return tuple(size or 0 for size in sizes or ())


def _weights(program: Program, least: int, readers: Sequence[str] = ()) -> Iterator[str]:
    """Yield the constants that coremltools takes for weights; a compressed one is no longer among them."""
    for name, value in program.constants.items():
        type, shape = value.type, _shape(value.type)
        floats = isinstance(type, TensorType) and type.dtype.is_float
        taken = [op.type for op in program.readers.get(name, []) if not op.type.startswith("constexpr_")]
        large = len(shape) > 1 and count(shape) >= max(least, _FEWEST)
        if floats and large and any(not readers or kind in readers for kind in taken):
            yield name


def _fewest_palettized() -> int:
    """Return the elements of the smallest weight that coremltools palettizes."""
    from coremltools.optimize import coreml

    return int(coreml.OpPalettizerConfig(nbits=8).weight_threshold) + 1


def _name(op: Operation) -> str:
    return op.outputs[0][0]


def _first(ops: Sequence[Operation]) -> str:
    return f"`{_name(ops[0])}`{f' and {len(ops) - 1} more are' if len(ops) > 1 else ' is'}"


def _apart(values: np.ndarray, own: np.ndarray) -> float:
    return float(np.linalg.norm(values - own) / max(float(np.linalg.norm(own)), 1e-12))


def _nearest(own: np.ndarray, form: Weight) -> float:
    """Return what the form of a weight loses of values when each is rounded to the nearest of evenly spaced ones."""
    grouped, most = own.reshape(-1, form.group), 2 ** (int(form.dtype.removeprefix("int")) - 1)
    step = np.maximum(np.abs(grouped).max(1, keepdims=True), 1e-12) / (most - 0.5)
    return _apart(np.clip(np.round(grouped / step), -most, most - 1) * step, grouped)
