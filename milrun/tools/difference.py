"""Comparison of two packages: their values by name, in the order of the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from milrun.loading import Pipeline
from milrun.model import Model
from milrun.plan import Tap


@dataclass(frozen=True)
class Difference:
    """One value as two runs computed it. ``fault`` says what can't be expressed as a distance."""

    name: str
    op_type: str
    relative_l2: float
    cosine: float
    max_abs: float
    fault: str = ""

    def __str__(self) -> str:
        if self.fault:
            return f"{self.name} ({self.op_type}): {self.fault}"
        return (
            f"{self.name} ({self.op_type}): relative L2 {self.relative_l2:.3g}, "
            f"cosine {self.cosine:.6f}, max abs {self.max_abs:.3g}"
        )


def compare(tap: Tap, other: Tap) -> Difference:
    """Return the distance of the second value from the first."""
    a, b = tap.tensor, other.tensor
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return Difference(tap.name, tap.op_type, 0.0, 1.0, 0.0, "" if type(a) is type(b) else "not both tensors")
    if a.shape != b.shape:
        fault = f"shape {tuple(a.shape)} against {tuple(b.shape)}"
        return Difference(tap.name, tap.op_type, float("inf"), 0.0, float("inf"), fault)
    x, y = a.double().reshape(-1), b.double().reshape(-1)
    if not torch.equal(x.isfinite(), y.isfinite()):
        fault = f"{int((~x.isfinite()).sum())} values not finite against {int((~y.isfinite()).sum())}"
        return Difference(tap.name, tap.op_type, float("inf"), 0.0, float("inf"), fault)
    finite = x.isfinite()
    x, y = x[finite], y[finite]
    distance, norm = float((x - y).norm()), float(x.norm())
    relative = distance / norm if norm else (0.0 if distance == 0 else float("inf"))
    product = norm * float(y.norm())
    cosine = float(x @ y) / product if product else float(distance == 0)
    largest = float((x - y).abs().max()) if x.numel() else 0.0
    return Difference(tap.name, tap.op_type, relative, cosine, largest)


def differences(first: Model | Pipeline, second: Model | Pipeline, inputs: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield every value that both models name, in the order of the first. A repeated name is paired in order."""
    seen: dict[str, int] = {}
    others: dict[tuple[str, int], Tap] = {}
    for tap in second.trace(inputs, second.make_state()):
        others[tap.name, seen.get(tap.name, 0)] = tap
        seen[tap.name] = seen.get(tap.name, 0) + 1
    seen.clear()
    shared = 0
    for tap in first.trace(inputs, first.make_state()):
        key = tap.name, seen.get(tap.name, 0)
        seen[tap.name] = key[1] + 1
        if key in others:
            shared += 1
            yield compare(tap, others[key])
    if not shared:
        raise ValueError("the two models name no value alike: there is nothing to compare")
