"""Gates on a `.pte`: a method takes and gives what its stage declares, and the numbers are the host's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from parity.build.program import TABLE_GROUP
from parity.declarations import Dim, Stage, Tensor, Variant
from parity.judge.compression import rounding
from parity.judge.contents import differences, judged
from parity.run.program import LINEAR, TABLE, Program, Slot, Weight
from parity.verdict import Finding

MEND = "build the program again from these stages, or declare what its methods take and give"
CONTRACT_MEND = "build the program again: it was made for another host, as another variant or from other weights"
WEIGHTS_MEND = "build it again as the variant says, or declare the variant as it is"
PLACEMENT_MEND = "see which ops XNNPACK does not take at this precision or with these dynamic sizes"


def findings(
    program: Program,
    stage: Stage,
    variant: Variant,
    contract: Mapping[str, float],
    facts: Mapping[str, str],
    module: Callable[[], nn.Module],
) -> Iterator[Finding]:
    """Yield the finding of each gate.

    Args:
        program: The program.
        stage: The stage whose method is judged.
        variant: The variant of the program.
        contract: The numbers that the host uses.
        facts: What the program should remember of its making, if it remembers anything.
        module: Makes the traceable module of the stage, whose layers a variant of few bits has to hold.
    """
    if stage.name not in program.methods:
        known = ", ".join(program.methods)
        yield judged("interface", "manifest", [f"method `{stage.name}` is missing, there is {known}"], MEND, "")
        return
    method = program.methods[stage.name]
    held = f"{len(method.inputs)} in, {len(method.outputs)} out, as declared"
    faults = [*_wrong("input", method.inputs, stage.inputs, variant)]
    faults += _wrong("output", method.outputs, stage.outputs, variant)
    yield judged("interface", "manifest", faults, MEND, held)
    told = program.metadata.get("facts", {})
    faults = [
        f"`{name}` is {program.constants.get(name, 'missing')}, the host uses {wanted:g}"
        for name, wanted in contract.items()
        if program.constants.get(name) != wanted
    ]
    faults += [
        f"{name} is {told[name]}, not {facts[name]}" for name in told if name in facts and told[name] != facts[name]
    ]
    yield judged("interface", "contract", faults, CONTRACT_MEND, f"{len(contract)} numbers, as the host uses them")
    layers = _layers(module()) if variant.group or variant.tables else {}
    few = [weight for weight in method.weights if weight.dtype.startswith("int")]
    place = f"method `{stage.name}`: "
    faults = [place + fault for fault in _weights(method.weights, variant, layers)]
    yield judged("weights", "compression", faults, WEIGHTS_MEND, f"{len(few)} quantized, as it says")
    if layers:
        yield rounding(few, {name: own for kind in layers.values() for name, own in kind.items()}, place)
    left = ", ".join(f"{op} × {count}" for op, count in sorted(method.fallback.items()))
    idle = method.delegated == 0 and any(map(heavy, method.fallback)) and not stage.portable
    nothing = ["no backend takes any op"] * idle
    total = sum(method.fallback.values())
    held = f"{method.delegated} calls of XNNPACK, {total} ops fall back to portable kernels: {left or 'none'}"
    yield judged("placement", "placement", nothing, PLACEMENT_MEND, held)


def _layers(module: nn.Module) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """Return the weights of a module that a program may hold in few bits, by kind and name."""
    kinds: dict[str, Any] = {LINEAR: nn.Linear, TABLE: nn.Embedding}
    return {
        kind: {name: part.weight.detach().numpy() for name, part in module.named_modules() if isinstance(part, known)}
        for kind, known in kinds.items()
    }


def _weights(
    held: Sequence[Weight], variant: Variant, layers: Mapping[str, Mapping[str, np.ndarray[Any, Any]]]
) -> Iterator[str]:
    """Yield what differs between the weights of a method and those of the module in the form of the variant."""
    for kind, dtype, group, inputs in (
        (LINEAR, variant.group and "int4", variant.group, "dynamic int8"),
        (TABLE, variant.tables and f"int{variant.tables}", TABLE_GROUP if variant.tables == 4 else None, ""),
    ):
        found = [weight for weight in held if weight.kind == kind]
        if not dtype:
            few = [weight for weight in found if weight.dtype.startswith("int")]
            yield from (f"{kind} {weight} is quantized, and the variant is not to be" for weight in few)
            continue
        known = {name: weight.shape for name, weight in layers[kind].items()}
        shapes = Counter(known.values())
        for weight in found:
            right = Weight(kind, weight.shape, dtype, group or weight.shape[1], inputs)
            if weight == right:
                shapes[weight.shape] -= 1
            elif weight.shape in shapes:
                shapes[weight.shape] -= 1
                yield f"{kind} {weight}, declared is {right}"
        for shape, count in shapes.items():
            names = ", ".join(f"`{name}`" for name, own in known.items() if own == shape)
            if count > 0:
                yield f"{count} of the {kind}s {names}, {'×'.join(map(str, shape))}, are not on a backend in {dtype}"
            elif names and count < 0:
                yield f"{-count} {kind}s more than {names}, {'×'.join(map(str, shape))}, which the module has"
            elif count < 0:
                yield f"{-count} {kind}s of {'×'.join(map(str, shape))}, which no {kind} of the module has"


def heavy(op: str) -> bool:
    """Return whether an op does enough for a backend: copies, views and look-ups do not."""
    return op.partition("::")[2].partition(".")[0] in {"addmm", "mm", "bmm", "linear", "convolution", "_softmax"}


def _wrong(kind: str, found: Mapping[str, Slot], declared: Mapping[str, Tensor], variant: Variant) -> Iterator[str]:
    wanted = {
        name: Slot(
            tensor.dtype_in(variant),
            tuple(size.at(size.high) if isinstance(size, Dim) else size for size in tensor.shape),
        )
        for name, tensor in declared.items()
    }
    yield from differences(kind, wanted, found)
    if not set(declared) ^ set(found) and list(declared) != list(found):
        yield f"the {kind}s are {', '.join(found)} in their order, declared are {', '.join(declared)}"
