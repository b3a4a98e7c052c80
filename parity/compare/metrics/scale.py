"""How far from its metric's ideal a bound may sensibly be: nearer would fail on rounding, farther could hardly fail."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parity.compare.metrics import Metric


@dataclass(frozen=True)
class Scale:
    """Distances from the ideal. `floor`: what another machine's rounding alone may cost; 0 where a decision is exact.

    `limit`: a bound this far away, or farther, is refused.
    """

    floor: float
    limit: float


SCALES = {
    "argmax_agreement": Scale(1e-3, 0.5),  # in silence nobody is loudest, and rounding decides
    "click": Scale(1e-3, 1.0),
    "confusion": Scale(1e-2, 0.5),  # a frame that hangs on rounding is up to half a point of a short meeting
    "cosine": Scale(1e-6, 0.5),  # two unrelated tensors without negative values already reach a half
    "dc_offset": Scale(1e-4, 0.5),
    "der": Scale(1e-2, 0.5),  # silence reads 1
    "der_collar": Scale(1e-2, 0.5),
    "der_delta": Scale(1e-2, 0.2),  # the field took 0.9 points for six bits
    "der_delta_collar": Scale(1e-2, 0.2),
    "equal": Scale(0.0, 0.5),
    "f0_correlation": Scale(1e-4, 0.5),
    "false_alarm": Scale(1e-2, 0.5),
    "frames_equal": Scale(0.0, 0.5),
    "frames_kept": Scale(3e-2, 0.5),
    "gain_db": Scale(1e-2, 3.0),  # a missing window normalisation is 3.5 dB
    "high_band_power": Scale(1e-1, 6.0),
    "length_ratio": Scale(0.0, 0.5),
    "log_mel_distance": Scale(1e-2, 6.0),
    "margin_used": Scale(1e-2, 1.0),  # at 1 a decision turns over
    "max_abs": Scale(1e-5, math.inf),  # in the tensor's own unit, which no table can know
    "max_relative": Scale(1e-4, 4.0),  # zeros in place of speech read about its crest factor
    "mel_correlation": Scale(1e-4, 0.5),
    "missed": Scale(1e-2, 0.5),
    "overlap_frames": Scale(1e-2, 0.1),  # meetings hardly have more
    "phase_error": Scale(1e-3, 1.5),  # chance is π/2
    "relative_l2": Scale(1e-5, 1.0),  # zeros read 1
    "rms_ratio": Scale(1e-4, 0.5),
    "shift": Scale(0.0, 64.0),
    "signs_equal": Scale(0.0, 0.5),
    "speaker_count": Scale(0.0, 1.0),  # so no difference at all
    "speaker_overlap": Scale(3e-2, 0.5),
    "threshold_agreement": Scale(1e-2, 0.5),
    "voicing_agreement": Scale(0.0, 0.5),
}
BY_UNIT = {"": Scale(1e-5, 1.0), "dB": Scale(1e-2, 6.0), "rad": Scale(1e-3, 1.5), "steps": Scale(0.0, 64.0)}


def scale_of(metric: Metric) -> Scale:
    """The scale of a metric; one that is not in the table takes that of its unit."""
    return SCALES.get(metric.name) or BY_UNIT.get(metric.unit) or BY_UNIT[""]
