"""When a metric has moved by more than it moves on its own.

A recognizer may trip over a word for a difference that nobody hears, and an embedding is never the same twice. How far
a metric moves without cause is its floor: the most that any rendering by the same upstream model, with other rounding,
is worse than the reference. A candidate fails only where it is worse by more than the floor and a stated margin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from parity.speech.sound import SpeechError

T = TypeVar("T")
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric(Generic[T]):
    """`score` measures one take of what was said; `nothing` is what it gives a take that has nothing to do with it.
    `worth` says what a score means, and what it does not."""

    name: str
    score: Callable[[T], float]
    better: Better
    nothing: float
    margin: float
    worth: str

    def worse(self, reference: float, other: float) -> float:
        return other - reference if self.better == "lower" else reference - other


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """Judgement of a candidate by a metric. `worse` is its distance below the reference, in the metric's unit."""

    subject: str
    metric: str
    reference: float
    candidate: float
    worse: float
    floor: float
    renderings: int
    margin: float
    blind: bool
    worth: str

    @property
    def passed(self) -> bool:
        return not self.blind and self.worse <= self.floor + self.margin

    def line(self) -> str:
        room = f"floor {self.floor:.3g} of {self.renderings} PyTorch renderings + margin {self.margin:g}"
        measured = f"{self.subject}: {self.metric} {self.candidate:.4g} where the reference has {self.reference:.4g}"
        if self.blind:
            return (
                f"{measured}: blind, for a candidate that says nothing of it would pass as well ({room}). "
                "Take a better plug-in, or more and longer passages"
            )
        return f"{measured}: worse by {self.worse:.3g}, {'within' if self.passed else 'beyond'} {room}"


def judge(subject: str, metric: Metric[T], reference: T, renderings: Sequence[T], candidate: T) -> Ruling:
    """Judge a candidate. The renderings are the reference's passage by the same model, and differ by rounding."""
    if not renderings:
        raise SpeechError(
            f"{subject}: {metric.name} has no floor, for there is no second rendering: render the passage again in "
            "PyTorch, or noise would be read as a regression"
        )
    truth = metric.score(reference)
    floor = max(0.0, *(metric.worse(truth, metric.score(other)) for other in renderings))
    found = metric.score(candidate)
    blind = metric.worse(truth, metric.nothing) <= floor + metric.margin
    return Ruling(
        subject=subject,
        metric=metric.name,
        reference=truth,
        candidate=found,
        worse=metric.worse(truth, found),
        floor=floor,
        renderings=len(renderings),
        margin=metric.margin,
        blind=blind,
        worth=metric.worth,
    )
