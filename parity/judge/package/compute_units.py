"""Known failures on the compute units that a package is to run on."""

from __future__ import annotations

from parity.declarations import ComputeUnits
from parity.judge.package.compression import INTEGERS
from parity.judge.package.contents import Contents, judged
from parity.verdict import Finding

GPU: tuple[ComputeUnits, ...] = ("ALL", "CPU_AND_GPU")
MEND = 'palettize instead, or give the variant compute_units="CPU_AND_NE"'


def gate(contents: Contents, units: ComputeUnits) -> Finding:
    """Refuse integer weights on the GPU: MPSGraph ends with "MLIR pass manager failed". Palettes do no harm there."""
    found = [(program, op) for program in contents.programs for op in program.operations if op.type in INTEGERS]
    faults = []
    if found and units in GPU:
        program, op = found[0]
        faults.append(
            f"{program.place}`{op.outputs[0][0]}` ({op.type}), one of {len(found)} weights of integers, is to run on "
            f"{units}: the GPU's MPSGraph fails on these"
        )
    return judged("weights", "hazard", faults, MEND, f"nothing is known to fail on {units}")
