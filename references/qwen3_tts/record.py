"""One run of the upstream as the seams of the port: its numbers, in the layout that the port ships."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from parity.declarations import HOST, Case, Seam
from parity.steps import Crossing, seam
from references.qwen3_tts import sizes
from references.qwen3_tts.sizes import FRAME, GROUPS, Size
from references.qwen3_tts.taps import Array, Call, FedUniforms, Frame, Taps, copied
from references.qwen3_tts.upstream import Upstream

AGREES = 1e-4
"""Largest difference of audio that was decoded in another way, beside its peak."""
PROMPT = 16
"""Rows of the prompt that the port takes at once."""


@torch.no_grad()
def record(size: Size, upstream: Upstream, case: Case) -> Iterator[Seam]:
    """Yield every stage of a case, tapped while upstream generates it in its own way."""
    taps, codes = generated(upstream, case)
    prompt, *steps = taps.calls
    yield encode_text(upstream, case)
    yield talker_prefill(size, prompt)
    yield from codec_stages(upstream, case, taps, codes)
    yield talker(size, prompt, steps)
    yield from decoded(size, upstream, codes)
    tokens = chosen(case, taps, codes)
    yield Seam(
        HOST,
        {"text": case.inputs["text"]},
        {"tokens": tokens, "codes": codes[:, 1:].reshape(-1), "audio": audio(size, upstream, codes)},
    )


def generated(upstream: Upstream, case: Case) -> tuple[Taps, Array]:
    """Return the seams that upstream crossed while it generated the case, and its codes, a row for each frame."""
    given = case.inputs
    sampled = bool(given["temperature"][0] > 0)
    language = {number: name for name, number in sizes.LANGUAGES.items()}.get(int(given["language"][0]), "auto")
    feeding = FedUniforms(given["uniforms"]) if sampled else nullcontext()
    with Taps(upstream) as taps, feeding:
        codes, _ = upstream.model.generate(
            input_ids=[torch.from_numpy(marked(given["text"])).long()],
            languages=[language],
            do_sample=sampled,
            subtalker_dosample=sampled,
            max_new_tokens=int(given["limit"][0]),
        )
    found = codes[0].numpy().astype(np.int32)
    for frame, row in zip(taps.frames, found, strict=True):
        frame.codes = [int(code) for code in row]
    _as_declared(case, taps, found)
    return taps, found


def marked(text: Array) -> Array:
    """Return the ids of a text with upstream's markup around it: the role before it, and the beginning of an answer."""
    role = [sizes.IM_START, sizes.ASSISTANT, sizes.NEWLINE]
    return np.concatenate([[role], text, [[sizes.IM_END, sizes.NEWLINE, *role]]], 1).astype(np.int32)


def _as_declared(case: Case, taps: Taps, codes: Array) -> None:
    """Check what the port relies on and the goldens do not show."""
    calls, limit = taps.calls, int(case.inputs["limit"][0])
    for what, holds in {
        "the prompt is one call at 0": calls[0].position == 0 and calls[0].embeds.shape[1] <= PROMPT,
        "each step is one row": all(call.embeds.shape[1] == 1 for call in calls[1:]),
        "each call begins where the one before ended": [call.position for call in calls[1:]]
        == list(range(calls[0].embeds.shape[1], calls[0].embeds.shape[1] + len(calls) - 1)),
        "a step belongs to each frame": len(calls) - 1 == len(codes) == len(taps.frames),
        "it ends at the limit or before": len(codes) < limit,
        "a frame is fifteen calls": all(len(frame.calls) == GROUPS - 1 for frame in taps.frames),
    }.items():
        if not holds:
            raise RuntimeError(f"case {case.name}: upstream does not do what the port relies on: {what}")


def encode_text(upstream: Upstream, case: Case) -> Seam:
    """Return the text, then the three ids of speech, in one call. Upstream embeds them in several."""
    speech = [[sizes.TTS_BOS, sizes.TTS_EOS, sizes.TTS_PAD]]
    tokens = np.concatenate([marked(case.inputs["text"]), speech], 1).astype(np.int32)
    talker = upstream.model.talker
    embeds = talker.text_projection(talker.get_text_embeddings()(torch.from_numpy(tokens).long()))
    return Seam("encode_text", {"tokens": tokens}, {"embeds": copied(embeds)})


def talker_prefill(size: Size, prompt: Call) -> Seam:
    """Return the prompt, filled up with zeros, and of what it gave the last row. Slots behind it are zero."""
    rows = prompt.embeds.shape[1]
    embeds = np.zeros((1, PROMPT, size.talker.width), np.float32)
    embeds[:, :rows] = prompt.embeds
    caches = _Caches(prompt, size.capacity)
    caches.write(prompt)
    return Seam(
        "talker_prefill",
        {"embeds": embeds, "valid": np.array([rows], np.int32)},
        {"logits": prompt.logits[:, -1:], "hidden": prompt.hidden[:, -1:], **caches.named("_out")},
    )


def talker(size: Size, prompt: Call, steps: Sequence[Call]) -> Seam:
    caches = _Caches(prompt, size.capacity)
    caches.write(prompt)
    return _cached("talker", caches, steps, lambda call: {"logits": call.logits})


def codec_stages(upstream: Upstream, case: Case, taps: Taps, codes: Array) -> Iterator[Seam]:
    """Yield what makes a frame of a token: embeddings, the code predictor and its heads, and all of it at once."""
    prefilled = [(tag, 0) for tag in prompted(case)]
    looked_up = prefilled + [(int(code), group) for row in codes for group, code in enumerate(row)]
    yield seam("codec_embed", (_embedded(upstream, *each) for each in looked_up), {}, {})
    predicted = [call for frame in taps.frames for call in _one_by_one(frame)]
    caches = _Caches(predicted[0], GROUPS)
    yield _cached("code_predictor", caches, predicted, lambda call: {})
    yield seam("cp_head", _headed(taps.frames), {}, {})
    yield seam("cp_generate", _fused(upstream, case, taps.frames), {}, {})


def prompted(case: Case) -> list[int]:
    """Return the codec's ids in the prompt: whether and in which language to think, then the beginning of speech."""
    language = int(case.inputs["language"][0])
    tag = [sizes.NOTHINK] if language < 0 else [sizes.THINK]
    named = [] if language < 0 else [language]
    return [*tag, sizes.THINK_BOS, *named, sizes.THINK_EOS, sizes.CODEC_PAD, sizes.CODEC_BOS]


def _embedding(upstream: Upstream, group: int) -> Any:
    talker = upstream.model.talker
    return talker.get_input_embeddings() if group == 0 else talker.code_predictor.get_input_embeddings()[group - 1]


def _embedded(upstream: Upstream, code: int, group: int) -> Crossing:
    embed = copied(_embedding(upstream, group)(torch.tensor([[code]])))
    return Crossing({"token": np.array([code], np.int32), "group": np.array([group], np.int32)}, {"embed": embed})


def _one_by_one(frame: Frame) -> Iterator[Call]:
    """Yield the calls of a frame with one row each. Upstream's first call takes two."""
    for call in frame.calls:
        for row in range(call.embeds.shape[1]):
            at = slice(row, row + 1)
            rows = [part[:, :, at] for part in call.rows]
            yield Call(call.embeds[:, at], call.position + row, rows, call.hidden[:, at])


def _headed(frames: Sequence[Frame]) -> Iterator[Crossing]:
    for frame in frames:
        for group, call in enumerate(frame.calls, start=1):
            given = {"hidden": call.hidden[:, -1], "group": np.array([group], np.int32)}
            yield Crossing(given, {"logits": call.logits[:, -1]})


def _fused(upstream: Upstream, case: Case, frames: Sequence[Frame]) -> Iterator[Crossing]:
    for number, frame in enumerate(frames):
        hidden, embed = np.split(frame.calls[0].embeds, 2, axis=1)
        rows = [_embedding(upstream, group)(torch.tensor([[code]])) for group, code in enumerate(frame.codes)]
        yield Crossing(
            {
                "hidden": hidden,
                "embed": embed,
                "temperature": case.inputs["temperature"],
                "uniforms": case.inputs["uniforms"][number, 1:],
            },
            {
                "codes": np.array(frame.codes[1:], np.int32),
                "embed_sum": copied(torch.cat(rows, 1).sum(1, keepdim=True)),
            },
        )


class _Caches:
    """Caches as they ship: of fixed size, and zero where nothing was written yet."""

    def __init__(self, like: Call, slots: int) -> None:
        self.layers = [np.zeros((*rows.shape[:2], slots, *rows.shape[3:]), np.float32) for rows in like.rows]

    def write(self, call: Call) -> None:
        layers = [layer.copy() for layer in self.layers]
        for layer, rows in zip(layers, call.rows, strict=True):
            layer[:, :, call.position : call.position + call.embeds.shape[1]] = rows
        self.layers = layers

    def named(self, suffix: str = "") -> dict[str, Array]:
        return {f"cache{i}{suffix}": layer for i, layer in enumerate(self.layers)}


def _cached(stage: str, caches: _Caches, calls: Sequence[Call], more: Any) -> Seam:
    names = list(caches.named())

    def crossings() -> Iterator[Crossing]:
        for call in calls:
            given = {"embeds": call.embeds, "position": np.array([call.position], np.int32), **caches.named()}
            caches.write(call)
            # The same code in the next frame gives the first layer the same row: it is written, and does not change.
            wrote = range(call.position, call.position + call.embeds.shape[1])
            gave = {**more(call), "hidden": call.hidden, **caches.named("_out")}
            yield Crossing(given, gave, {f"{name}_out": wrote for name in names})

    return seam(stage, crossings(), {f"{name}_out": name for name in names}, {f"{name}_out": 2 for name in names})


def decoded(size: Size, upstream: Upstream, codes: Array) -> Iterator[Seam]:
    """Yield the first chunk, of its own length, then all chunks, each filled up to a fixed length."""
    first = codes[None, : size.chunk]
    yield Seam("decode_audio", {"codes": first}, {"audio": _sound(upstream, first)})
    padded = [_filled_up(size, chunk) for chunk, _ in chunks(size, codes)]
    yield seam(
        "decode_audio_stream", (Crossing({"codes": each}, {"audio": _sound(upstream, each)}) for each in padded), {}, {}
    )


def chunks(size: Size, codes: Array) -> Iterator[tuple[Array, int]]:
    """Yield the frames of each chunk, those before it that are decoded again included, and the number of the latter."""
    for start in range(0, len(codes), size.chunk):
        context = size.context if start > size.context else start
        yield codes[start - context : start + size.chunk], context


def _filled_up(size: Size, codes: Array) -> Array:
    return np.pad(codes, ((0, size.chunk + size.context - len(codes)), (0, 0)))[None]


def _sound(upstream: Upstream, codes: Array) -> Array:
    return copied(upstream.decoder(torch.from_numpy(codes).long().transpose(1, 2))).reshape(-1)


def audio(size: Size, upstream: Upstream, codes: Array) -> Array:
    """Return the valid part of each chunk, which has to be what upstream's own chunks give."""
    parts = []
    for chunk, context in chunks(size, codes):
        parts.append(_sound(upstream, _filled_up(size, chunk))[context * FRAME : len(chunk) * FRAME])
    found = np.concatenate(parts)
    given = torch.from_numpy(codes[None]).long().transpose(1, 2)
    theirs = copied(upstream.decoder.chunked_decode(given, size.chunk, size.context)).reshape(-1)
    if found.shape != theirs.shape or np.abs(found - theirs).max() > AGREES * np.abs(theirs).max():
        raise RuntimeError("upstream decodes chunks that are filled up otherwise than its own")
    return found


def chosen(case: Case, taps: Taps, codes: Array) -> Array:
    """Return the token of each step: the first codes of the frames, then EOS, if it came before the limit."""
    tokens = [int(row[0]) for row in codes]
    ended = len(tokens) + 1 < int(case.inputs["limit"][0])
    return np.array(tokens + [sizes.CODEC_EOS] * ended, np.int32)
