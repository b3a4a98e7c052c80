"""Host code: draws a style, lays the text out in time, and gives the audio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.declarations import HOST, Arrays, Case, Run
from references.styletts2.cases import STEPS, STYLE, source_noise
from references.styletts2.voice import style

SIGMA_MIN, SIGMA_MAX, RHO = 0.0001, 3.0, 9.0
SAMPLES = 600
"""Samples of a frame."""


@dataclass(frozen=True)
class Glue:
    """Speaks a case.

    Attributes:
        alpha: Share of the timbre that comes from the text, and not from the voice.
        beta: Share of the prosody that does.
        pulse: Samples at the end that upstream cuts off, because a pulse is in them.
    """

    alpha: float = 0.3
    beta: float = 0.7
    pulse: int = 50

    def __call__(self, run: Run, case: Case) -> None:
        """Speak a case.

        The text's encoding is needed to draw the style, and the style to finish the text. One graph does both, so it
        runs twice: first in the voice's own prosody, of which only `bert_dur` is taken, and no style reaches that.
        """
        tokens, ref_s = case.inputs["tokens"], run.tables["ref_s"]
        bert_dur = run("text_predictor", {"tokens": tokens, "style": ref_s[:, STYLE:]})["bert_dur"]
        drawn = self.sampled(run, case.inputs["noise"], bert_dur, ref_s)
        timbre, prosody = self.styles(drawn, ref_s)
        text = run("text_predictor", {"tokens": tokens, "style": prosody})
        durations = run.decide(HOST, "durations", self.lasting(text["pred_dur_log"]))
        curves = run("f0n_energy", {"en": self.aligned(text["d"].transpose(0, 2, 1), durations), "s": prosody})
        samples = SAMPLES * int(durations.sum())
        body = {
            "asr": self.aligned(text["t_en"], durations),
            "F0_curve": curves["F0"],
            "N": curves["N"],
            "s": timbre,
            "source_noise": source_noise(case, samples),
        }
        waveform = run("decoder", body)["waveform"][0, 0, :samples]
        run.decide(HOST, "audio", waveform[: len(waveform) - self.pulse])

    def levels(self) -> np.ndarray:
        """The noise levels of Karras et al., from the largest to the smallest."""
        step = np.arange(STEPS, dtype=np.float32) / np.float32(STEPS - 1)
        low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
        # The power of a number in double precision rounds as that of upstream's does.
        return ((np.float32(high) + step * np.float32(low - high)).astype(np.float64) ** RHO).astype(np.float32)

    def sampled(self, run: Run, noise: np.ndarray, bert_dur: np.ndarray, ref_s: np.ndarray) -> np.ndarray:
        """A style, (1, 256), by upstream's sampler: from each level to below the next, then up again by noise."""
        levels = self.levels()
        x = levels[0] * noise[:1, None]
        for sigma, after, row in zip(levels[:-1], levels[1:], noise[1:], strict=False):
            up, down = self.ancestral(sigma, after)
            middle = self.middle(sigma, down)
            slope = (x - denoised(run, x, sigma, bert_dur, ref_s)) / sigma
            halfway = x + slope * (middle - sigma)
            slope = (halfway - denoised(run, halfway, middle, bert_dur, ref_s)) / middle
            x = x + slope * (down - sigma) + row * up
        return x[:, 0]

    def ancestral(self, sigma: np.float32, after: np.float32) -> tuple[np.float32, np.float32]:
        """Share of the noise that a step adds at its end, and the level that it goes down to before."""
        up = np.sqrt(float(after**2 * (sigma**2 - after**2) / sigma**2))
        down = np.sqrt(float(after**2 - np.float32(up**2)))
        return np.float32(up), np.float32(down)

    def middle(self, sigma: np.float32, down: np.float32) -> np.float32:
        """The level at which a step takes its slope."""
        return np.float32((sigma + down) / np.float32(2))

    def styles(self, drawn: np.ndarray, ref_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Timbre and prosody, each between what was drawn and the voice."""
        timbre = blended(drawn[:, :STYLE], ref_s[:, :STYLE], self.alpha)
        return timbre, blended(drawn[:, STYLE:], ref_s[:, STYLE:], self.beta)

    def lasting(self, pred_dur_log: np.ndarray) -> np.ndarray:
        """The frames of each token: at least one, halves rounded to even."""
        whole = np.rint(self.frames(pred_dur_log))
        return np.maximum(whole, 1).astype(np.int32)  # unexercised: seeded weights give no token as short

    def frames(self, pred_dur_log: np.ndarray) -> np.ndarray:
        """The frames of each token before they are rounded."""
        return np.asarray((1 / (1 + np.exp(-pred_dur_log[0].astype(np.float32)))).sum(-1))

    def aligned(self, columns: np.ndarray, durations: np.ndarray) -> np.ndarray:
        """Each token's column for as many frames as it lasts, and all a frame later, as the generator was trained."""
        frames = np.repeat(np.arange(len(durations)), durations)
        return np.ascontiguousarray(columns[:, :, np.concatenate([frames[:1], frames[:-1]])])


def tables(upstream: Any, case: Case) -> Arrays:
    """The style of the voice, which the app has beside the graphs: timbre, then prosody."""
    return {"ref_s": style(upstream)}


def denoised(run: Run, x: np.ndarray, sigma: np.float32, bert_dur: np.ndarray, ref_s: np.ndarray) -> np.ndarray:
    given = {"x_noisy": x, "sigma": np.array([sigma]), "embedding": bert_dur, "features": ref_s}
    return run("diffusion_step", given)["denoised"].astype(np.float32)


def blended(drawn: np.ndarray, voice: np.ndarray, share: float) -> np.ndarray:
    return np.float32(share) * drawn + np.float32(1 - share) * voice
