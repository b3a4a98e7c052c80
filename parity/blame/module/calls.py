"""The arguments and results of submodules while a model ran: samples of all calls, or one call whole."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import FrameType
from typing import Any

from torch import Tensor, nn

from parity.blame.distance import relative_l2
from parity.blame.source import Frame
from parity.build import convert

SAMPLE = 1 << 17
"""The number of values that are kept of a tensor: a model has hundreds of calls, and one can be kept whole later."""
Names = Mapping[nn.Module, str]
Ended = Callable[[nn.Module, object, object], None]
"""Gets a submodule, its arguments and its results when a call ends."""


@dataclass(frozen=True)
class Sample:
    """Every n-th value along each axis; small tensors are kept whole."""

    strides: tuple[int, ...]
    values: Tensor

    def beside(self, tensor: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return a tensor's values and these at the same places, as far as both reach."""
        if tensor.ndim != self.values.ndim:
            return None
        return leading(tensor.detach()[_every(self.strides)], self.values)


@dataclass(frozen=True)
class Call:
    """The `turn`-th call of a submodule, counted from 0, and from where it was called."""

    name: str
    turn: int
    kind: str
    given: tuple[Sample, ...]
    gave: tuple[Sample, ...]
    stack: tuple[Frame, ...]


def calls(model: nn.Module, names: Names, run: Callable[[], object]) -> list[Call]:
    """Return every call of the named submodules, in the order in which they ended."""
    found: list[Call] = []
    turns: Counter[str] = Counter()

    def ended(part: nn.Module, given: object, gave: object) -> None:
        name = names[part]
        taken, made = (tuple(map(_sample, tensors(values))) for values in (given, gave))
        found.append(Call(name, turns[name], type(part).__name__, taken, made, tuple(_stack())))
        turns[name] += 1

    watch(model, names, run, ended)
    return found


def whole(
    model: nn.Module, names: Names, run: Callable[[], object], name: str, turn: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Return all arguments and results of one call."""
    found: tuple[list[Tensor], list[Tensor]] = [], []
    turns = 0

    def ended(part: nn.Module, *values: object) -> None:
        nonlocal turns
        if turns == turn:
            for kept, value in zip(found, values, strict=True):
                kept.extend(tensor.detach().clone() for tensor in tensors(value))
        turns += 1

    watch(model, {part: known for part, known in names.items() if known == name}, run, ended)
    return found


def distance(ours: Sequence[Sample], theirs: Iterable[Tensor]) -> float:
    """Return the largest relative L2, each as far as both reach; NaN if none can be compared."""
    return max((relative_l2(*both) for both in places(ours, theirs)), default=math.nan)


def places(ours: Sequence[Sample], theirs: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield upstream's values and ours at the same places, tensor after tensor."""
    found = (sample.beside(tensor) for sample, tensor in zip(ours, theirs, strict=False))
    return (both for both in found if both)


def leading(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the part that two tensors share, from the start of each axis; None if there is none."""
    if one.ndim != other.ndim:
        return None
    part = tuple(slice(min(sizes)) for sizes in zip(one.shape, other.shape, strict=True))
    return (one[part], other[part]) if one[part].numel() else None


def watch(model: nn.Module, names: Names, run: Callable[[], object], ended: Ended) -> None:
    """Run a model, and tell of each call of a named submodule when it ends."""
    with ExitStack() as hooks:
        for part in model.modules():
            if part in names:
                hooks.callback(part.register_forward_hook(lambda *seen: ended(*seen)).remove)
        run()


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)


def _sample(value: Tensor) -> Sample:
    strides = _strides(tuple(value.shape))
    return Sample(strides, value.detach()[_every(strides)].clone())


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return odd strides, so that of values that come in pairs both kinds are seen."""
    strides = [1] * len(shape)
    while math.prod(left := [-(-size // stride) for size, stride in zip(shape, strides, strict=True)]) > SAMPLE:
        strides[left.index(max(left))] += 2
    return tuple(strides)


def _every(strides: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(None, None, stride) for stride in strides)


def _stack() -> Iterator[Frame]:
    """Yield the frames between the hooks and the call of the module, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename != convert.__file__:
        if frame.f_code.co_filename != __file__:
            yield frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
        frame = frame.f_back
