"""Cost of a model: load time, latency, memory, and the ops that take it."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from milrun.features import ArrayFeature
from milrun.loading import Pipeline, load
from milrun.model import Model


@dataclass(frozen=True)
class Costs:
    """Seconds and bytes, and the seconds per op (name and type) of one prediction."""

    load: float
    first: float
    median: float
    peak_bytes: int
    ops: Counter[tuple[str, str]]

    def __str__(self) -> str:
        lines = [
            f"load        {self.load * 1e3:10.1f} ms",
            f"first call  {self.first * 1e3:10.1f} ms",
            f"median call {self.median * 1e3:10.3f} ms",
            f"peak memory {self.peak_bytes / 2**20:10.1f} MiB (the process)",
            "costliest ops:",
        ]
        total = sum(self.ops.values()) or 1.0
        for (name, op_type), seconds in self.ops.most_common(10):
            lines.append(f"  {seconds * 1e3:9.3f} ms  {seconds / total:6.1%}  {op_type:<20} {name}")
        return "\n".join(lines)


def measure(
    path: str,
    inputs: Mapping[str, Any] | None,
    numerics: str = "declared",
    repeats: int = 10,
    work: int | None = None,
) -> Costs:
    """Load and run a package.

    Args:
        path: The package.
        inputs: Arrays by name; random ones of the default shapes if there are none.
        numerics: How to compute.
        repeats: The number of timed runs.
        work: The most that one run may do; see `milrun.load`.
    """
    start = time.perf_counter()
    model = load(path, numerics=numerics, seed=0, work=work)
    loaded = time.perf_counter() - start
    given = random_inputs(model) if inputs is None else inputs
    state = model.make_state()
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        model.predict(given, state)
        times.append(time.perf_counter() - start)
    parts = [model] if isinstance(model, Model) else list(model.parts.values())
    ops: Counter[tuple[str, str]] = Counter()
    if len(parts) == 1:
        ops = op_costs(parts[0], given)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return Costs(loaded, times[0], statistics.median(times[1:]), peak, ops)


def op_costs(model: Model, inputs: Mapping[str, Any], repeats: int = 3) -> Counter[tuple[str, str]]:
    """Return seconds per op of the plan, the least of a few runs. Widening counts to the op that wants it."""
    best: dict[int, float] = {}
    for _ in range(repeats):
        with torch.inference_mode():
            for index, seconds in enumerate(model.time_steps(inputs, model.make_state())):
                best[index] = min(seconds, best.get(index, seconds))
    costs: Counter[tuple[str, str]] = Counter()
    for index, operation in enumerate(model.step_operations()):
        costs[operation.name, operation.type] += best[index]  # type: ignore[assignment]
    return costs


def random_inputs(model: Model | Pipeline) -> dict[str, Any]:
    """Return inputs of the shapes that a model was made with: normal deviates, and zeros and ones for integers."""
    rng = np.random.default_rng(0)
    inputs = {}
    for name, feature in model.inputs.items():
        if not isinstance(feature, ArrayFeature):
            raise ValueError(f"input {name!r} is {feature}: pass inputs of your own")
        shape = feature.shape or (1,)
        if feature.dtype.kind == "f":
            inputs[name] = rng.standard_normal(shape).astype(feature.dtype)
        else:
            inputs[name] = rng.integers(0, 2, shape).astype(feature.dtype)
    return inputs
