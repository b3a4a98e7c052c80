"""Regressions of speed: by a statistical test and by a factor, because either alone raises false alarms.

On many samples the test finds differences that do not matter; on few samples, a busy machine reaches the factor.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

P = 0.002
"""Of a difference as large, if there were none. The same that asv asks for."""
FACTOR = 1.2
"""Of the medians. Two runs of the same artifact on a shared machine come within it."""


class TooFewSamples(ValueError):  # noqa: N818 (it says what is wrong)
    """So few that no difference at all could be told from chance."""


@dataclass(frozen=True)
class Change:
    """`factor` is the median now by the median before: above 1 is slower."""

    factor: float
    p: float

    @property
    def slower(self) -> bool:
        return self.p < P and self.factor > FACTOR

    @property
    def faster(self) -> bool:
        return self.p < P and self.factor < 1 / FACTOR


def compare(before: Sequence[float], now: Sequence[float]) -> Change:
    """Compare by Mann-Whitney's U, two-sided, which assumes nothing about the distribution of times."""
    from scipy.stats import mannwhitneyu

    if not before or not now or smallest_p(len(before), len(now)) >= P:
        raise TooFewSamples(
            f"{len(now)} samples against {len(before)} of the baseline can show no regression, however large: "
            "measure more rounds, or record the baseline again"
        )
    if len({*before, *now}) == 1:
        return Change(1.0, 1.0)
    factor = statistics.median(now) / statistics.median(before)
    return Change(factor, float(mannwhitneyu(now, before, alternative="two-sided").pvalue))


def smallest_p(before: int, now: int) -> float:
    """Return the p of samples without any overlap."""
    return 2 / comb(before + now, now)
