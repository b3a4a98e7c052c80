"""The calls of a rewrite, each beside the one of upstream that it stands for.

Upstream runs a whole case, with hundreds of calls for each of ours: more than can be kept. So it runs once to tell
which of them ours are, and again to compare those while they are made.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from parity.blame.module.calls import Call, Names, distance, places, tensors, watch

ROUNDING = 1e-5


@dataclass(frozen=True)
class Given:
    """The difference in the arguments of one of our calls and one of upstream's, and the number of values compared."""

    unlike: float
    common: int


@dataclass(frozen=True)
class Pair:
    """A call and upstream's `turn`-th of that submodule, with the distances of their arguments and of their results."""

    made: Call
    turn: int
    given: float
    gave: float
    likeness: Given


def pairs(ours: Sequence[Call], model: nn.Module, names: Names, run: Callable[[], object]) -> list[Pair]:
    """Return our calls that upstream makes as well, in their order, as far as their results can be compared."""
    own: dict[str, list[Call]] = {}
    for made in ours:
        own.setdefault(made.name, []).append(made)
    common = {part: name for part, name in names.items() if name in own}
    steps = Steps({name: len(made) for name, made in own.items()}, heard(own, model, common, run))
    found: dict[tuple[str, int], list[Pair]] = {}
    turns: Counter[str] = Counter()

    def ended(part: nn.Module, given: object, gave: object) -> None:
        name = names[part]
        for made in own[name]:
            if turns[name] in steps.turns(made):
                taken, results = list(tensors(given)), list(tensors(gave))
                apart = distance(made.given, taken), distance(made.gave, results)
                pair = Pair(made, turns[name], *apart, _given(made, taken))
                found.setdefault((name, made.turn), []).append(pair)
        turns[name] += 1

    watch(model, common, run, ended)
    both = [found[made.name, made.turn] for made in ours if (made.name, made.turn) in found]
    chosen = [near[nearest([pair.likeness for pair in near])] for near in both]
    return [pair for pair in chosen if not math.isnan(pair.gave)]


def heard(
    own: Mapping[str, Sequence[Call]], model: nn.Module, names: Names, run: Callable[[], object]
) -> dict[str, list[Given]]:
    """Return the arguments of upstream's submodules, call after call, beside those of our first call."""
    found: dict[str, list[Given]] = {name: [] for name in own}

    def ended(part: nn.Module, given: object, gave: object) -> None:
        found[names[part]].append(_given(own[names[part]][0], list(tensors(given))))

    watch(model, names, run, ended)
    return found


@dataclass(frozen=True)
class Steps:
    """Upstream's calls as steps, of which ours are one. `own` counts ours, in the order in which we make them."""

    own: Mapping[str, int]
    heard: Mapping[str, Sequence[Given]]

    def count(self, name: str) -> int:
        """Return how many steps upstream's calls of a submodule make; 0 if that is not a whole number."""
        count, rest = divmod(len(self.heard[name]), self.own[name])
        return 0 if rest else count

    @cached_property
    def first(self) -> str:
        """Return the first submodule of ours that upstream calls in whole steps."""
        return next((name for name in self.own if self.count(name)), "")

    @cached_property
    def step(self) -> int:
        """Return the step at which upstream's arguments are most nearly the same."""
        return nearest(self.heard[self.first][:: self.own[self.first]])

    def turns(self, made: Call) -> range:
        """Return the calls of upstream that ours can be: one, if upstream makes as many as of the first submodule."""
        count = self.count(made.name)
        if not count or count not in (1, self.count(self.first)):
            return range(len(self.heard[made.name]))
        turn = made.turn if count == 1 else self.step * self.own[made.name] + made.turn
        return range(turn, turn + 1)


def nearest(found: Sequence[Given]) -> int:
    """Return the longest of those that are the same: the arguments of one step may begin as those of another."""
    least = min(given.unlike for given in found) + ROUNDING
    return max((turn for turn, given in enumerate(found) if given.unlike <= least), key=lambda turn: found[turn].common)


def _given(made: Call, given: Sequence[Tensor]) -> Given:
    both = list(places(made.given, given))
    unlike = max((_unlike(*values) for values in both), default=math.inf)
    return Given(unlike, sum(values.numel() for values, _ in both))


def _unlike(reference: Tensor, candidate: Tensor) -> float:
    """Return the relative L2 of what no gain explains: a rewrite that forgets a factor is at the same step still."""
    r, c = (value.double().reshape(-1) for value in (reference, candidate))
    sizes = float(torch.dot(r, r)), float(torch.dot(c, c))
    if not all(sizes):
        return math.inf if any(sizes) else 0.0
    explained = float(torch.dot(r, c)) ** 2 / (sizes[0] * sizes[1])
    return math.sqrt(max(0.0, 1 - explained)) if math.isfinite(explained) else math.inf
