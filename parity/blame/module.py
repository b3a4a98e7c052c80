"""Hop 1: the traceable module against upstream, by the submodules that both run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from parity.blame import hazards, source
from parity.blame.calls import Call, Names, calls, distance, whole
from parity.blame.distance import relative_l2
from parity.blame.tell import TELLS_LITTLE, looks, unable
from parity.convert import call
from parity.declarations import Arrays, Stage
from parity.likeness import likeness
from parity.verdict import Blame

SHARE = 0.1
"""The share of the failure from which a submodule's error counts as part of it, and the share of a submodule's error
from which what it was given explains it."""
LOWEST_BAR, HIGHEST_BAR = 1e-5, 0.05


def blame_module(
    stage: Stage,
    module: nn.Module,
    cut_from: nn.Module,
    upstream: nn.Module,
    record: Callable[[], object],
    inputs: Arrays,
    reference: Arrays,
    candidate: Arrays,
    outputs: Sequence[str],
) -> Blame:
    """Where a traceable module leaves upstream.

    `module` was cut from `cut_from`, which names its submodules; `upstream` is another instance with the same weights,
    and `record()` runs that one on the case. Whatever goes wrong in here is said, and never raised.
    """
    output = next(iter(outputs), "")
    try:
        if not outputs:
            raise ValueError("no output is named that failed")
        runs = _Runs(module, _shared(module, cut_from), lambda: call(module, stage, inputs), upstream, record)
        return _blame(stage, runs, output, reference, candidate)
    except Exception as error:
        return unable(stage.name, output, reference, candidate, error)


@dataclass(frozen=True)
class _Runs:
    module: nn.Module
    names: Names
    run: Callable[[], object]
    upstream: nn.Module
    record: Callable[[], object]
    _turns: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def upstream_names(self) -> Names:
        known = set(self.names.values())
        return {part: name for name, part in self.upstream.named_modules() if name in known}

    def compared(self) -> list[tuple[Call, float, float]]:
        """Each call that both made, with how far apart what it was given was, and what it gave."""
        if not self.names:
            return []
        ours = calls(self.module, self.names, self.run)
        theirs = calls(self.upstream, self.upstream_names, self.record)
        times = {made.name: made.turn for made in ours}
        likes: dict[str, list[Call]] = {}
        for made in theirs:
            likes.setdefault(made.name, []).append(made)
        pairs = [(made, _like(made, likes[made.name], times[made.name])) for made in ours if made.name in likes]
        self._turns.update({(made.name, made.turn): like.turn for made, like in pairs})
        errors = [(made, distance(made.given, like.given), distance(made.gave, like.gave)) for made, like in pairs]
        return [found for found in errors if not math.isnan(found[2])]

    def look(self, made: Call, at_given: bool) -> str:
        """What the error of what a call was given, or gave, looks like, if that tells something."""
        ours = whole(self.module, self.names, self.run, made.name, made.turn)
        turn = self._turns.get((made.name, made.turn), made.turn)
        theirs = whole(self.upstream, self.upstream_names, self.record, made.name, turn)
        side = 0 if at_given else 1
        for reference, candidate in zip(theirs[side], ours[side], strict=False):
            if reference.shape == candidate.shape:
                found = likeness(reference.numpy(), candidate.numpy())
                if found.kind not in TELLS_LITTLE:
                    return str(found)
        return ""


def _like(made: Call, theirs: Sequence[Call], last: int) -> Call:
    """Upstream's call that ours is. Where upstream runs step after step and ours is one of them, the one that was given
    most nearly the same."""
    if theirs[-1].turn == last:
        return theirs[made.turn]
    near = [distance(made.given, like.given) for like in theirs]
    return theirs[min(range(len(near)), key=lambda turn: near[turn] if near[turn] == near[turn] else math.inf)]


def _shared(module: nn.Module, cut_from: nn.Module) -> Names:
    """The submodules that were taken over from upstream, by their names there; none where only weights were."""
    if not isinstance(cut_from, nn.Module):
        return {}
    own = set(module.modules())
    return {part: name for name, part in cut_from.named_modules() if part in own and name}


def _blame(stage: Stage, runs: _Runs, output: str, reference: Arrays, candidate: Arrays) -> Blame:
    of_output = looks(reference, candidate, output)
    if output not in candidate or candidate[output].shape != reference[output].shape:
        where = _forward(runs.module)
        return Blame(stage.name, output, of_output or "missing", source=where, fault="module")
    error = relative_l2(reference[output], candidate[output])
    bar = min(max(SHARE * error, LOWEST_BAR), HIGHEST_BAR)
    compared = runs.compared()
    agreed = ""
    for index, (made, given, gave) in enumerate(compared, 1):
        if gave >= bar:
            found = _of_call(stage, runs, output, made, (given, gave), agreed, of_output)
            return replace(found, op_index=index, op_count=len(compared))
        agreed = made.name
    said = "it shares no submodule with upstream whose values can be compared"
    if compared:
        said = f"after `{agreed}`, the last submodule shared with upstream: what such submodules gave agrees up to it"
    return Blame(
        stage.name,
        output,
        of_output or "unknown",
        source=_forward(runs.module),
        fault="module",
        detail=_with_hazards(said, of_output),
    )


def _of_call(
    stage: Stage, runs: _Runs, output: str, made: Call, errors: tuple[float, float], agreed: str, of_output: str
) -> Blame:
    given, gave = errors
    turn = f" (call {made.turn + 1})" if made.turn else ""
    if given >= SHARE * gave:
        since = f", since `{agreed}`, the last shared submodule that agrees" if agreed else ""
        said = f"what `{made.name}`{turn} is given differs already, by a relative L2 of {given:.2g}{since}"
    elif math.isnan(given):
        said = (
            f"what `{made.name}`{turn} gives differs by a relative L2 of {gave:.2g}; what it is given can't be compared"
        )
    else:
        said = f"`{made.name}`{turn} itself gives something else on what agrees, by a relative L2 of {gave:.2g}"
    look = runs.look(made, at_given=given >= SHARE * gave)
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


def _with_hazards(said: str, *seen: str) -> str:
    return "; ".join([said, *hazards.known(hazards.Symptoms("module", [look for look in seen if look]))])


def _forward(module: nn.Module) -> str:
    """The class of a module, and where it is."""
    kind = type(module)
    return f"{source.of_class(kind)} in {kind.__name__}.forward"
