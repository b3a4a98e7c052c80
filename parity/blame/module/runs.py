"""The runs of a rewrite and of upstream, whose calls are compared; each is made when it is wanted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from parity.blame.distance import relative_l2
from parity.blame.likeness import likeness
from parity.blame.module.calls import Call, Names, calls, leading, tensors, whole
from parity.blame.module.pairs import Pair, pairs
from parity.blame.module.statement import Path
from parity.blame.wording import TELLS_LITTLE
from parity.declarations import Arrays

LOG = logging.getLogger(__name__)
SHARE = 0.1
"""The share of the failure from which a submodule's error counts as part of it, and the share of a submodule's error
from which what it was given explains it."""


@dataclass(frozen=True)
class Runs:
    module: nn.Module
    names: Names
    inputs: Arrays
    run: Callable[[], object]
    upstream: nn.Module
    record: Callable[[], object]

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
        last = path.last([self._part(call.name) for call in made]) if path else None
        return next((call for call in reversed(made) if last is None or self._part(call.name) is last), None)

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
