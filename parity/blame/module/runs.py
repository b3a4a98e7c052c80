"""The runs of a rewrite and of upstream, whose calls are compared; each is made when it is wanted.

Submodules that both have in common were taken over from upstream, or filled with the same weights.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from parity.blame.distance import relative_l2
from parity.blame.first_step import Failing
from parity.blame.likeness import likeness
from parity.blame.module.calls import Call, Names, calls, leading, tensors, whole
from parity.blame.module.pairs import Pair, pairs
from parity.blame.module.statement import Path
from parity.blame.wording import TELLS_LITTLE
from parity.build.convert import call
from parity.declarations import Stage

LOG = logging.getLogger(__name__)
SHARE = 0.1
"""The share of the failure from which a submodule's error counts as part of it, and the share of a submodule's error
from which what it was given explains it."""

Weights = tuple[tuple[str, tuple[int, ...], bytes], ...]


@dataclass(frozen=True, kw_only=True)
class Runs:
    """A traceable module that fails, beside upstream.

    Attributes:
        stage: The stage.
        module: The traceable module.
        cut_from: The model that it was cut from, which names the submodules that were taken over.
        upstream: Another instance of the upstream model, with the same weights.
        record: Runs `upstream` on the case.
        crossing: The golden inputs and outputs, and the outputs of the module.
    """

    stage: Stage
    module: nn.Module
    cut_from: Any
    upstream: nn.Module
    record: Callable[[], object]
    crossing: Failing

    @cached_property
    def names(self) -> Names:
        """The submodules of the rewrite with upstream's names; by their weights where none was taken over."""
        return _taken_over(self.module, self.cut_from) or _of_same_weights(self.module, self.upstream)

    def run(self) -> object:
        return call(self.module, self.stage, self.crossing.inputs)

    @property
    def upstream_names(self) -> Names:
        known = set(self.names.values())
        return {part: name for name, part in self.upstream.named_modules() if name in known}

    def compared(self, path: Path | None) -> list[Pair]:
        """Return the calls that both made, of those that lead to the output if any is known to."""
        if not self.names:
            return []
        found = pairs(calls(self.module, self.names, self.run), self.upstream, self.upstream_names, self.record)
        leading = [pair for pair in found if path and path.inside(self._part(pair.made.name))]
        return leading or found

    def last(self, path: Path | None, made: Sequence[Call]) -> Call | None:
        """Return the last of some calls on the way to the output."""
        last = path.last([self._part(one.name) for one in made]) if path else None
        return next((one for one in reversed(made) if last is None or self._part(one.name) is last), None)

    def _part(self, name: str) -> nn.Module:
        return next(part for part, known in self.names.items() if known == name)

    def whole(self, pair: Pair) -> Whole:
        made = pair.made
        ours = whole(self.module, self.names, self.run, made.name, made.turn)
        theirs = whole(self.upstream, self.upstream_names, self.record, made.name, pair.turn)
        return Whole(self._part(made.name), ours, theirs)


@dataclass(frozen=True)
class Whole:
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


def _taken_over(module: nn.Module, cut_from: Any) -> Names:
    if not isinstance(cut_from, nn.Module):
        return {}
    own = set(module.modules())
    return {part: name for name, part in cut_from.named_modules() if part in own and name}


def _of_same_weights(module: nn.Module, upstream: nn.Module) -> Names:
    """Return the layers whose weights no other layer has, on either side."""
    ours, theirs = _layers(module), _layers(upstream)
    return {
        module.get_submodule(ours[weights][0]): theirs[weights][0]
        for weights in ours.keys() & theirs.keys()
        if len(ours[weights]) == len(theirs[weights]) == 1
    }


def _layers(model: nn.Module) -> dict[Weights, list[str]]:
    """Return the names of the layers that hold weights and no other layers, by their weights.

    Scripted layers are left out: nothing can be heard of their calls.
    """
    found: dict[Weights, list[str]] = {}
    for name, part in model.named_modules():
        scripted = isinstance(part, torch.jit.ScriptModule)
        if not scripted and next(part.children(), None) is None and next(part.parameters(), None) is not None:
            found.setdefault(_weights(part), []).append(name)
    return found


def _weights(layer: nn.Module) -> Weights:
    """Return the weights of a layer exactly, without integers, which only count."""
    return tuple(
        (name, tuple(value.shape), hashlib.sha256(value.cpu().numpy().tobytes()).digest())
        for name, value in sorted(layer.state_dict().items())
        if value.is_floating_point()
    )
