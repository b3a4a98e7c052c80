"""One run of the upstream as the seams of the port.

TorchScript does not allow hooks between its modules. So upstream's three parts are called one after another on
upstream's own numbers, and its whole model beside them, which has to give the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from parity.declarations import HOST, Case, Seam
from parity.steps import Crossing, seam
from references.silero_vad import upstream
from references.silero_vad.sizes import CHUNK, CHUNKS, CONTEXT, RATE, SEGMENTS, THRESHOLD, WIDTH

Array = np.ndarray
STATES = {"new_hidden_state": "hidden_state", "new_cell_state": "cell_state"}
CLOSE = 1e-3
"""Distance from the threshold within which another machine's rounding could decide otherwise."""


@dataclass(frozen=True)
class Step:
    """One call of upstream's model. `heard` begins with the context; states are those after it."""

    heard: Array
    spectrum: Array
    encoded: Array
    probability: Array
    hidden: Array
    cell: Array


def record(model: Any, case: Case) -> Iterator[Seam]:
    """Yield the three parts, the whole step, eight steps at once, and the stretches of speech."""
    audio = case.inputs["audio"]
    steps = listened(model, audio)
    yield seam("stft", (Crossing(_heard(step), _spectrum(step)) for step in steps), {}, {})
    yield seam("encoder", (Crossing(_spectrum(step), _encoded(step)) for step in steps), {}, {})
    yield seam("decoder", _carried(steps, _encoded), STATES, {})
    yield seam("unified", _carried(steps, _heard), STATES, {})
    yield seam("unified_256ms", _windows(steps), STATES, {})
    yield host(case, steps)


@torch.no_grad()
def listened(model: Any, audio: Array) -> list[Step]:
    """Return upstream's steps over a recording. As upstream does it, the last chunk is filled up with zeros."""
    padded = np.pad(audio, (0, -len(audio) % CHUNK))
    model.reset_states()
    context, state = torch.zeros(1, CONTEXT), torch.zeros(2, 1, WIDTH)
    steps: list[Step] = []
    for chunk in torch.from_numpy(padded.reshape(-1, CHUNK)):
        heard = torch.cat([context, chunk[None]], 1)
        spectrum = model._model.stft(heard)
        encoded = model._model.encoder(spectrum)
        probability, after = model._model.decoder(encoded, state)
        whole = model(chunk, RATE)
        if not torch.equal(whole.reshape(-1), probability.reshape(-1)) or not torch.equal(model._state, after):
            raise RuntimeError(f"step {len(steps)}: upstream's parts in a row are not upstream's model")
        steps.append(Step(*(value.numpy().copy() for value in (heard, spectrum, encoded, probability, *after))))
        context, state = heard[:, -CONTEXT:], after
    return steps


def host(case: Case, steps: list[Step]) -> Seam:
    """Return the stretches of speech, padded with -1 to a fixed number of rows."""
    probabilities = [step.probability.item() for step in steps]
    if near := [step for step, value in enumerate(probabilities) if abs(value - THRESHOLD) < CLOSE]:
        raise ValueError(f"case {case.name}: rounding decides at step {near[0]}; take another recording")
    stretches = upstream.segments(probabilities, len(case.inputs["audio"]))
    rows = np.full((SEGMENTS, 2), -1, np.int32)
    rows[: len(stretches)] = np.array(stretches, np.int32).reshape(-1, 2)
    return Seam(HOST, {"probabilities": np.array(probabilities, np.float32)}, {"segments": rows})


def noisy_or(probabilities: list[Array]) -> Array:
    """Return the probability that any of the steps has speech, as the port joins them."""
    silent = np.ones((1, 1, 1), np.float32)
    for probability in probabilities:
        silent = silent * (1 - probability)
    return np.asarray(1 - silent, np.float32)


def _heard(step: Step) -> dict[str, Array]:
    return {"audio_input": step.heard}


def _spectrum(step: Step) -> dict[str, Array]:
    return {"stft_output": step.spectrum}


def _encoded(step: Step) -> dict[str, Array]:
    return {"encoder_output": step.encoded}


def _carried(steps: list[Step], taken: Any) -> Iterator[Crossing]:
    before = {"hidden_state": np.zeros((1, WIDTH), np.float32), "cell_state": np.zeros((1, WIDTH), np.float32)}
    for step in steps:
        yield Crossing({**taken(step), **before}, {"vad_output": step.probability, **_after(step)})
        before = {"hidden_state": step.hidden, "cell_state": step.cell}


def _after(step: Step) -> dict[str, Array]:
    return {"new_hidden_state": step.hidden, "new_cell_state": step.cell}


def _windows(steps: list[Step]) -> Iterator[Crossing]:
    """Yield whole windows; what is left behind the last one is for the smaller graph."""
    before = {"hidden_state": np.zeros((1, WIDTH), np.float32), "cell_state": np.zeros((1, WIDTH), np.float32)}
    for first in range(0, len(steps) - CHUNKS + 1, CHUNKS):
        within = steps[first : first + CHUNKS]
        heard = np.concatenate([within[0].heard, *(step.heard[:, CONTEXT:] for step in within[1:])], 1)
        last = within[-1]
        joined = noisy_or([step.probability for step in within])
        yield Crossing({"audio_input": heard, **before}, {"vad_output": joined, **_after(last)})
        before = {"hidden_state": last.hidden, "cell_state": last.cell}
