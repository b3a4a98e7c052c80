"""Gates on a `.pte`: a method takes and gives what its stage declares, and the numbers are the host's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from parity.declarations import Dim, Stage, Tensor, Variant
from parity.judge.package.contents import judged
from parity.run.executorch import Program, Slot
from parity.verdict import Finding

MEND = "build the program again from these stages, or declare what its methods take and give"
CONTRACT_MEND = "build the program again: it was made for another host"
PLACEMENT_MEND = "see which ops XNNPACK does not take at this precision or with these dynamic sizes"


def findings(
    program: Program, stage: Stage, variant: Variant, contract: Mapping[str, float], facts: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield the finding of each gate.

    Args:
        program: The program.
        stage: The stage whose method is judged.
        variant: The variant of the program.
        contract: The numbers that the host uses.
        facts: What the program should remember of its making, if it remembers anything.
    """
    if stage.name not in program.methods:
        known = ", ".join(program.methods)
        yield judged("interface", "manifest", [f"method `{stage.name}` is missing, there is {known}"], MEND, "")
        return
    method = program.methods[stage.name]
    faults = [
        *_wrong("input", method.inputs, stage.inputs, variant),
        *_wrong("output", method.outputs, stage.outputs, variant),
    ]
    yield judged(
        "interface", "manifest", faults, MEND, f"{len(method.inputs)} in, {len(method.outputs)} out, as declared"
    )
    told = program.metadata.get("facts", {})
    faults = [
        f"`{name}` is {_said(program.constants, name)}, the host uses {wanted:g}"
        for name, wanted in contract.items()
        if program.constants.get(name) != wanted
    ]
    faults += [
        f"{name} is {told[name]}, not {facts[name]}" for name in told if name in facts and told[name] != facts[name]
    ]
    yield judged("interface", "contract", faults, CONTRACT_MEND, f"{len(contract)} numbers, as the host uses them")
    left = ", ".join(f"{op} × {count}" for op, count in sorted(method.fallback.items()))
    idle = method.delegated == 0 and any(map(heavy, method.fallback)) and not stage.portable
    nothing = ["no backend takes any op"] * idle
    total = sum(method.fallback.values())
    held = f"{method.delegated} calls of XNNPACK, {total} ops fall back to portable kernels: {left or 'none'}"
    yield judged("placement", "placement", nothing, PLACEMENT_MEND, held)


def heavy(op: str) -> bool:
    """Return whether an op does enough for a backend: copies, views and look-ups do not."""
    return op.partition("::")[2].partition(".")[0] in {"addmm", "mm", "bmm", "linear", "convolution", "_softmax"}


def _said(constants: Mapping[str, object], name: str) -> str:
    return f"{constants[name]}" if name in constants else "missing"


def _wrong(kind: str, found: Mapping[str, Slot], declared: Mapping[str, Tensor], variant: Variant) -> Iterator[str]:
    for name, tensor in declared.items():
        wanted = Slot(tensor.dtype_in(variant), tuple(_most(size) for size in tensor.shape))
        if name not in found:
            yield f"{kind} `{name}` is missing"
        elif found[name] != wanted:
            yield f"{kind} `{name}` is {found[name]}, declared is {wanted}"
    yield from (f"{kind} `{name}` is not declared" for name in found if name not in declared)
    if not set(declared) ^ set(found) and list(declared) != list(found):
        yield f"the {kind}s are {', '.join(found)} in their order, declared are {', '.join(declared)}"


def _most(size: int | Dim) -> int:
    return size.at(size.high) if isinstance(size, Dim) else size
