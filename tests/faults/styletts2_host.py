"""StyleTTS2's host code with the bugs of its port, one each."""

from __future__ import annotations

import numpy as np

from converters.styletts2.glue import Glue
from parity.declarations import Arrays, Case, Run
from references.styletts2.cases import STYLE
from tests.faults.kokoro_mutants import Rewired


class Swapped(Glue):
    """Takes the voice's prosody for its timbre."""

    def __call__(self, run: Run, case: Case) -> None:
        halves = run.tables["ref_s"]
        super().__call__(Retold(run, {"ref_s": np.concatenate([halves[:, STYLE:], halves[:, :STYLE]], 1)}), case)


class Retold(Rewired):
    """A run with other tables."""

    def __init__(self, run: Run, tables: Arrays) -> None:
        super().__init__(run)
        self.tables = tables


class Unblended(Glue):
    """Gives the text predictor the voice's timbre, where the blended prosody belongs."""

    def styles(self, drawn: np.ndarray, ref_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return super().styles(drawn, ref_s)[0], ref_s[:, :STYLE]


class Raw(Glue):
    """Compares, and gives, the style as it was drawn, where upstream has the blended one."""

    def styles(self, drawn: np.ndarray, ref_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return drawn[:, :STYLE], drawn[:, STYLE:]


class Quiet(Glue):
    """A sampler without noise between its steps."""

    def ancestral(self, sigma: np.float32, after: np.float32) -> tuple[np.float32, np.float32]:
        return np.float32(0), after


class Geometric(Glue):
    """The geometric mean for the middle of two levels."""

    def middle(self, sigma: np.float32, down: np.float32) -> np.float32:
        return np.float32(np.sqrt(sigma * down))


class ToZero(Glue):
    """Steps on to a level of zero, where upstream ends at the smallest one."""

    def levels(self) -> np.ndarray:
        return np.append(super().levels(), np.float32(0))

    def sampled(self, run: Run, noise: np.ndarray, bert_dur: np.ndarray, ref_s: np.ndarray) -> np.ndarray:
        return super().sampled(run, np.concatenate([noise, noise[:1] * 0]), bert_dur, ref_s)


class Floored(Glue):
    """Durations rounded down."""

    def lasting(self, pred_dur_log: np.ndarray) -> np.ndarray:
        return np.maximum(np.floor(self.frames(pred_dur_log)), 1).astype(np.int32)


class Unshifted(Glue):
    """Frames where they are, without the one by which the generator was trained to hear them later."""

    def aligned(self, columns: np.ndarray, durations: np.ndarray) -> np.ndarray:
        return np.repeat(columns, durations, 2)


EXCHANGED = Glue(alpha=0.7, beta=0.3)
UNTRIMMED = Glue(pulse=0)
