"""Hop 1: the traceable module against upstream, by the submodules that both run."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import nn

from parity.blame import hazards, source
from parity.blame.distance import relative_l2
from parity.blame.first_step import Failing
from parity.blame.module.calls import Call
from parity.blame.module.pairs import Pair
from parity.blame.module.runs import SHARE, Runs
from parity.blame.module.statement import Path
from parity.blame.wording import looks, searched
from parity.declarations import Stage
from parity.verdict import Blame

LOWEST_BAR, HIGHEST_BAR = 1e-5, 0.05
LAST_SHARED = "the last submodule shared with upstream on the way to it"
NOTHING_SHARED = "it shares no submodule with upstream whose values can be compared"


def blame_module(runs: Runs) -> Blame:
    """Return where a traceable module leaves upstream. An error of the search itself is logged, and never raised."""
    return searched(runs.stage.name, runs.crossing, lambda: _blame(runs))


def blame_unheard(stage: Stage, module: nn.Module, crossing: Failing, why: str) -> Blame:
    """Return what can be told of a traceable module where upstream can't be run, and `why` it can't be more."""
    said = why if next(module.parameters(), None) is not None else NOTHING_SHARED
    path = _path(stage, module, crossing)
    return _as_a_whole(stage, module, path, crossing.output, looks(crossing) or "unknown", said)


def _blame(runs: Runs) -> Blame:
    stage, module, output, of_output = runs.stage, runs.module, runs.crossing.output, looks(runs.crossing)
    reference, candidate = runs.crossing.reference, runs.crossing.candidate
    path = _path(stage, module, runs.crossing)
    if output not in candidate or candidate[output].shape != reference[output].shape:
        return _as_a_whole(stage, module, path, output, of_output or "missing")
    error = relative_l2(reference[output], candidate[output])
    bar = min(max(SHARE * error, LOWEST_BAR), HIGHEST_BAR)
    compared = runs.compared(path)
    wrong = next((pair for pair in compared if pair.gave >= bar), None)
    first = next((index for index, pair in enumerate(compared) if wrong and max(pair.given, pair.gave) >= bar), None)
    agreed = runs.last(path, [pair.made for pair in compared[:first]])
    if wrong and first is not None:
        found = _of_call(runs, compared[first], wrong, agreed, of_output)
        return replace(found, op_index=first + 1, op_count=len(compared))
    said = f"after `{agreed.name}`, {LAST_SHARED}" if agreed else NOTHING_SHARED
    line, computed = (path and path.leaves(bar, runs.record)) or ("", "")
    said = _with_hazards(f"{said}; {computed}" if computed else said, of_output)
    found = _as_a_whole(stage, module, path, output, of_output or "unknown", said)
    return replace(found, source=line or found.source)


def _path(stage: Stage, module: nn.Module, crossing: Failing) -> Path | None:
    if crossing.output not in stage.outputs:
        return None
    tensors = [torch.from_numpy(crossing.inputs[name].copy()) for name in stage.inputs]
    return Path(module, tensors, list(stage.outputs).index(crossing.output))


def _as_a_whole(
    stage: Stage, module: nn.Module, path: Path | None, output: str, looks_like: str, said: str = ""
) -> Blame:
    """Name the statement that makes the output, or else the class of the module."""
    kind = type(module)
    line = (path.end if path else "") or f"{source.of_class(kind)} in {kind.__name__}.forward"
    return Blame(stage.name, output, looks_like, source=line, fault="module", detail=said)


def _of_call(runs: Runs, pair: Pair, wrong: Pair, agreed: Call | None, of_output: str) -> Blame:
    """Return the blame of a call.

    Args:
        runs: The runs of both models.
        pair: The first call that is given, or gives, something else.
        wrong: The first call that gives something else.
        agreed: The last call before it that agrees.
        of_output: What the error of the output looks like.
    """
    made, given, gave = pair.made, pair.given, pair.gave
    turn = f" (call {made.turn + 1})" if made.turn else ""
    call_of = runs.whole(pair)
    if given >= SHARE * gave:
        since = f", since {_last(agreed, made)}" if agreed else ""
        said = f"what `{made.name}`{turn} is given differs already, by a relative L2 of {given:.2g}{since}"
        if pair is not wrong:
            said += f"; it gives the same still, and `{wrong.made.name}` is the first that does not"
    elif math.isnan(given):
        said = (
            f"what `{made.name}`{turn} gives differs by a relative L2 of {gave:.2g}; what it is given can't be compared"
        )
    elif call_of.leaks(gave):
        said = (
            f"what `{made.name}`{turn} gives differs by a relative L2 of {gave:.2g}; what it is given agrees as far as "
            "upstream's goes, and what is behind that leaks in"
        )
    else:
        said = f"`{made.name}`{turn} itself gives something else on what agrees, by a relative L2 of {gave:.2g}"
    look = call_of.look(at_given=given >= SHARE * gave)
    return Blame(
        runs.stage.name,
        runs.crossing.output,
        look or of_output or "unknown",
        value=made.name,
        op_type=made.kind,
        source=source.told(made.stack),
        fault="module",
        detail=_with_hazards(said, look, of_output),
    )


def _last(agreed: Call, made: Call) -> str:
    """Return the submodule that still agreed, and the line that called it, if the same function called the next."""
    said = f"`{agreed.name}`, the last shared submodule that agrees"
    for before, after in zip(reversed(agreed.stack), reversed(made.stack), strict=False):
        if before != after:
            line = source.told([before]) if (before[0], before[2]) == (after[0], after[2]) else ""
            return f"{said} ({line})" if line else said
    return said


def _with_hazards(said: str, *seen: str) -> str:
    return "; ".join([said, *hazards.known("module", seen)])
