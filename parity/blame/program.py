"""The blame for a method of an ExecuTorch program: its traceable module, or what was made of it."""

from __future__ import annotations

from parity.blame.distance import relative_l2
from parity.blame.first_step import Failing
from parity.blame.wording import looks
from parity.declarations import Arrays, Stage
from parity.verdict import Blame

SHARE = 0.1
"""The share of the method's error under which the module counts as right."""


def blame_method(stage: Stage, by_module: Arrays, found: Failing) -> Blame:
    """Return whether the traceable module is wrong on the same inputs as the method, or what was made of it.

    Args:
        stage: The stage.
        by_module: The outputs of the module.
        found: The crossing, with the outputs of the method.
    """
    output, looks_like = found.output, looks(found) or "unknown"
    if output not in found.candidate or output not in by_module:
        return Blame(stage.name, output, looks_like, detail="the method does not give the output")
    own = relative_l2(found.reference[output], by_module[output])
    if own > SHARE * relative_l2(found.reference[output], found.candidate[output]):
        detail = f"the traceable module is off as well, by a relative L2 of {own:.3g}: the method computes what it does"
        return Blame(stage.name, output, looks_like, fault="module", detail=detail)
    detail = "the traceable module is right on the same inputs: export, lowering or quantization is to blame"
    return Blame(stage.name, output, looks_like, fault="graph", detail=detail)
