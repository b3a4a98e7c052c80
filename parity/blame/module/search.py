"""Hop 1: the traceable module against upstream, by the submodules that both run."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from parity.blame import hazards, source
from parity.blame.distance import relative_l2
from parity.blame.likeness import likeness
from parity.blame.module.calls import Call, Names, calls, leading, tensors, whole
from parity.blame.module.layers import shared
from parity.blame.module.pairs import Pair, pairs
from parity.blame.wording import TELLS_LITTLE, looks, searched
from parity.build.convert import call
from parity.declarations import Arrays, Stage
from parity.verdict import Blame

LOG = logging.getLogger(__name__)
SHARE = 0.1
"""The share of the failure from which a submodule's error counts as part of it, and the share of a submodule's error
from which what it was given explains it."""
LOWEST_BAR, HIGHEST_BAR = 1e-5, 0.05
NOTHING_SHARED = "it shares no submodule with upstream whose values can be compared"


def blame_module(
    *,
    stage: Stage,
    module: nn.Module,
    cut_from: Any,
    upstream: nn.Module,
    record: Callable[[], object],
    inputs: Arrays,
    reference: Arrays,
    candidate: Arrays,
    outputs: Sequence[str],
) -> Blame:
    """Return where a traceable module leaves upstream. An error of the search itself is logged, and never raised.

    Args:
        stage: The stage.
        module: The traceable module.
        cut_from: The model that it was cut from, which names the submodules that were taken over.
        upstream: Another instance of the upstream model, with the same weights.
        record: Runs `upstream` on the case.
        inputs: The golden inputs.
        reference: The golden outputs.
        candidate: The outputs of the module.
        outputs: The names of those that failed, the worst first.
    """

    def search(output: str) -> Blame:
        names = shared(module, cut_from, upstream)
        runs = _Runs(module, names, lambda: call(module, stage, inputs), upstream, record)
        return _blame(stage, runs, output, reference, candidate)

    return searched(stage.name, outputs, reference, candidate, search)


def blame_unheard(
    stage: Stage, module: nn.Module, reference: Arrays, candidate: Arrays, outputs: Sequence[str], why: str
) -> Blame:
    """Return what can be told of a traceable module where upstream can't be run, and `why` it can't be more."""
    output = next(iter(outputs), "")
    said = why if next(module.parameters(), None) is not None else NOTHING_SHARED
    return _as_a_whole(stage, module, output, looks(reference, candidate, output) or "unknown", said)


@dataclass(frozen=True)
class _Runs:
    module: nn.Module
    names: Names
    run: Callable[[], object]
    upstream: nn.Module
    record: Callable[[], object]

    @property
    def upstream_names(self) -> Names:
        known = set(self.names.values())
        return {part: name for name, part in self.upstream.named_modules() if name in known}

    def compared(self) -> list[Pair]:
        """Return the calls that both made."""
        if not self.names:
            return []
        return pairs(calls(self.module, self.names, self.run), self.upstream, self.upstream_names, self.record)

    def whole(self, pair: Pair) -> _Whole:
        made = pair.made
        ours = whole(self.module, self.names, self.run, made.name, made.turn)
        theirs = whole(self.upstream, self.upstream_names, self.record, made.name, pair.turn)
        return _Whole(next(part for part, name in self.names.items() if name == made.name), ours, theirs)


@dataclass(frozen=True)
class _Whole:
    """One call, ours and upstream's: all that it was given, and all that it gave."""

    part: nn.Module
    ours: tuple[list[Tensor], list[Tensor]]
    theirs: tuple[list[Tensor], list[Tensor]]

    def look(self, at_given: bool) -> str:
        """Return what the error of its arguments, or of its results, looks like, if that tells something."""
        side = 0 if at_given else 1
        for theirs, ours in zip(self.theirs[side], self.ours[side], strict=False):
            both = leading(theirs, ours)
            found = likeness(*(value.numpy() for value in both)) if both else None
            if found and found.kind not in TELLS_LITTLE:
                return str(found)
        return ""

    def leaks(self, error: float) -> bool:
        """Return whether most of an error goes when the layer is given no more than upstream's was."""
        ours, theirs = self.ours[0], self.theirs[0]
        both = leading(theirs[0], ours[0]) if len(ours) == 1 and theirs else None
        if not both or both[1].shape == ours[0].shape:
            return False
        expected = self.theirs[1][0]
        try:
            with torch.no_grad():
                gave = next(tensors(self.part(both[1])))
        except (RuntimeError, ValueError, IndexError) as refused:
            LOG.warning("%s can't run on the part that upstream has", type(self.part).__name__, exc_info=refused)
            return False
        return gave.shape == expected.shape and relative_l2(expected, gave) < SHARE * error


def _blame(stage: Stage, runs: _Runs, output: str, reference: Arrays, candidate: Arrays) -> Blame:
    of_output = looks(reference, candidate, output)
    if output not in candidate or candidate[output].shape != reference[output].shape:
        where = _forward(runs.module)
        return Blame(stage.name, output, of_output or "missing", source=where, fault="module")
    error = relative_l2(reference[output], candidate[output])
    bar = min(max(SHARE * error, LOWEST_BAR), HIGHEST_BAR)
    compared = runs.compared()
    wrong = next((pair for pair in compared if pair.gave >= bar), None)
    agreed: Call | None = None
    for index, pair in enumerate(compared, 1):
        if wrong and (pair.given >= bar or pair.gave >= bar):
            found = _of_call(stage, runs, output, pair, wrong, agreed, of_output)
            return replace(found, op_index=index, op_count=len(compared))
        agreed = pair.made
    said = NOTHING_SHARED
    if agreed:
        said = (
            f"after `{agreed.name}`, the last submodule shared with upstream: what such submodules gave agrees up to it"
        )
    return _as_a_whole(stage, runs.module, output, of_output or "unknown", _with_hazards(said, of_output))


def _as_a_whole(stage: Stage, module: nn.Module, output: str, looks_like: str, said: str) -> Blame:
    return Blame(stage.name, output, looks_like, source=_forward(module), fault="module", detail=said)


def _of_call(
    stage: Stage, runs: _Runs, output: str, pair: Pair, wrong: Pair, agreed: Call | None, of_output: str
) -> Blame:
    """Return the blame of a call.

    Args:
        stage: The stage.
        runs: The runs of both models.
        output: The output that failed.
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
        stage.name,
        output,
        look or of_output or "unknown",
        value=made.name,
        op_type=made.kind,
        source=source.told(list(made.stack)),
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
    return "; ".join([said, *hazards.known(hazards.Symptoms("module", [look for look in seen if look]))])


def _forward(module: nn.Module) -> str:
    """Return the class of a module, and where it is defined."""
    kind = type(module)
    return f"{source.of_class(kind)} in {kind.__name__}.forward"
