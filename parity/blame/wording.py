"""A finding of the search, put into the words of a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from parity.blame import hazards
from parity.blame.likeness import Likeness, likeness
from parity.blame.package.divergence import Divergence
from parity.blame.package.failure import Failure
from parity.declarations import Arrays
from parity.verdict import Blame

Fault = Literal["graph", "precision", "constants", "module", "unknown"]
TELLS_LITTLE = ("equal", "other", "noise")


def blame(failure: Failure, fault: Fault, found: Divergence | None = None, said: Sequence[str] = ()) -> Blame:
    """Word a blame. Its kind of error is that of the first diverging value, unless the output's says more."""
    of_output = looks(failure.reference, failure.candidate, failure.output)
    if found is None:
        return Blame(failure.stage.name, failure.output, of_output or "unknown", fault=fault, detail="; ".join(said))
    here = _likeness(found.reference, found.candidate)
    telling = str(here) if here and here.kind not in TELLS_LITTLE else of_output or str(here or "unknown")
    operation = found.operation
    symptoms = hazards.Symptoms(
        fault,
        [look for look in (str(here or ""), of_output) if look],
        found.nodes,
        operation.type if operation else "",
        found.spelled,
        found.behind,
        found.traits,
    )
    return Blame(
        failure.stage.name,
        failure.output,
        telling,
        value=found.value,
        op_type=operation.type if operation else "",
        op_index=failure.program.position(found.value) if operation else 0,
        op_count=len(failure.program.operations) if operation else 0,
        source=found.source,
        fault=fault,
        detail="; ".join([*said, *found.said, *hazards.known(symptoms)]),
    )


def looks(reference: Arrays, candidate: Arrays, output: str) -> str:
    """Return what the error of an output looks like; empty without an error."""
    try:
        return str(likeness(reference[output], candidate[output]))
    except (KeyError, ValueError):
        return ""


def unable(stage: str, output: str, reference: Arrays, candidate: Arrays, error: Exception) -> Blame:
    """Return the blame of a search that failed itself."""
    reason = str(error).partition("\n")[0]
    said = f"blame failed: {type(error).__name__}" + (f": {reason}" if reason else "")
    return Blame(stage, output, looks(reference, candidate, output) or "unknown", detail=said)


def _likeness(reference: Tensor | None, candidate: Tensor | None) -> Likeness | None:
    if reference is None or candidate is None or not reference.numel():
        return None
    return likeness(reference.numpy(), candidate.numpy())
