"""Host code: the app's work between the graphs, and the tables that it ships beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from converters.pocket_tts.flow import CAPACITY, FLOW_STEPS
from parity.declarations import Arrays, Case, Run
from references.pocket_tts.upstream import module

TEMPERATURE = 0.7
FRAMES_PER_SECOND = 12.5
TOKENS_PER_SECOND = 3.0
SPARE_SECONDS = 2.0
DEAF_FRAMES = 6
"""On so many first frames upstream does not listen for the end."""


@dataclass(frozen=True)
class Glue:
    """Speaks a case. `margin` tells how far the end's logit is above its threshold, `prompt` how many rows fit into
    cond_prefill; `lm_states` and `codec_states` are the shapes and dtypes of what the host allocates."""

    margin: Callable[[Arrays], Arrays]
    prompt: int
    lm_states: Mapping[str, tuple[tuple[int, ...], str]]
    codec_states: Mapping[str, tuple[tuple[int, ...], str]]

    def __call__(self, run: Run, case: Case) -> None:
        parts = self.parts(run.tables, case)
        self.step_through(run, parts)
        states = self.prefill(run, parts)
        self.generate(run, case, states, sum(part.shape[1] for part in parts))

    def parts(self, tables: Arrays, case: Case) -> list[np.ndarray]:
        """Return the parts that the model is conditioned on, each (1, rows, width): the voice, then the text."""
        return [self.voice(tables), self.text(tables, case)]

    def voice(self, tables: Arrays) -> np.ndarray:
        return np.concatenate([tables["bos_before_voice"], tables["voice"]], 1)

    def text(self, tables: Arrays, case: Case) -> np.ndarray:
        return tables["text_embedding"][case.inputs["tokens"]]

    def step_through(self, run: Run, parts: list[np.ndarray]) -> Arrays:
        """Conditions row by row; gives the states."""
        states = self.started(self.lm_states)
        rows = np.concatenate(parts, 1)
        for i in range(rows.shape[1]):
            self.fits(i + 1)
            states = carried(states, run("cond_step", {"conditioning": rows[:, i : i + 1], **states}))
        return states

    def prefill(self, run: Run, parts: list[np.ndarray]) -> Arrays:
        """Conditions part by part; gives the states."""
        states = self.started(self.lm_states)
        end = 0
        for part in parts:
            end += part.shape[1]
            self.fits(end)
            given = {"conditioning": self.padded(part), "valid": np.array([part.shape[1]], np.int32)}
            states = carried(states, run("cond_prefill", {**given, **states}))
        return states

    def padded(self, part: np.ndarray) -> np.ndarray:
        rows = part.shape[1]
        if rows > self.prompt:  # unexercised: the host refuses such a text, so no case is one
            raise ValueError(
                f"cond_prefill takes {self.prompt} rows at once, not {rows}: split the text, or cut the voice"
            )
        return np.concatenate([part, np.zeros((1, self.prompt - rows, part.shape[2]), part.dtype)], 1)

    def fits(self, end: int) -> None:
        if end > CAPACITY:  # unexercised: the host refuses such a text, so no case is one
            raise ValueError(
                f"position {end - 1} is past the capacity of {CAPACITY} cache slots: speak the text in shorter pieces"
            )

    def generate(self, run: Run, case: Case, states: Arrays, end: int) -> None:
        """Frame after frame, up to the end that the model hears or the most frames that upstream allows."""
        codec = self.started(self.codec_states)
        sequence = np.full((1, 1, case.inputs["noise"].shape[1]), np.nan, np.float32)
        last = self.most_frames(case)
        frame, heard = 0, False
        while frame < last:
            self.fits(end + frame + 1)
            given = run("flowlm_step", {"sequence": sequence, **states})
            states = carried(states, given)
            if self.ends(run, given, frame) and not heard:
                after = int(case.inputs["frames_after_eos"].item())
                heard, last = True, min(last, frame + after)  # unexercised: no case ends as close to its most frames
            noise = self.noise(case, frame)
            latent = self.sampled(run, given["transformer_out"], noise)
            run("flow_decoder_fused", {"transformer_out": given["transformer_out"], "noise": noise})
            codec = self.decoded(run, latent, codec)
            sequence = latent[:, None]
            frame += 1

    def most_frames(self, case: Case) -> int:
        seconds = case.inputs["tokens"].shape[1] / TOKENS_PER_SECOND + SPARE_SECONDS
        allowed = math.ceil(seconds * FRAMES_PER_SECOND)
        return min(allowed, len(case.inputs["noise"]))  # unexercised: a case has noise for as many as are allowed

    def ends(self, run: Run, given: Arrays, frame: int) -> bool:
        margin = run.decide("flowlm_step", "eos_margin", self.margin(given)["eos_margin"])
        return frame >= DEAF_FRAMES and bool(margin.item() > 0)

    def noise(self, case: Case, frame: int) -> np.ndarray:
        return case.inputs["noise"][frame : frame + 1] * np.float32(TEMPERATURE**0.5)

    def sampled(self, run: Run, transformer_out: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """A latent, step by step from noise. The sum is kept in single precision."""
        latent = noise
        for s, t in self.times():
            given = {"transformer_out": transformer_out, "latent": latent, "s": s, "t": t}
            latent = latent + run("flow_decoder", given)["velocity"].astype(np.float32) / np.float32(FLOW_STEPS)
        return latent

    def times(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in range(FLOW_STEPS):
            yield np.full((1, 1), i / FLOW_STEPS, np.float32), np.full((1, 1), (i + 1) / FLOW_STEPS, np.float32)

    def decoded(self, run: Run, latent: np.ndarray, states: Arrays) -> Arrays:
        """Has a frame decoded; gives the decoder's states."""
        return carried(states, run("mimi_decoder", {"latent": latent, **states}))

    def started(self, states: Mapping[str, tuple[tuple[int, ...], str]]) -> Arrays:
        return {name: np.zeros(shape, dtype) for name, (shape, dtype) in states.items()}


def carried(states: Arrays, outputs: Arrays) -> Arrays:
    """Return the values that a step hands to the next one."""
    return {name: outputs[f"{name}_out"] for name in states}


def tables(upstream: Any, case: Case) -> Arrays:
    """The embeddings of all tokens, and the case's voice as upstream encodes it."""
    model = upstream.flow_lm
    with torch.no_grad():
        embedding = model.conditioner(torch.arange(model.conditioner.embed.num_embeddings))
        # The last bit of a product may hang on its number of rows: the case's own come from one as large as upstream's.
        tokens = torch.from_numpy(case.inputs["tokens"])
        embedding[tokens] = model.conditioner(tokens)
        audio = module("pocket_tts.data.audio_utils").end_on_pause(
            torch.from_numpy(case.inputs["voice"]), upstream.config.mimi.sample_rate
        )
        found = {
            "text_embedding": embedding,
            "bos_before_voice": model.bos_before_voice,
            "voice": upstream._encode_audio(audio[None]),
        }
    return {name: value.detach().numpy().copy() for name, value in found.items()}
