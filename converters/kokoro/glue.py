"""The host code between the stages."""

from __future__ import annotations

import numpy as np

from converters.kokoro.noise import HARMONICS, SAMPLES_PER_FRAME
from parity.declarations import Case, Run
from references.kokoro import STYLE, source_noise


def speak(run: Run, case: Case) -> None:
    """The host glue, as the app does it: durations are rounded half to even, and half-precision values are widened."""
    ids = case.inputs["input_ids"]
    mask = np.ones_like(ids)
    timbre, style_s = case.inputs["ref_s"][:, :STYLE], case.inputs["ref_s"][:, STYLE:]
    text = {"input_ids": ids, "attention_mask": mask}
    bert_dur = run("albert", text)["bert_dur"]
    post = run("post_albert", {**text, "bert_dur": bert_dur, "style_s": style_s, "speed": case.inputs["speed"]})
    whole = np.rint(post["duration"].astype(np.float32))
    durations = np.maximum(whole, 1).astype(np.int32)  # unexercised: at speed 1, trained weights give no token as short
    pred_dur = run.decide("alignment", "pred_dur", durations)
    aligned = run("alignment", {"pred_dur": pred_dur, "d": post["d"], "t_en": post["t_en"]})
    curves = run("prosody", {"en": aligned["en"], "style_s": style_s})
    noise = source_noise(case, 1, SAMPLES_PER_FRAME * int(pred_dur.sum()), HARMONICS)
    sources = run("noise", {"F0_curve": curves["F0"], "style_timbre": timbre, "source_noise": noise})
    body = {"asr": aligned["asr"], "F0_curve": curves["F0"], "N_pred": curves["N"], "style_timbre": timbre, **sources}
    run("tail", {"x_pre": run("vocoder", body)["x_pre"]})
