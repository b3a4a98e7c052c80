"""A finding of the search, put into the words of a verdict."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal

from parity.blame import hazards
from parity.blame.first_step import Failing
from parity.blame.likeness import likeness
from parity.blame.package.failure import Divergence, Failure
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
    stage, output, of_output = failure.stage.name, failure.crossing.output, looks(failure.crossing)
    if found is None:
        return Blame(stage, output, of_output or "unknown", fault=fault, detail="; ".join(said))
    here = None
    if found.reference is not None and found.candidate is not None and found.reference.numel():
        here = likeness(found.reference.numpy(), found.candidate.numpy())
    telling = str(here) if here and here.kind not in TELLS_LITTLE else of_output or str(here or "unknown")
    operation = failure.program.makes(found.value)
    op_type = operation.type if operation else ""
    known = hazards.known(fault, [str(here or ""), of_output], op_type, found)
    return Blame(
        stage,
        output,
        telling,
        value=found.value,
        op_type=op_type,
        op_index=failure.program.position(found.value),
        op_count=len(failure.program.operations) if operation else 0,
        source=found.source,
        fault=fault,
        detail="; ".join([*said, *found.said, *known]),
    )


def looks(found: Failing) -> str:
    """Return what the error of the worst output looks like, or an empty text where there is none to look at."""
    if found.output not in found.reference or found.output not in found.candidate:
        return ""
    both = found.reference[found.output], found.candidate[found.output]
    return str(likeness(*both)) if all(value.size and value.dtype.kind in "fiub" for value in both) else ""


def searched(stage: str, found: Failing, search: Callable[[], Blame]) -> Blame:
    """Return what a search finds for the worst of the outputs that failed.

    The failure of the check has to be reported even where the search itself fails: then the error is logged with its
    traceback and named in the blame.
    """
    try:
        if not found.outputs:
            raise ValueError("no output is named that failed")
        return search()
    except Exception as error:
        return unable(stage, found.output, error, looks(found))


def unable(stage: str, output: str, error: Exception, looks_like: str = "") -> Blame:
    """Log an error of the search itself, and return a blame that names it."""
    LOG.error("The search for the cause of the failure of %s %s failed itself", stage, output, exc_info=error)
    reason = str(error).partition("\n")[0]
    said = f"blame itself failed: {type(error).__name__}" + (f": {reason}" if reason else "")
    return Blame(stage, output, looks_like or "unknown", detail=said)
