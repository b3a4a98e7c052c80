"""The recording of stages that run step by step. `parity.run.stepping` reads the recordings back.

The golden of such a stage is one seam for all of its steps. Inputs and outputs of every step are stacked along a new
first axis. Of a carried value, the inputs hold the value before the first step, and the outputs its value after each.
A cache of which each step writes a few slots is reduced to those slots. `<output>.slots` among the inputs lists them, a
row for each step, padded with -1. The reduction loses nothing, for the recorder refuses a step that changes another
slot than those it lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from parity.declarations import Arrays, Seam

SLOTS = ".slots"
"""Suffix of the seam's input that lists the slots which each step wrote."""


@dataclass(frozen=True)
class Crossing:
    """One step of a stage.

    Attributes:
        inputs: Every input of the graph, carried values included, whole.
        outputs: Every output of the graph, carried values included, whole.
        wrote: Slots that the step wrote of a cache output. Without an entry they are those whose values changed, and a
            step that writes what a slot already held, such as the same token in the next frame, needs one.

    Example:
        `Crossing({"x": x, "cache": before}, {"y": y, "cache_out": after}, {"cache_out": [position]})`
    """

    inputs: Arrays
    outputs: Arrays
    wrote: Mapping[str, Sequence[int]] = field(default_factory=dict)


def seam(stage: str, crossings: Iterable[Crossing], carries: Mapping[str, str], slots: Mapping[str, int]) -> Seam:
    """Return the golden of a stepped stage.

    Args:
        stage: Name of the stage.
        crossings: Its steps, in order. Their arrays are copied, and may be written to afterwards.
        carries: Outputs that are inputs of the next step: output → input.
        slots: For each cache output of which a step writes a few slots, the axis of these.

    Raises:
        ValueError: A step does not start from the carried values with which the step before ended, or a cache was not
            written, or in other slots than the step says, or no step was given.

    Example:
        `yield seam("step", crossings(), {"cache_out": "cache"}, {"cache_out": 1})`
    """
    inputs: dict[str, list[np.ndarray]] = {}
    outputs: dict[str, list[np.ndarray]] = {}
    written: dict[str, list[np.ndarray]] = {name: [] for name in slots}
    first: dict[str, np.ndarray] = {}
    carried: dict[str, np.ndarray] = {}
    for step, crossing in enumerate(crossings):
        if unknown := ", ".join(sorted(crossing.wrote.keys() - slots.keys())):
            raise ValueError(f"{stage}, step {step}: `wrote` names {unknown}, and `slots` does not")
        for name, source in carries.items():
            before, after = crossing.inputs[source], crossing.outputs[name]
            if step == 0:
                first[source] = before.copy()
            elif not np.array_equal(before, carried[name]):
                raise ValueError(f"{stage}, step {step}: {source} is not what the step before left in {name}")
            carried[name] = after.copy()
            if name in slots:
                changed = _changed(before, after, slots[name])
                wrote = np.array(crossing.wrote.get(name, changed), np.int32)
                if not wrote.size:
                    raise ValueError(
                        f"{stage}, step {step}: {name} was written nowhere; if the step wrote what was there, name the "
                        "slots in `Crossing.wrote`"
                    )
                if others := sorted({*map(int, changed)} - {*map(int, wrote)}):
                    raise ValueError(f"{stage}, step {step}: slots {others} of {name} changed, and are not in `wrote`")
                written[name].append(wrote)
                outputs.setdefault(name, []).append(np.take(after, wrote, slots[name]))
            else:
                outputs.setdefault(name, []).append(after.copy())
        for name, value in crossing.inputs.items():
            if name not in carries.values():
                inputs.setdefault(name, []).append(value.copy())
        for name, value in crossing.outputs.items():
            if name not in carries:
                outputs.setdefault(name, []).append(value.copy())
    if not outputs:
        raise ValueError(f"{stage} was never crossed")
    return Seam(
        stage,
        {
            **{name: np.stack(values) for name, values in inputs.items()},
            **first,
            **{f"{name}{SLOTS}": _table(rows) for name, rows in written.items()},
        },
        {
            name: np.concatenate(values, slots[name]) if name in slots else np.stack(values)
            for name, values in outputs.items()
        },
    )


def _changed(before: np.ndarray, after: np.ndarray, axis: int) -> np.ndarray:
    others = tuple(i for i in range(after.ndim) if i != axis)
    return np.flatnonzero((before != after).any(axis=others)).astype(np.int32)


def _table(rows: Sequence[np.ndarray]) -> np.ndarray:
    table = np.full((len(rows), max(row.size for row in rows)), -1, np.int32)
    for line, row in zip(table, rows, strict=True):
        line[: row.size] = row
    return table
