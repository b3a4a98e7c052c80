"""The calls of a rewrite's submodules, each beside the one of upstream that it stands for.

Upstream runs a whole case, with hundreds of calls for each of ours: more than can be kept. So it runs once to tell
which of them ours are, and again to compare those while they are made. Of our calls samples are kept.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from parity.blame.likeness import relative_l2
from parity.blame.source import Frame
from parity.build import convert

SAMPLE = 1 << 17
"""The number of values that are kept of a tensor: a model has hundreds of calls, and one can be kept whole later."""
ROUNDING = 1e-5
Names = Mapping[nn.Module, str]


class Sample:
    """Every n-th value along each axis; small tensors are kept whole."""

    def __init__(self, tensor: Tensor) -> None:
        strides = [1] * tensor.ndim  # odd, so that of values that come in pairs both kinds are seen
        while math.prod(left := [-(-size // by) for size, by in zip(tensor.shape, strides, strict=True)]) > SAMPLE:
            strides[left.index(max(left))] += 2
        self._places = tuple(slice(None, None, stride) for stride in strides)
        self._values = tensor.detach()[self._places].clone()

    def beside(self, tensor: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return a tensor's values and these at the same places, as far as both reach."""
        if tensor.ndim != self._values.ndim:
            return None
        return leading(tensor.detach()[self._places], self._values)


@dataclass(frozen=True)
class Call:
    """The `turn`-th call of a submodule, counted from 0, and from where it was called."""

    name: str
    turn: int
    kind: str
    given: tuple[Sample, ...]
    gave: tuple[Sample, ...]
    stack: tuple[Frame, ...]


class Given(NamedTuple):
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


def calls(model: nn.Module, names: Names, run: Callable[[], object]) -> list[Call]:
    """Return every call of the named submodules, in the order in which they ended."""
    found: list[Call] = []

    def ended(part: nn.Module, turn: int, *values: object) -> None:
        given, gave = (tuple(map(Sample, tensors(value))) for value in values)
        found.append(Call(names[part], turn, type(part).__name__, given, gave, tuple(_stack())))

    watch(model, names, run, ended)
    return found


def whole(
    model: nn.Module, names: Names, run: Callable[[], object], name: str, turn: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Return all arguments and results of one call."""
    found: tuple[list[Tensor], list[Tensor]] = [], []

    def ended(part: nn.Module, now: int, *values: object) -> None:
        if now == turn:
            for kept, value in zip(found, values, strict=True):
                kept.extend(tensor.detach().clone() for tensor in tensors(value))

    watch(model, {part: known for part, known in names.items() if known == name}, run, ended)
    return found


def pairs(ours: Sequence[Call], model: nn.Module, names: Names, run: Callable[[], object]) -> list[Pair]:
    """Return our calls that upstream makes as well, in their order, as far as their results can be compared."""
    own: dict[str, list[Call]] = {}
    for made in ours:
        own.setdefault(made.name, []).append(made)
    common = {part: name for part, name in names.items() if name in own}
    heard: dict[str, list[Given]] = {name: [] for name in own}

    def first(part: nn.Module, turn: int, given: object, gave: object) -> None:
        heard[names[part]].append(_given(own[names[part]][0], given))

    watch(model, common, run, first)
    turns = _turns({name: len(made) for name, made in own.items()}, heard)
    found: dict[tuple[str, int], list[Pair]] = {}

    def again(part: nn.Module, turn: int, given: object, gave: object) -> None:
        for made in own[names[part]]:
            if turn in turns[made.name, made.turn]:
                apart = _distance(made.given, given), _distance(made.gave, gave)
                found.setdefault((made.name, made.turn), []).append(Pair(made, turn, *apart, _given(made, given)))

    watch(model, common, run, again)
    both = [found[made.name, made.turn] for made in ours if (made.name, made.turn) in found]
    chosen = [near[_nearest([pair.likeness for pair in near])] for near in both]
    return [pair for pair in chosen if not math.isnan(pair.gave)]


def _turns(own: Mapping[str, int], heard: Mapping[str, Sequence[Given]]) -> dict[tuple[str, int], range]:
    """Return the calls of upstream that each of ours can be: one, if upstream makes as many as of the first submodule.

    Upstream's calls are steps, of which ours are the one with most nearly the same arguments. The first submodule is
    the first of ours that upstream calls in whole steps.

    Args:
        own: The number of our calls of each submodule, in the order in which we make them.
        heard: The arguments of upstream's calls beside those of our first call.
    """
    counts = {name: 0 if len(heard[name]) % count else len(heard[name]) // count for name, count in own.items()}
    first = next((name for name in own if counts[name]), "")
    step = _nearest(heard[first][:: own[first]]) if first else 0
    found: dict[tuple[str, int], range] = {}
    for name, count in own.items():
        known = counts[name] and counts[name] in (1, counts[first])
        begin = 0 if counts[name] == 1 else step * count
        for turn in range(count):
            found[name, turn] = range(begin + turn, begin + turn + 1) if known else range(len(heard[name]))
    return found


def _nearest(found: Sequence[Given]) -> int:
    """Return the longest of those that are the same: the arguments of one step may begin as those of another."""
    least = min(given.unlike for given in found) + ROUNDING
    return max((turn for turn, given in enumerate(found) if given.unlike <= least), key=lambda turn: found[turn].common)


def _given(made: Call, given: object) -> Given:
    both = list(_places(made.given, given))
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


def _distance(ours: Sequence[Sample], theirs: object) -> float:
    """Return the largest relative L2, each as far as both reach; NaN if none can be compared."""
    return max((relative_l2(*both) for both in _places(ours, theirs)), default=math.nan)


def _places(ours: Sequence[Sample], theirs: object) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield upstream's values and ours at the same places, tensor after tensor."""
    found = (sample.beside(tensor) for sample, tensor in zip(ours, tensors(theirs), strict=False))
    return (both for both in found if both)


def leading(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the part that two tensors share, from the start of each axis; None if there is none."""
    if one.ndim != other.ndim:
        return None
    part = tuple(slice(min(sizes)) for sizes in zip(one.shape, other.shape, strict=True))
    return (one[part], other[part]) if one[part].numel() else None


def watch(
    model: nn.Module,
    names: Names,
    run: Callable[[], object],
    ended: Callable[[nn.Module, int, object, object], None],
) -> None:
    """Run a model. `ended` gets each named submodule whose call ends, with the turn, the arguments and the results."""
    turns: Counter[str] = Counter()

    def hook(part: nn.Module, given: object, gave: object) -> None:
        turns[names[part]] += 1
        ended(part, turns[names[part]] - 1, given, gave)

    with ExitStack() as hooks:
        for part in model.modules():
            if part in names:
                hooks.callback(part.register_forward_hook(hook).remove)
        run()


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)


def _stack() -> Iterator[Frame]:
    """Yield the frames between the hooks and the call of the module, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename != convert.__file__:
        if frame.f_code.co_filename != __file__:
            yield frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
        frame = frame.f_back
