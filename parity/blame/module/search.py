"""Hop 1: the traceable module against upstream, by the submodules that both run.

Submodules that both have in common were taken over from upstream, or filled with the same weights.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from parity.blame import hazards, source
from parity.blame.failure import Failure
from parity.blame.likeness import likeness, relative_l2
from parity.blame.module.calls import Call, Names, Pair, calls, leading, pairs, tensors, whole
from parity.blame.module.statement import Path
from parity.build.convert import call
from parity.verdict import Blame

LOG = logging.getLogger(__name__)
SHARE = 0.1
"""The share of the failure from which a submodule's error counts as part of it, and the share of a submodule's error
from which what it was given explains it."""
LOWEST_BAR, HIGHEST_BAR = 1e-5, 0.05
NOTHING_SHARED = "it shares no submodule with upstream whose values can be compared"

Weights = tuple[tuple[str, tuple[int, ...], bytes], ...]
Whole = tuple[list[Tensor], list[Tensor]]
"""All that a call was given, and all that it gave."""


@dataclass(frozen=True)
class Rewrite:
    """A traceable module that fails, beside upstream.

    Attributes:
        failure: The golden inputs and outputs, and the outputs of the module.
        module: The traceable module.
        cut_from: The model that it was cut from, which names the submodules that were taken over.
        upstream: Another instance of the upstream model, with the same weights.
        record: Runs `upstream` on the case.
    """

    failure: Failure
    module: nn.Module
    cut_from: Any
    upstream: nn.Module
    record: Callable[[], object]

    @cached_property
    def names(self) -> Names:
        """The submodules of the rewrite with upstream's names; by their weights where none was taken over."""
        parts = self.cut_from.named_modules() if isinstance(self.cut_from, nn.Module) else ()
        own = set(self.module.modules())
        taken_over = {part: name for name, part in parts if part in own and name}
        return taken_over or _of_same_weights(self.module, self.upstream)

    @cached_property
    def upstream_names(self) -> Names:
        known = set(self.names.values())
        return {part: name for name, part in self.upstream.named_modules() if name in known}

    def part(self, made: Call) -> nn.Module:
        return next(part for part, known in self.names.items() if known == made.name)

    def run(self) -> object:
        return call(self.module, self.failure.stage, self.failure.inputs)

    @cached_property
    def path(self) -> Path | None:
        return _path(self.failure, self.module)

    def compared(self) -> list[Pair]:
        """Return the calls that both made, of those that lead to the output if any is known to."""
        if not self.names:
            return []
        found = pairs(calls(self.module, self.names, self.run), self.upstream, self.upstream_names, self.record)
        return [pair for pair in found if self.path and self.path.inside(self.part(pair.made))] or found

    def last(self, made: Sequence[Call]) -> Call | None:
        """Return the last of some calls on the way to the output."""
        last = self.path.last([self.part(one) for one in made]) if self.path else None
        return next((one for one in reversed(made) if last is None or self.part(one) is last), None)

    def whole(self, pair: Pair) -> tuple[Whole, Whole]:
        """Return a call of ours and the one of upstream."""
        ours = whole(self.module, self.names, self.run, pair.made.name, pair.made.turn)
        return ours, whole(self.upstream, self.upstream_names, self.record, pair.made.name, pair.turn)


def blame_module(rewrite: Rewrite) -> Blame:
    """Return where a traceable module leaves upstream."""
    failure, module, path = rewrite.failure, rewrite.module, rewrite.path
    given = failure.candidate.get(failure.output)
    if given is None or given.shape != failure.reference[failure.output].shape:
        return replace(_as_a_whole(failure, module, path), looks_like=failure.looks or "missing")
    bar = min(max(SHARE * failure.error, LOWEST_BAR), HIGHEST_BAR)
    compared = rewrite.compared()
    wrong = next((pair for pair in compared if pair.gave >= bar), None)
    first = next((index for index, pair in enumerate(compared) if wrong and max(pair.given, pair.gave) >= bar), None)
    agreed = rewrite.last([pair.made for pair in compared[:first]])
    if wrong and first is not None:
        found = _of_call(rewrite, compared[first], wrong, agreed)
        return replace(found, op_index=first + 1, op_count=len(compared))
    shared = "the last submodule shared with upstream on the way to it"
    said = f"after `{agreed.name}`, {shared}" if agreed else NOTHING_SHARED
    line, computed = (path and path.leaves(bar, rewrite.record)) or ("", "")
    said = _with_hazards(f"{said}; {computed}" if computed else said, failure.looks)
    return _as_a_whole(failure, module, path, said, line)


def blame_unheard(failure: Failure, module: nn.Module, why: str) -> Blame:
    """Return what can be told of a traceable module where upstream can't be run.

    Args:
        failure: The golden inputs and outputs, and the outputs of the module.
        module: The traceable module.
        why: The reason why it can't be more.
    """
    said = why if next(module.parameters(), None) is not None else NOTHING_SHARED
    return _as_a_whole(failure, module, _path(failure, module), said)


def _path(failure: Failure, module: nn.Module) -> Path | None:
    stage = failure.stage
    if failure.output not in stage.outputs:
        return None
    given = [torch.from_numpy(failure.inputs[name].copy()) for name in stage.inputs]
    return Path(module, given, list(stage.outputs).index(failure.output))


def _as_a_whole(failure: Failure, module: nn.Module, path: Path | None, said: str = "", line: str = "") -> Blame:
    """Name a line if one is known, or the statement that makes the output, or else the class of the module."""
    kind = type(module)
    line = line or (path.end if path else "") or f"{source.of_class(kind)} in {kind.__name__}.forward"
    return failure.blame(source=line, fault="module", detail=said)


def _of_call(rewrite: Rewrite, pair: Pair, wrong: Pair, agreed: Call | None) -> Blame:
    """Blame the first call that is given, or gives, something else; `wrong` is the first that gives something else."""
    made, given, gave = pair.made, pair.given, pair.gave
    call_of = f"`{made.name}`" + (f" (call {made.turn + 1})" if made.turn else "")
    differs = f"what {call_of} gives differs by a relative L2 of {gave:.2g}"
    ours, theirs = rewrite.whole(pair)
    was_given = given >= SHARE * gave
    if was_given:
        since = f", since {_last(agreed, made)}" if agreed else ""
        said = f"what {call_of} is given differs already, by a relative L2 of {given:.2g}{since}"
        if pair is not wrong:
            said += f"; it gives the same still, and `{wrong.made.name}` is the first that does not"
    elif math.isnan(given):
        said = f"{differs}; what it is given can't be compared"
    elif _leaks(rewrite.part(made), ours, theirs, gave):
        said = f"{differs}; what it is given agrees as far as upstream's goes, and what is behind that leaks in"
    else:
        said = f"{call_of} itself gives something else on what agrees, by a relative L2 of {gave:.2g}"
    side = 0 if was_given else 1
    both = filter(None, map(leading, theirs[side], ours[side]))
    likely = (likeness(*(value.numpy() for value in values)) for values in both)
    look = next((str(found) for found in likely if found.tells), "")
    return rewrite.failure.blame(
        look,
        value=made.name,
        op_type=made.kind,
        source=source.told(made.stack),
        fault="module",
        detail=_with_hazards(said, look, rewrite.failure.looks),
    )


def _leaks(part: nn.Module, ours: Whole, theirs: Whole, error: float) -> bool:
    """Return whether most of an error goes when the layer is given no more than upstream's was."""
    both = leading(theirs[0][0], ours[0][0]) if len(ours[0]) == 1 and theirs[0] else None
    if not both or both[1].shape == ours[0][0].shape:
        return False
    expected = theirs[1][0]
    try:
        with torch.no_grad():
            gave = next(tensors(part(both[1])))
    except (RuntimeError, ValueError, IndexError) as refused:
        LOG.warning("%s can't run on the part that upstream has", type(part).__name__, exc_info=refused)
        return False
    return gave.shape == expected.shape and relative_l2(expected, gave) < SHARE * error


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


def _of_same_weights(module: nn.Module, upstream: nn.Module) -> Names:
    """Return the layers whose weights no other layer has, on either side."""
    ours, theirs = _layers(module), _layers(upstream)
    shared = (weights for weights in ours.keys() & theirs.keys() if len(ours[weights]) == len(theirs[weights]) == 1)
    return {module.get_submodule(ours[weights][0]): theirs[weights][0] for weights in shared}


def _layers(model: nn.Module) -> dict[Weights, list[str]]:
    """Return the names of the layers that hold weights and no other layers, by their weights.

    Weights count exactly, without integers, which only count. Scripted layers are left out: nothing can be heard of
    their calls.
    """
    found: dict[Weights, list[str]] = {}
    for name, part in model.named_modules():
        scripted = isinstance(part, torch.jit.ScriptModule)
        if not scripted and next(part.children(), None) is None and next(part.parameters(), None) is not None:
            weights = tuple(
                (name, tuple(value.shape), hashlib.sha256(value.cpu().numpy().tobytes()).digest())
                for name, value in sorted(part.state_dict().items())
                if value.is_floating_point()
            )
            found.setdefault(weights, []).append(name)
    return found
