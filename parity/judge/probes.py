"""An artifact beside its traceable module at values and sizes that no golden has.

Each input is perturbed alone, and what moves has to move as in the module, so an ignored input fails. Then inputs of
the smallest and the largest declared sizes go through both, and a step that fills the last slot of each cache. Only the
artifact is judged here: where the goldens vary an input, the module check compares the module with upstream.

A program with weights of few bits is compared with the module quantized alike, to which it is ten times nearer than
to upstream: what hides behind the cost of quantization shows here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import inf

import numpy as np
import torch
from torch import nn

from parity.build import convert
from parity.declarations import Arrays, Dim, Seam, Stage, Tensor, Variant
from parity.plan.checks import dims, large
from parity.run import stepping
from parity.run.runtime import cast
from parity.verdict import Bound, Finding

MOVES, EDGE, QUANTIZED = "moves", "edge", "quantized"
APART = Bound("max", 0.5, 0.0)
"""The distance of a movement from the module's, as relative L2. An ignored input has 1; precision alone, where a
movement is barely telling, has a third."""
CLEAR, TELLING = 10.0, 4.0
"""Sizes from which on a movement counts beside others, and at all, in distances of artifact and module before it."""
AMOUNTS = (0.5, 2.0)
"""Logarithms of the largest factor of a perturbation. The second is for inputs that hardly move anything."""
WORSE = 4.0
"""Distance of the worst row that is allowed at an edge, in distances at the sizes of tracing."""
UNEXPLAINED = Bound("max", 0.25, 0.0)
"""The distance of a program from its quantized module, in distances of that from the module itself. Kernels that round
an activation the other way leave a tenth."""
UNTOUCHED = 1e-4
"""The relative L2 up to which quantization leaves an output as it is."""
ROUNDING = {"float32": 2.0**-24, "float16": 2.0**-11}
"""The largest relative error of a number that is rounded, by precision."""
FLOOR = {"float32": 1e-3, "float16": 1e-2}
"""Distance of the worst row that is always allowed, by the precision of the variant."""

Cross = Callable[[Arrays], Mapping[str, np.ndarray]]
Pair = tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]
"""The outputs of the artifact, and those of the module."""


@dataclass(frozen=True)
class Both:
    """An artifact and its traceable module, which run on the same inputs.

    Attributes:
        stage: The stage.
        variant: The variant of the artifact.
        seam: The golden from which inputs are drawn.
        artifact: Runs the artifact on inputs.
        module: Runs the traceable module; for a program of few bits, with its weights in as many.
        rounded: Runs the traceable module with its weights rounded once more, which is asked where all inputs are whole
            numbers. Weights in few bits have no such form: the same as `module`.
    """

    stage: Stage
    variant: Variant
    seam: Seam
    artifact: Cross
    module: Cross
    rounded: Cross

    def __call__(self, inputs: Arrays) -> Pair:
        given = self.exact(inputs)
        return self.artifact(cast(self.stage, self.variant, given)), self.module(given)

    @cached_property
    def golden(self) -> Arrays:
        """The inputs of the golden; where it has steps, those of the middle one."""
        if not self.stage.stepped:
            return self.seam.inputs
        middle = stepping.count(self.stage, self.seam) // 2
        return next(islice(stepping.crossings(self.stage, self.seam), middle, None)).inputs

    @cached_property
    def usual(self) -> Arrays:
        """The golden's inputs at the sizes of tracing; a stage that is traced at each bucket has its smallest."""
        buckets = {name: min(dim.buckets) for name, dim in dims(self.stage).items() if dim.buckets}
        return drawn(self.stage, self.golden, buckets | dict(self.stage.trace_at))

    @cached_property
    def at_usual(self) -> Pair:
        return self(self.usual)

    def exact(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Return inputs that every variant can take as they are, so that the module gets what the artifact gets."""
        return {
            name: value.astype(np.float16).astype(value.dtype) if self.stage.inputs[name].dtype == "real" else value
            for name, value in inputs.items()
        }

    def noise(self, output: str, pair: Pair) -> float:
        """Return the distance of artifact and module, at least that of rounding: they may be equal by chance."""
        artifact, module = (one[output] for one in pair)
        return max(_norm(artifact, module), ROUNDING[self.variant.precision] * _norm(module, 0 * module), 1e-30)

    def worst_rows(self, pair: Pair) -> dict[str, float]:
        """Return the distance of the worst row of each output."""
        return {name: _worst_row(tensor, *(one[name] for one in pair)) for name, tensor in self.stage.outputs.items()}

    def amplified(self, inputs: Arrays, made: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Return how far the module's outputs move when its inputs are rounded once more, or else its weights.

        Args:
            inputs: The inputs.
            made: What the module makes of them.
        """
        given = self.exact(inputs)
        if all(value.dtype.kind != "f" for value in given.values()):
            return self.worst_rows((self.rounded(given), made))
        random, most = np.random.default_rng(0), ROUNDING["float16"]
        near = {
            name: (value * (1 + random.uniform(-most, most, value.shape))).astype(value.dtype)
            if value.dtype.kind == "f"
            else value
            for name, value in given.items()
        }
        return self.worst_rows((self.module(near), made))


def findings(both: Both) -> Iterator[Finding]:
    """Yield a finding for each input, and one for each edge that is not too large for every run."""
    for name in both.stage.inputs:
        yield _moves(both, name)
    rare = _rare(both.stage) if large(both.stage) else []
    for sizes in _sizes(both.stage):
        if sizes not in rare:
            yield _edge(both, sizes)
    yield from _full(both)


def stretched(both: Both) -> Iterator[Finding]:
    """Yield the findings at the sizes of a stage that is too large there for every run."""
    yield from (_edge(both, sizes) for sizes in _rare(both.stage))


def quantized(both: Both, plain: Cross) -> Iterator[Finding]:
    """Yield a finding for each output that quantization changes; `plain` runs the module as it is."""
    made, asked = both.at_usual
    whole = plain(both.exact(both.usual))
    costs = {name: _norm(asked[name], whole[name]) for name in both.stage.outputs}
    changed = [name for name in costs if costs[name] > UNTOUCHED * _norm(whole[name], 0 * whole[name])]
    if not changed:
        yield Finding(both.stage.name, QUANTIZED, False, message="quantization changes no output: nothing was compared")
    for name in changed:
        left = _norm(made[name], asked[name]) / costs[name]
        said = (
            f"{left:.2g} of what quantization changes away from the module quantized alike, allowed is "
            f"{UNEXPLAINED.limit:g}: look for other scales, activations in fixed steps, another kernel"
        )
        yield _bounded(name, QUANTIZED, left, UNEXPLAINED, said)


def decided(both: Both, answer: stepping.Answer) -> Iterator[Finding]:
    """Yield a finding for each input of a stage whose variant is `replayed`: its decisions have to follow the input.

    Args:
        both: The artifact and its module.
        answer: Runs `Stage.replay`.
    """
    given, outputs = both.golden, both.stage.outputs
    before = both.artifact(cast(both.stage, both.variant, given))
    usual = answer(given, before)
    for name in both.stage.inputs:
        for amount in AMOUNTS:
            inputs = {**given, name: perturbed(name, given[name], amount)}
            asked = answer(inputs, before)  # after the same decisions, so that only the input counts
            moved = {output: _unequal(asked[output], usual[output]) for output in outputs}
            worst = max(moved, key=lambda output: moved[output])
            if moved[worst] >= APART.limit:
                break
        if moved[worst] < APART.limit:
            said = f"moves {moved[worst]:.0%} of the decisions after the same ones before: too little to judge"
            yield Finding(name, MOVES, bool(moved[worst]), message=said if moved[worst] else "has no effect")
            continue
        made = both.artifact(cast(both.stage, both.variant, inputs))
        apart = _unequal(made[worst], answer(inputs, made)[worst]) / moved[worst]
        yield _bounded(name, MOVES, apart, APART, f"{worst} moves otherwise than in the module")


def _unequal(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of unequal whole numbers; 0 for other values, which follow from decisions."""
    return float(np.mean(one != other)) if one.dtype.kind in "iu" else 0.0


def drawn(stage: Stage, inputs: Arrays, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Return inputs of other sizes: the golden's values, repeated or cut, corrected by `Stage.resize`."""
    made = {}
    for name, tensor in stage.inputs.items():
        value = inputs[name]
        for axis, size in enumerate(tensor.shape):
            if isinstance(size, Dim):
                value = np.take(value, np.arange(size.at(sizes[size.name])) % value.shape[axis], axis)
        made[name] = value
    return {**made, **stage.resize(made, sizes)} if dims(stage) else made


def perturbed(name: str, value: np.ndarray, amount: float) -> np.ndarray:
    """Return other values of the same kind: numbers of the same sign; integers in another order, or the last halved.

    A 1 becomes 2, since what counts from 1 has no 0.
    """
    if value.dtype.kind == "f":
        random = np.random.default_rng(zlib.crc32(name.encode())).uniform(-amount, amount, value.shape)
        return (value * np.exp(random) if value.any() else random).astype(value.dtype)
    rolled = np.roll(value, 1)
    if not np.array_equal(rolled, value):
        return rolled
    changed = value.copy()
    changed.flat[-1] = (int(value.flat[-1]) // 2 or 2) if value.any() else 1
    return changed


def _moves(both: Both, name: str) -> Finding:
    """Judge the outputs that an input moves clearly.

    A carried input hands itself on: that counts only where upstream's reaches nothing else, as in the last layer of a
    stage that only fills caches.
    """
    given, usual = both.usual, both.at_usual
    copies = [output for output, source in both.stage.carries.items() if source == name]
    others = [output for output in both.stage.outputs if output not in copies]
    noise = {output: both.noise(output, usual) for output in both.stage.outputs}
    for judged, amount in (*((others, amount) for amount in AMOUNTS), (copies, AMOUNTS[0])):
        after = both({**given, name: perturbed(name, given[name], amount)})
        moved = {output: _norm(after[1][output], usual[1][output]) for output in judged}
        clear = {output: size / noise[output] for output, size in moved.items() if size}
        most = max(clear.values(), default=0.0)
        if most >= CLEAR or (clear and amount == AMOUNTS[-1]):
            break
    if not clear:
        return Finding(name, MOVES, False, message="has no effect: the module gives the same for other values of it")
    if most < TELLING:
        said = f"moves the outputs by {most:.2g} times what the precision of the variant does: too little to judge"
        return Finding(name, MOVES, True, message=said)
    counted = [output for output in clear if clear[output] >= min(CLEAR, most)]
    apart = {output: _apart(output, usual, after) / moved[output] for output in counted}
    worst = max(apart, key=lambda output: apart[output] if np.isfinite(apart[output]) else inf)
    still = not _norm(after[0][worst], usual[0][worst])
    how = "does not move with it: the artifact ignores it" if still else "moves with it otherwise than in the module"
    return _bounded(name, MOVES, apart[worst], APART, f"{worst} {how}")


def _sizes(stage: Stage) -> list[dict[str, int]]:
    """Return the smallest sizes, those that fill each bucket but the last, those just above, and the largest.

    Just above a bucket, the next one is filled least.
    """
    ranges = dims(stage)
    lowest, highest = ({name: getattr(dim, end) for name, dim in ranges.items()} for end in ("low", "high"))
    between = [
        {**lowest, name: size}
        for name, dim in ranges.items()
        for bucket in dim.buckets[:-1]
        for size in (bucket, bucket + 1)
    ]
    found = [lowest, *(sizes for sizes in between if sizes != highest), highest] if ranges else []
    return [sizes for position, sizes in enumerate(found) if sizes not in found[:position]]


def _rare(stage: Stage) -> list[dict[str, int]]:
    """Return the sizes that only a run of all cases probes: those of rare buckets, or the largest."""
    if stage.common is None:
        return _sizes(stage)[-1:]
    bucketed = {name for name, dim in dims(stage).items() if dim.buckets}
    return [sizes for sizes in _sizes(stage) if any(sizes[name] > stage.common for name in bucketed)]


def _full(both: Both) -> Iterator[Finding]:
    """Judge a step that writes the last slots of the caches, all slots before them filled."""
    stage, seam, found = both.stage, both.seam, both.golden
    slots = stepping.slots_of(stage)
    if not slots:
        return
    written = max(rows.size for rows in stepping.written(stage, seam, stepping.count(stage, seam) - 1).values())
    counters = [source for source in stage.carries.values() if stage.inputs[source].kind == "counter"]
    sizes = {stage.carries[name]: int(stage.outputs[name].sizes({})[axis]) for name, axis in slots.items()}
    axes = {stage.carries[name]: axis for name, axis in slots.items()}
    for size in sorted(set(sizes.values())):
        caches = {source: _filled(found[source], axes[source]) for source in axes if sizes[source] == size}
        positions = {name: np.full_like(found[name], size - written) for name in counters}
        yield _judged(both, f"slots {size}", {**found, **caches, **positions})


def _edge(both: Both, sizes: Mapping[str, int]) -> Finding:
    label = ", ".join(f"{name} {size}" for name, size in sizes.items())
    return _judged(both, label, drawn(both.stage, both.golden, sizes))


def _judged(both: Both, label: str, inputs: Arrays) -> Finding:
    """Judge the worst output at an edge, by the worst of its rows.

    Where a row is too far, it may be farther as much as the module itself amplifies rounding there.
    """
    pair = both(inputs)
    for name in both.stage.outputs:
        if (shape := pair[0][name].shape) != (wanted := pair[1][name].shape):
            return Finding(label, EDGE, False, message=f"{name} has the shape {shape}, the module's has {wanted}")
    floor = FLOOR[both.variant.precision]
    apart = both.worst_rows(pair)
    room = {name: max(floor, WORSE * row) for name, row in both.worst_rows(both.at_usual).items()}
    if any(not apart[name] <= room[name] for name in apart):
        there, here = both.amplified(inputs, pair[1]), both.amplified(both.usual, both.at_usual[1])
        room = {name: limit * max(1.0, there[name] / max(here[name], 1e-30)) for name, limit in room.items()}
    used = {name: apart[name] / room[name] if np.isfinite(apart[name]) else inf for name in apart}
    worst = max(used, key=lambda name: used[name])
    bound = Bound("max", float(f"{room[worst]:.3g}"), 0.0)
    return _bounded(label, EDGE, apart[worst], bound, f"a row of {worst} is this far from the module's")


def _bounded(name: str, gate: str, value: float, bound: Bound, said: str) -> Finding:
    held = bound.holds(value)
    return Finding(name, gate, held, value, bound, "" if held else said)


def _worst_row(tensor: Tensor, actual: np.ndarray, expected: np.ndarray) -> float:
    """Return the distance of the worst row along the dynamic axes, in units of the RMS of all that is expected."""
    error = np.square(actual.astype(np.float64) - expected)
    rows = [error.mean()]
    for axis, size in enumerate(tensor.shape):
        if isinstance(size, Dim) or axis == tensor.slots:
            rows.append(error.mean(tuple(other for other in range(error.ndim) if other != axis)).max())
    return float(np.sqrt(np.max(rows)) / max(np.sqrt(np.mean(np.square(expected, dtype=np.float64))), 1e-30))


def _apart(output: str, before: Pair, after: Pair) -> float:
    moved = [np.subtract(now[output], then[output], dtype=np.float64) for then, now in zip(before, after, strict=True)]
    return _norm(*moved)


def _norm(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(np.subtract(one, other, dtype=np.float64).reshape(-1)))


def _filled(cache: np.ndarray, axis: int) -> np.ndarray:
    """Return a cache whose unwritten slots repeat the written ones."""
    rows = np.moveaxis(cache, axis, 0).copy()
    full = rows.reshape(len(rows), -1).any(1)
    known, empty = np.flatnonzero(full), np.flatnonzero(~full)
    if known.size:
        rows[empty] = rows[known[np.arange(empty.size) % known.size]]
    return np.ascontiguousarray(np.moveaxis(rows, 0, axis))


def rounded(module: nn.Module, stage: Stage, inputs: Arrays) -> Arrays:
    """Run a copy of a module whose weights are as far from its own as rounding to half precision may put them."""
    near, random, most = deepcopy(module), torch.Generator().manual_seed(0), ROUNDING["float16"]
    for weight in near.parameters():
        weight.mul_(1 + (2 * torch.rand(weight.shape, generator=random) - 1) * most)
    return convert.call(near, stage, inputs)
