"""The rounding of weights in few bits: each may lose what rounding to the nearest loses in its form, and no more.

Where the form itself costs a tenth, no bound on outputs sees scales of another group or values in another order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from parity.judge.package.contents import judged
from parity.verdict import Finding

MEND = "see what quantized it, and in which order its groups and scales are stored"
ROOM = 1.05
"""Times the loss of rounding to the nearest that a weight may lose: scales are themselves rounded, to 8 or 11 bits."""


@dataclass(frozen=True)
class Stored:
    """A weight in few bits.

    Attributes:
        kind: The kind of weight, for messages.
        form: Its shape, type and groups, for messages.
        bits: Bits of each value.
        group: Values along a row that share a scale.
        values: The numbers that it stands for, by rows; None if they cannot be read.
    """

    kind: str
    form: str
    bits: int
    group: int
    values: np.ndarray | None


@dataclass(frozen=True)
class Loss:
    """The relative L2 between a stored weight and the original that it is most like, and that of rounding."""

    told: str
    found: float
    nearest: float

    @property
    def share(self) -> float:
        return self.found / max(self.nearest, 1e-9)

    def __str__(self) -> str:
        return f"{self.told}, loses {self.found:.3g}, rounding to the nearest {self.nearest:.3g}"


def gate(stored: Sequence[Stored], originals: Mapping[str, np.ndarray], place: str = "") -> Finding:
    """Return the finding on all weights in few bits of a method or package.

    Args:
        stored: The weights.
        originals: Those of the module by name, of which each stored one is the rounded form.
        place: What comes before each fault, such as the method.
    """
    losses = list(_losses(stored, originals))
    faults = [
        f"{place}{weight.kind} {weight.form}: its values cannot be read" for weight in stored if weight.values is None
    ]
    faults += [f"{place}{loss}" for loss in losses if loss.share > ROOM]
    if not losses and not faults:
        faults = [f"{place}no weight in few bits has the shape of one of the module's"]
    most = max(losses, key=lambda loss: loss.share, default=None)
    return judged("weights", "rounding", faults, MEND, f"{len(losses)} weights; {most}")


def _losses(stored: Sequence[Stored], originals: Mapping[str, np.ndarray]) -> Iterator[Loss]:
    for weight in stored:
        values = weight.values
        if values is None:
            continue
        alike = [(_apart(values, own), name) for name, own in originals.items() if own.shape == values.shape]
        if alike:
            found, name = min(alike)
            yield Loss(f"{weight.kind} `{name}`, {weight.form}", found, _nearest(originals[name], weight))


def _apart(values: np.ndarray, own: np.ndarray) -> float:
    return float(np.linalg.norm(values - own) / max(float(np.linalg.norm(own)), 1e-12))


def _nearest(own: np.ndarray, form: Stored) -> float:
    """Return what the form of a weight loses of values when each is rounded to the nearest of evenly spaced ones."""
    grouped, most = own.reshape(-1, form.group), 2 ** (form.bits - 1)
    step = np.maximum(np.abs(grouped).max(1, keepdims=True), 1e-12) / (most - 0.5)
    return _apart(np.clip(np.round(grouped / step), -most, most - 1) * step, grouped)
