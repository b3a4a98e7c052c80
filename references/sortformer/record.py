"""One run of the upstream as the seams of the port: its numbers, padded to the sizes that the port ships."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from parity.declarations import HOST, Case, Seam
from parity.steps import Crossing, seam
from references.sortformer import upstream
from references.sortformer.checkpoint import Source
from references.sortformer.compression import compression
from references.sortformer.config import BEFORE, BLOCK, HOP, SAMPLES, SUBSAMPLING, THRESHOLD, Streaming
from references.sortformer.taps import Array, Step, Taps

SILENCE, EMPTY = -1, -2


def record(shipped: Mapping[str, Streaming], source: Source, case: Case) -> Iterator[Seam]:
    """The spectrogram, each way of streaming that ships as "scope.stage", the recording heard at once, and what
    the speaker cache makes of situations that no recording here has."""
    heard: list[Taps] = []
    for scope, streaming in shipped.items():
        taps, probabilities = streamed(source.nemo, streaming, case.inputs["audio"])
        if not heard:
            yield preprocessor(case.inputs["audio"], taps.features)
        elif not np.array_equal(taps.features, heard[0].features):
            raise RuntimeError(f"case {case.name}: the same samples have another spectrogram in {scope}")
        heard.append(taps)
        yield from streaming_seams(scope, streaming, taps, probabilities, case)
    yield offline(source.nemo, case)
    yield compression(source.nemo, case)


@torch.no_grad()
def streamed(model: Any, streaming: Streaming, samples: Array) -> tuple[Taps, Array]:
    """Return the seams that upstream's own forward pass crossed, and the probabilities that it gave."""
    upstream.stream(model, streaming)
    model.streaming_mode = True
    audio = torch.from_numpy(samples)[None]
    # NeMo shows its progress there, asked or not.
    with Taps(model) as taps, contextlib.redirect_stderr(io.StringIO()):
        found = model(audio_signal=audio, audio_signal_length=torch.tensor([audio.shape[1]]))
    return taps, found[0].numpy()


@torch.no_grad()
def offline(model: Any, case: Case) -> Seam:
    """Without cache and queue. Upstream scales the samples by their maximum then, and so hears another spectrogram."""
    model.streaming_mode = False
    audio = torch.from_numpy(case.inputs["audio"])[None]
    length = torch.tensor([audio.shape[1]])
    scaled, _ = model.process_signal(audio_signal=audio, audio_signal_length=length)
    found = model(audio_signal=audio, audio_signal_length=length)[0].numpy()
    embeddings, _ = model.encoder.pre_encode(x=scaled.transpose(1, 2)[:, : len(audio[0]) // HOP], lengths=length // HOP)
    return Seam("offline", {"embeddings": embeddings[0].numpy()}, {"activity": found})


def preprocessor(samples: Array, features: Array) -> Seam:
    """The whole spectrogram of upstream, in the blocks that the host asks for."""
    given = np.pad(samples, (BEFORE, SAMPLES))

    def crossings() -> Iterator[Crossing]:
        for first in range(0, len(features), BLOCK):
            begin = first * HOP
            block = given[begin : begin + SAMPLES]
            valid = min(block.size, BEFORE + len(samples) - begin)
            rows = features[first : first + BLOCK]
            yield Crossing(
                {"audio_signal": block[None], "length": _count(valid)},
                {"features": _padded(rows, BLOCK)[None], "feature_lengths": _count(len(rows))},
            )

    return seam("preprocessor", crossings(), {}, {})


def streaming_seams(scope: str, streaming: Streaming, taps: Taps, probabilities: Array, case: Case) -> Iterator[Seam]:
    into = [_into(streaming, step) for step in taps.steps]
    between = [_between(streaming, step) for step in taps.steps]
    out = [_out(streaming, step) for step in taps.steps]
    for stage, given, made in (
        ("pre_encoder", into, between),
        ("head", between, out),
        ("pipeline", into, out),
    ):
        yield seam(f"{scope}.{stage}", (Crossing(*both) for both in zip(given, made, strict=True)), {}, {})
    yield host(scope, streaming, taps, probabilities, case)


def _into(streaming: Streaming, step: Step) -> dict[str, Array]:
    return {
        "chunk": _padded(step.window, streaming.window * SUBSAMPLING)[None],
        "chunk_lengths": _count(len(step.window)),
        "spkcache": _padded(step.cache, streaming.spkcache_len)[None],
        "spkcache_lengths": _count(len(step.cache)),
        "fifo": _padded(step.queue, streaming.fifo_len)[None],
        "fifo_lengths": _count(len(step.queue)),
    }


def _between(streaming: Streaming, step: Step) -> dict[str, Array]:
    if not np.array_equal(step.packed, np.concatenate([step.cache, step.queue, step.embeddings])):
        raise RuntimeError("upstream does not do what the port relies on: cache, queue and window in a row")
    return {
        "pre_encoder_embs": _padded(step.packed, streaming.frames)[None],
        "pre_encoder_lengths": _count(len(step.packed)),
        "chunk_pre_encoder_embs": _padded(step.embeddings, streaming.window)[None],
        "chunk_pre_encoder_lengths": _count(len(step.embeddings)),
    }


def _out(streaming: Streaming, step: Step) -> dict[str, Array]:
    return {
        "speaker_preds": _padded(step.predictions, streaming.frames)[None],
        "chunk_pre_encoder_embs_out": _padded(step.embeddings, streaming.window)[None],
        "chunk_pre_encoder_lengths_out": _count(len(step.embeddings)),
    }


def host(scope: str, streaming: Streaming, taps: Taps, probabilities: Array, case: Case) -> Seam:
    """Return the host's decisions: the frames that are silence, those that the cache keeps, and who speaks.

    Frames go by their number in the recording; a cache keeps some of them more than once.
    """
    if not taps.popped:
        raise ValueError(f"case {case.name}: it is over before {scope}'s queue is full; take a longer one")
    if unheard := set(case.inputs["turns"][:, 2].astype(int)) - set(np.flatnonzero((probabilities > THRESHOLD).any(0))):
        raise ValueError(
            f"case {case.name}: nobody is heard as speaker {sorted(unheard)}, and nothing would judge them"
        )
    held = np.zeros(0, np.int32)
    kept, silent, popped = [], [], 0
    for count, quiet, chosen in zip(taps.popped, taps.silent, taps.chosen, strict=True):
        come = np.arange(popped, popped + count, dtype=np.int32)
        popped += count
        silent.append(_row(come[quiet], streaming.popped, EMPTY))
        held = np.concatenate([held, come])
        if chosen is not None:
            held = np.where(chosen < 0, SILENCE, held[chosen]).astype(np.int32)
        kept.append(_row(held, streaming.spkcache_len, EMPTY))
    made = np.concatenate([step.predictions[_new(step)] for step in taps.steps])
    if not np.array_equal(made, probabilities):
        raise RuntimeError(f"case {case.name}: the chunks in a row are not what upstream gives for the whole")
    return Seam(
        f"{scope}.{HOST}",
        {"turns": case.inputs["turns"]},
        {
            "silent": np.stack(silent),
            "kept": np.stack(kept),
            "activity": probabilities,
            "speaking": (probabilities > THRESHOLD).astype(np.int32),
        },
    )


def _new(step: Step) -> slice:
    """Return the rows of the chunk itself among the predictions."""
    first = len(step.cache) + len(step.queue) + step.left
    return slice(first, first + len(step.embeddings) - step.left - step.right)


def _padded(rows: Array, count: int) -> Array:
    return np.concatenate([rows, np.zeros((count - len(rows), rows.shape[1]), rows.dtype)])


def _row(values: Array, count: int, filler: int) -> Array:
    return np.concatenate([values, np.full(count - len(values), filler, np.int32)])


def _count(value: int) -> Array:
    return np.array([value], np.int32)
