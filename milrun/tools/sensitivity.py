"""Sensitivity of a model to the hazards reported for the Neural Engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milrun.hazards import RULES, Rule
from milrun.loading import load

COLLAPSE = 0.1
"""Relative L2 from which an output counts as collapsed."""


@dataclass(frozen=True)
class Sensitivity:
    """Effect of one rule on the outputs: the largest relative L2 against ``declared``, and its output."""

    rule: Rule
    output: str
    relative_l2: float

    @property
    def collapses(self) -> bool:
        return not self.relative_l2 < COLLAPSE

    def __str__(self) -> str:
        effect = "collapses under" if self.collapses else "moves under" if self.relative_l2 else "unmoved by"
        return (
            f"{self.output}: {effect} {self.rule.name} (relative L2 {self.relative_l2:.2g}); "
            f"{self.rule.chip}: {self.rule.source}"
        )


def sensitivities(path: str | Path, inputs: Mapping[str, Any], work: int | None = None) -> Iterator[Sensitivity]:
    """Measure each rule by itself against ``declared``, on the same inputs, states and random numbers.

    Args:
        path: The package.
        inputs: Arrays by name.
        work: The most that one run may do; see `milrun.load`.
    """
    base = load(path, seed=0, work=work)
    expected = base.predict(inputs, base.make_state())
    for rule in RULES:
        model = load(path, numerics="ane", rules=[rule.name], seed=0, work=work)
        actual = model.predict(inputs, model.make_state())
        distances = {name: _relative_l2(expected[name], actual[name]) for name in expected}
        worst = max(distances, key=lambda name: distances[name])
        yield Sensitivity(rule, worst, distances[worst])


def _relative_l2(expected: Any, actual: Any) -> float:
    if not isinstance(expected, np.ndarray):
        return float(expected != actual)
    x: NDArray[np.float64] = expected.astype(np.float64)
    y: NDArray[np.float64] = actual.astype(np.float64)
    if x.shape != y.shape or not np.isfinite(y[np.isfinite(x)]).all():
        return float("inf")
    finite = np.isfinite(x)
    norm, distance = np.linalg.norm(x[finite]), np.linalg.norm((x - y)[finite])
    return float(distance / norm) if norm else (0.0 if distance == 0 else float("inf"))
