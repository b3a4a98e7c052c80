"""What submodules were given and gave while a model ran: samples of all calls, or one call whole."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from parity import convert
from parity.blame.distance import relative_l2
from parity.blame.source import Frame

SAMPLE = 1 << 15
"""How many values of a tensor are kept: a model has hundreds of calls, and one can be kept whole later."""
Names = Mapping[nn.Module, str]


@dataclass(frozen=True)
class Sample:
    shape: tuple[int, ...]
    values: Tensor


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
    """Every call of the named submodules, in the order in which they ended."""
    found: list[Call] = []
    turns: Counter[str] = Counter()

    def ended(part: nn.Module, given: object, gave: object) -> None:
        name = names[part]
        taken, made = (tuple(map(_sample, _tensors(values))) for values in (given, gave))
        found.append(Call(name, turns[name], type(part).__name__, taken, made, tuple(_stack())))
        turns[name] += 1

    _run(model, names, run, ended)
    return found


def whole(
    model: nn.Module, names: Names, run: Callable[[], object], name: str, turn: int
) -> tuple[list[Tensor], list[Tensor]]:
    """All that one call was given and gave."""
    found: tuple[list[Tensor], list[Tensor]] = [], []
    turns = 0

    def ended(part: nn.Module, *values: object) -> None:
        nonlocal turns
        if turns == turn:
            for kept, value in zip(found, values, strict=True):
                kept.extend(tensor.detach().clone() for tensor in _tensors(value))
        turns += 1

    _run(model, {part: known for part, known in names.items() if known == name}, run, ended)
    return found


def distance(ours: tuple[Sample, ...], theirs: tuple[Sample, ...]) -> float:
    """The largest relative L2 of those that have the same shape; NaN if none has."""
    pairs = [(a, b) for a, b in zip(theirs, ours, strict=False) if a.shape == b.shape]
    return max((relative_l2(a.values, b.values) for a, b in pairs), default=math.nan)


def _run(model: nn.Module, names: Names, run: Callable[[], object], ended: Callable[..., None]) -> None:
    with ExitStack() as hooks:
        for part in model.modules():
            if part in names:
                hooks.callback(part.register_forward_hook(lambda *seen: ended(*seen)).remove)
        result = run()
        if isinstance(result, Iterator):
            for _ in result:
                pass


def _sample(value: Tensor) -> Sample:
    flat = value.detach().reshape(-1)
    return Sample(tuple(value.shape), flat[:: max(1, flat.numel() // SAMPLE)].clone())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _stack() -> Iterator[Frame]:
    """The frames between the hooks and the call of the module, the innermost first."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename != convert.__file__:
        if frame.f_code.co_filename != __file__:
            yield frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
        if frame.f_back is None:
            return
        frame = frame.f_back
