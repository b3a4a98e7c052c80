"""Regressions of speed: by a statistical test, by a factor and by seconds, because each alone raises false alarms.

On many samples the test finds differences that do not matter; on few samples, a busy machine reaches the factor. A call
of a fifth of a millisecond reaches both from one process to the next, though it does the same.
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
JITTER = 5e-5
"""Seconds of a call. Two identical processes come within it: their memory lies elsewhere."""


class TooFewSamples(ValueError):  # noqa: N818 (it says what is wrong)
    """So few that no difference at all could be told from chance."""


@dataclass(frozen=True)
class Change:
    """A change of speed.

    Attributes:
        factor: The median now by the median before: above 1 is slower.
        p: The probability of such a difference, if there were none.
        counts: Whether the medians are further apart than those of two identical processes.
    """

    factor: float
    p: float
    counts: bool = True

    @property
    def slower(self) -> bool:
        return self.counts and self.p < P and self.factor > FACTOR

    @property
    def faster(self) -> bool:
        return self.counts and self.p < P and self.factor < 1 / FACTOR


def compare(before: Sequence[float], now: Sequence[float], least: float = 0.0) -> Change:
    """Compare by Mann-Whitney's U, two-sided, which assumes nothing about the distribution of times.

    Args:
        before: The samples of the baseline.
        now: The samples of this run.
        least: The difference of the medians from which on it counts.
    """
    from scipy.stats import mannwhitneyu

    if not before or not now or smallest_p(len(before), len(now)) >= P:
        raise TooFewSamples(
            f"{len(now)} samples against {len(before)} of the baseline can show no regression, however large: "
            "measure more rounds, or record the baseline again"
        )
    if len({*before, *now}) == 1:
        return Change(1.0, 1.0)
    was, is_now = statistics.median(before), statistics.median(now)
    p = float(mannwhitneyu(now, before, alternative="two-sided").pvalue)
    return Change(is_now / was, p, abs(is_now - was) > least)


def smallest_p(before: int, now: int) -> float:
    """Return the p of samples without any overlap."""
    return 2 / comb(before + now, now)
