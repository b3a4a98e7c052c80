"""The output of a classifier."""

from __future__ import annotations

from torch import Tensor

from milrun.registry import op


@op("classify")
def classify(probabilities: Tensor, classes: list[str]) -> tuple[str, dict[str, float]]:
    """Return the most probable class and all probabilities. Classes are all strings or all integers."""
    values = probabilities.reshape(-1).tolist()
    if len(values) != len(classes):
        raise ValueError(f"classify: {len(values)} probabilities for {len(classes)} classes")
    best = int(probabilities.argmax())
    return classes[best], dict(zip(classes, values, strict=True))
