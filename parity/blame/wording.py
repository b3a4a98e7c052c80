"""A finding of the search, put into the words of a verdict."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor

from parity.blame import hazards
from parity.blame.likeness import Likeness, likeness
from parity.blame.package.divergence import Divergence
from parity.blame.package.failure import Failure
from parity.declarations import Arrays
from parity.verdict import Blame

Fault = Literal["graph", "precision", "constants", "weights", "module", "unknown"]
LOG = logging.getLogger(__name__)
TELLS_LITTLE = ("equal", "other", "noise")


def blame(failure: Failure, fault: Fault, found: Divergence | None = None, said: Sequence[str] = ()) -> Blame:
    """Return the finding of a search as a blame.

    The kind of error is that of the first value that diverges, unless the output's says more.

    Args:
        failure: The failed output.
        fault: The kind of fault.
        found: The first value that diverges, if one was found.
        said: Sentences to begin with.
    """
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
    """Return what the error of an output looks like, or an empty text where there is none to look at."""
    if output not in reference or output not in candidate:
        return ""
    both = reference[output], candidate[output]
    return str(likeness(*both)) if all(value.size and value.dtype.kind in "fiub" for value in both) else ""


def searched(
    stage: str, outputs: Sequence[str], reference: Arrays, candidate: Arrays, search: Callable[[str], Blame]
) -> Blame:
    """Return what a search finds for the worst of the outputs that failed.

    The failure of the check has to be reported even where the search itself fails: then the error is logged with its
    traceback and named in the blame.
    """
    output = next(iter(outputs), "")
    try:
        if not outputs:
            raise ValueError("no output is named that failed")
        return search(output)
    except Exception as error:
        return unable(stage, output, error, looks(reference, candidate, output))


def unable(stage: str, output: str, error: Exception, looks_like: str = "") -> Blame:
    """Log an error of the search itself, and return a blame that names it."""
    LOG.error("The search for the cause of the failure of %s %s failed itself", stage, output, exc_info=error)
    reason = str(error).partition("\n")[0]
    said = f"blame itself failed: {type(error).__name__}" + (f": {reason}" if reason else "")
    return Blame(stage, output, looks_like or "unknown", detail=said)


def _likeness(reference: Tensor | None, candidate: Tensor | None) -> Likeness | None:
    if reference is None or candidate is None or not reference.numel():
        return None
    return likeness(reference.numpy(), candidate.numpy())
