"""A run of upstream's model on a case, as its front door runs it, tapped at the seams where the port cuts it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.declarations import HOST, Case, Seam
from parity.steps import Crossing, seam
from references.styletts2.cases import STEPS, STYLE
from references.styletts2.importing import sampling
from references.styletts2.taps import Ancestral, Source
from references.styletts2.voice import style

ALPHA, BETA = 0.3, 0.7
"""Shares of a style that come from the text, and not from the voice: of the timbre, and of the prosody."""
SIGMA_MIN, SIGMA_MAX, RHO = 0.0001, 3.0, 9.0
PULSE = 50
"""Samples at the end of upstream's audio, which it cuts off."""


def record(model: Any, case: Case) -> Iterator[Seam]:
    with torch.no_grad():
        yield from _recorded(model, case)


def _recorded(model: Any, case: Case) -> Iterator[Seam]:
    tokens, noise = case.inputs["tokens"], torch.from_numpy(case.inputs["noise"])
    ref_s = torch.from_numpy(style(model))
    first = _text(model, tokens, ref_s[:, STYLE:])

    steps, s_pred = _sampled(model, noise, first["bert_dur"], ref_s)
    timbre = ALPHA * s_pred[:, :STYLE] + (1 - ALPHA) * ref_s[:, :STYLE]
    prosody = BETA * s_pred[:, STYLE:] + (1 - BETA) * ref_s[:, STYLE:]
    text = _text(model, tokens, prosody)
    crossings = [
        Crossing({"tokens": tokens, "style": given.numpy()}, _arrays(made))
        for given, made in ((ref_s[:, STYLE:], first), (prosody, text))
    ]
    yield seam("text_predictor", crossings, {}, {})
    yield seam("diffusion_step", steps, {}, {})

    durations = torch.round(torch.sigmoid(text["pred_dur_log"]).sum(-1).squeeze()).clamp(min=1)
    en, asr = (_aligned(columns, durations) for columns in (text["d"].transpose(1, 2), text["t_en"]))
    pitch, energy = model["predictor"].F0Ntrain(en, prosody)
    yield Seam("f0n_energy", _arrays({"en": en, "s": prosody}), _arrays({"F0": pitch, "N": energy}))

    decoder, kept = model["decoder"], []
    tap = decoder.generator.m_source.register_forward_hook(lambda module, given, made: kept.append(made[0].clone()))
    with Source(case) as source:
        waveform = decoder(asr, pitch, energy, timbre)
    tap.remove()
    curves = {"F0_curve": pitch, "source_noise": source.noise}
    inner = {"turns": source.turns, "phase": source.phase, "source": kept[0].reshape(-1)}
    yield Seam("harmonic_source", _arrays(curves), _arrays(inner))
    given = {"asr": asr, "N": energy, "s": timbre, **curves}
    yield Seam("decoder", _arrays(given), _arrays({"waveform": waveform}))
    said = {"durations": durations.int(), "audio": waveform.squeeze()[:-PULSE]}
    yield Seam(HOST, {"tokens": tokens}, _arrays(said))


def _text(model: Any, tokens: np.ndarray, prosody: Tensor) -> dict[str, Tensor]:
    """All that upstream's modules make of a text in a style."""
    ids = torch.from_numpy(tokens).long()
    lengths = torch.tensor([ids.shape[1]])
    mask = torch.zeros(1, ids.shape[1], dtype=torch.bool)
    predictor = model["predictor"]
    t_en = model["text_encoder"](ids, lengths, mask)
    bert_dur = model["bert"](ids, attention_mask=(~mask).int())
    d_en = model["bert_encoder"](bert_dur).transpose(-1, -2)
    d = predictor.text_encoder(d_en, prosody, lengths, mask)
    return {
        "t_en": t_en,
        "d_en": d_en,
        "d": d,
        "pred_dur_log": predictor.duration_proj(predictor.lstm(d)[0]),
        "fixed_embedding": model["diffusion"].diffusion.net.fixed_embedding(bert_dur),
        "bert_dur": bert_dur,
    }


def _sampled(model: Any, noise: Tensor, embedding: Tensor, ref_s: Tensor) -> tuple[list[Crossing], Tensor]:
    """Each call of the denoiser by upstream's sampler, and the style that it ends with."""
    upstream = sampling()
    sampler = upstream.DiffusionSampler(
        model["diffusion"].diffusion,
        sampler=upstream.ADPM2Sampler(),
        sigma_schedule=upstream.KarrasSchedule(sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX, rho=RHO),
        clamp=False,
    )
    denoise, calls = sampler.denoise_fn, []

    def tapped(x: Tensor, *, sigma: Tensor, **given: Any) -> Tensor:
        denoised: Tensor = denoise(x, sigma=sigma, **given)
        inputs = {"x_noisy": x, "sigma": sigma.reshape(1), "embedding": embedding, "features": ref_s}
        calls.append(Crossing(_arrays(inputs), _arrays({"denoised": denoised})))
        return denoised

    sampler.denoise_fn = tapped
    with Ancestral(noise.numpy()):
        found = sampler(noise[:1].unsqueeze(1), embedding=embedding, embedding_scale=1, features=ref_s, num_steps=STEPS)
    return calls, found.squeeze(1)


def _aligned(columns: Tensor, durations: Tensor) -> Tensor:
    """Each token's column for as many frames as it lasts, and all a frame later, the first one twice."""
    frames = torch.repeat_interleave(torch.arange(len(durations)), durations.long())
    path = torch.zeros(len(durations), len(frames))
    path[frames, torch.arange(len(frames))] = 1
    aligned = columns @ path[None]
    return torch.cat([aligned[:, :, :1], aligned[:, :, :-1]], -1)


def _arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(value.numpy().copy()) for name, value in tensors.items()}
