"""One run of the upstream as the seams of the port: its numbers, in the layout that the port ships."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from parity.declarations import Case, Seam
from parity.steps import Crossing, seam
from references.pocket_tts import upstream
from references.pocket_tts.sizes import CAPACITY, GUARD, LATENT, Size, ring
from references.pocket_tts.taps import Array, Call, Frame, Taps, named_states

# How far keys and values may be from those of another way to the same caches, beside the largest of them.
AGREES = 1e-5

Given = Sequence[Mapping[str, Array]]


def record(size: Size, model: Any, case: Case) -> Iterator[Seam]:
    """Every stage of a case, tapped while the upstream generates it in its own way, in its own threads."""
    taps, _ = generated(model, case)
    voice, text, *steps = taps.calls
    steps = steps[: len(taps.frames)]  # of the step at which it stops, upstream uses nothing
    singles = one_by_one(model, [voice, text])
    yield cond_step(singles)
    yield cond_prefill([voice, text], size.prefill)
    yield flowlm_step([voice, text], steps)
    yield flow_decoder(steps)
    yield flow_decoder_fused(steps)
    yield mimi_decoder(model.mimi, steps, taps.frames)


def generated(model: Any, case: Case) -> tuple[Taps, Array]:
    """Return the seams that upstream crossed while it generated the case, and the audio."""
    tokens, noise = case.inputs["tokens"], case.inputs["noise"]
    after = int(case.inputs["frames_after_eos"][0])
    if "tokenizer" in case.inputs:
        model.flow_lm.conditioner.tokenizer = upstream.tokenizer(case.inputs["tokenizer"])
    prepared = model.flow_lm.conditioner.prepare(case.about).numpy()
    if not np.array_equal(prepared, tokens):
        raise ValueError(f"case {case.name}: its tokens are {tokens[0]}, upstream's of its text {prepared[0]}")
    model.max_decoder_frames_per_call = 1
    with Taps(model, noise) as taps:
        state = model.get_state_for_audio_prompt(torch.from_numpy(case.inputs["voice"]))
        audio = model.generate_audio(
            state, case.about, max_tokens=max(tokens.shape[1], 50), frames_after_eos=after
        ).numpy()
    _as_declared(model, case, taps, audio)
    return taps, audio


def _as_declared(model: Any, case: Case, taps: Taps, audio: Array) -> None:
    """Check what the port relies on and the goldens do not show."""
    steps, frames = taps.calls[2:], taps.frames
    fired = [step for step, call in enumerate(steps) if step >= GUARD and call.eos_logit > model.eos_threshold]
    most, after = len(case.inputs["noise"]), int(case.inputs["frames_after_eos"][0])
    wanted = min(fired[0] + after, most) if fired else most
    position = taps.calls[-1].position + taps.calls[-1].length
    first = [call.sequence.size for call in taps.calls[:3]]
    joined = np.concatenate([frame.audio.reshape(-1) for frame in frames])
    fade = model.config.mimi.sample_rate // 200
    joined[:fade] *= np.linspace(0, 1, fade, dtype=np.float32)
    for what, holds in {
        "voice and text are one call each": first == [0, 0, LATENT],
        f"{wanted} frames follow from its EOS, not {len(frames)}": len(frames) == wanted,
        "each call begins where the one before ended": all(
            now.position == last.position + last.length for last, now in pairwise(taps.calls)
        ),
        f"position {position} is within {CAPACITY}": position <= CAPACITY,
        "each frame is fed back": all(np.array_equal(now.sequence[0], last.latent) for last, now in pairwise(steps)),
        "the frames in a row are the audio": np.allclose(joined, audio, rtol=0, atol=1e-6),
        "a frame is sixteen positions": [frame.position for frame in frames] == list(range(0, 16 * len(frames), 16)),
    }.items():
        if not holds:
            raise RuntimeError(f"case {case.name}: upstream does not do what the port relies on: {what}")


@torch.no_grad()
def one_by_one(model: Any, prompts: Sequence[Call]) -> list[Call]:
    """The prompts again, each token in a call of its own. Their caches have to be the same."""
    rows = np.concatenate([prompt.conditioning for prompt in prompts], axis=1)
    state = upstream.module("pocket_tts.modules.stateful_module").init_states(model.flow_lm, 1, rows.shape[1])
    with Taps(model, np.zeros((0, 0), np.float32)) as taps:
        for token in range(rows.shape[1]):
            model._run_flow_lm_and_increment_step(
                model_state=state, audio_conditioning=torch.from_numpy(rows[:, token : token + 1])
            )
    for layer, single in enumerate(_joined(taps.calls)):
        whole = _joined(prompts)[layer]
        apart = np.abs(single - whole).max() / np.abs(whole).max()
        if apart > AGREES:
            raise RuntimeError(f"layer {layer}: conditioning token by token leaves its cache off by {apart:.1e}")
    return taps.calls


def _joined(calls: Sequence[Call]) -> list[Array]:
    return [np.concatenate(rows, axis=2) for rows in zip(*(call.rows for call in calls), strict=True)]


class _Caches:
    """The flow LM's caches as they ship: of fixed size, and zero where nothing was written yet."""

    def __init__(self, like: Call) -> None:
        self.position = 0
        self.layers: list[Array] = []
        for rows in like.rows:
            sides, batch, _, heads, width = rows.shape
            self.layers.append(np.zeros((sides, batch, CAPACITY, heads, width), np.float32))

    def write(self, call: Call) -> None:
        if call.position != self.position:
            raise RuntimeError(f"a call writes at {call.position} where the one before ended at {self.position}")
        self.position += call.length
        layers = [layer.copy() for layer in self.layers]
        for layer, rows in zip(layers, call.rows, strict=True):
            layer[:, :, call.position : self.position] = rows
        self.layers = layers

    def named(self, suffix: str = "") -> dict[str, Array]:
        caches = {f"cache{i}{suffix}": layer for i, layer in enumerate(self.layers)}
        position = np.array([self.position], np.int32)
        return {**caches, **{f"position{i}{suffix}": position for i in range(len(self.layers))}}


def _crossings(calls: Sequence[Call], given: Given, made: Given, before: Sequence[Call]) -> Iterator[Crossing]:
    caches = _Caches(calls[0])
    for call in before:
        caches.write(call)
    for call, inputs, outputs in zip(calls, given, made, strict=True):
        carried = caches.named()
        caches.write(call)
        yield Crossing({**inputs, **carried}, {**outputs, **caches.named("_out")})


def _of_calls(
    stage: str,
    calls: Sequence[Call],
    given: Given,
    made: Given | None = None,
    before: Sequence[Call] = (),
) -> Seam:
    caches = [f"cache{i}" for i in range(len(calls[0].rows))]
    carried = [*caches, *(f"position{i}" for i in range(len(caches)))]
    return seam(
        stage,
        _crossings(calls, given, made or [{}] * len(calls), before),
        {f"{name}_out": name for name in carried},
        {f"{name}_out": 2 for name in caches},
    )


def cond_step(calls: Sequence[Call]) -> Seam:
    return _of_calls("cond_step", calls, [{"conditioning": call.conditioning} for call in calls])


def cond_prefill(calls: Sequence[Call], most: int) -> Seam:
    given = []
    for call in calls:
        padded = np.zeros((1, most, call.conditioning.shape[2]), np.float32)
        padded[:, : call.length] = call.conditioning
        given.append({"conditioning": padded, "valid": np.array([call.length], np.int32)})
    return _of_calls("cond_prefill", calls, given)


def flowlm_step(prompts: Sequence[Call], steps: Sequence[Call]) -> Seam:
    made = [{"transformer_out": step.condition, "eos_logit": step.eos_logit} for step in steps]
    return _of_calls("flowlm_step", steps, [{"sequence": step.sequence} for step in steps], made, prompts)


def flow_decoder(steps: Sequence[Call]) -> Seam:
    return seam(
        "flow_decoder",
        (
            Crossing(
                {"transformer_out": step.condition, "latent": flow.latent, "s": flow.s, "t": flow.t},
                {"velocity": flow.velocity},
            )
            for step in steps
            for flow in step.flows
        ),
        {},
        {},
    )


def flow_decoder_fused(steps: Sequence[Call]) -> Seam:
    return seam(
        "flow_decoder_fused",
        (Crossing({"transformer_out": step.condition, "noise": step.noise}, {"latent": step.latent}) for step in steps),
        {},
        {},
    )


def mimi_decoder(mimi: Any, steps: Sequence[Call], frames: Sequence[Frame]) -> Seam:
    names = [*named_states(mimi)]
    caches = [name for name in names if name.startswith("cache")]
    carried = [*names, *(name.replace("cache", "position") for name in caches)]
    slots = ring(mimi.decoder_transformer.transformer.context)

    def crossings() -> Iterator[Crossing]:
        held: dict[str, Array] = {name: np.zeros_like(frames[0].states[name]) for name in names}
        for name in caches:
            sides, batch, _, heads, width = frames[0].states[name].shape
            held[name] = np.zeros((sides, batch, slots, heads, width), np.float32)
            held[name.replace("cache", "position")] = np.zeros(1, np.int32)
        for step, frame in zip(steps, frames, strict=True):
            after = {name: frame.states[name] for name in names}
            at = np.arange(frame.position, frame.position + 16)
            for name in caches:
                after[name] = held[name].copy()
                after[name][:, :, at % slots] = frame.states[name]
                after[name.replace("cache", "position")] = np.array([at[-1] + 1], np.int32)
            yield Crossing(
                {"latent": step.latent, **held},
                {"audio": frame.audio, **{f"{name}_out": value for name, value in after.items()}},
            )
            held = after

    return seam(
        "mimi_decoder",
        crossings(),
        {f"{name}_out": name for name in carried},
        {f"{name}_out": 2 for name in caches},
    )
