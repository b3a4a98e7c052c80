"""Host code: takes a recording block by block, and gives who speaks, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from converters.sortformer.cache import Frames, Memory
from parity.declarations import HOST, Arrays, Case, Run
from references.sortformer.config import BEFORE, BLOCK, FEATURES, HOP, SAMPLES, SUBSAMPLING, THRESHOLD, Streaming


@dataclass(frozen=True)
class Window:
    """Part of the spectrogram that a step sees; `left` and `right` are rows of context."""

    rows: np.ndarray
    left: int
    right: int


@dataclass(frozen=True)
class Glue:
    """Diarizes a case. Memory is bounded, however long the recording is."""

    streaming: Streaming
    width: int

    def __call__(self, run: Run, case: Case) -> None:
        for _ in self.diarized(run, [case.inputs["audio"]]):
            pass

    def diarized(self, run: Run, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """For each chunk of a recording that comes in pieces of any length, who speaks: (frames, speakers)."""
        memory = self.memory(run)
        first = 0
        for window in self.windows(self.features(run, pieces)):
            given = {**self.seen(window), **self.remembered(memory)}
            run("head", run("pre_encoder", given))
            found = run("pipeline", given)
            new, activity = self.read(window, memory, found, first)
            memory.update(new, activity)
            first += len(new)
            run.decide(HOST, "activity", new.activity)
            yield run.decide(HOST, "speaking", self.speaking(new.activity))

    def memory(self, run: Run) -> Memory:
        return Memory(self.streaming, run, self.width)

    def features(self, run: Run, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The spectrogram, in rows of frames, as it becomes known."""
        held = np.zeros(BEFORE, np.float32)
        for piece in pieces:
            held = np.concatenate([held, piece])
            while len(held) >= SAMPLES:
                yield self.spectrum(run, held[:SAMPLES], SAMPLES)
                held = held[BLOCK * HOP :]
        while len(held) >= BEFORE + HOP:
            valid = len(held)
            block = np.concatenate([held, np.zeros(SAMPLES - valid, np.float32)])
            yield self.spectrum(run, block, valid)
            held = held[BLOCK * HOP :]

    def spectrum(self, run: Run, block: np.ndarray, valid: int) -> np.ndarray:
        made = run("preprocessor", {"audio_signal": block[None], "length": count(valid)})
        rows = made["features"][0]
        return rows[: int(made["feature_lengths"].item())]

    def windows(self, features: Iterator[np.ndarray]) -> Iterator[Window]:
        """Chunk after chunk with what is around it, as far as the recording goes."""
        step, before, behind = (
            SUBSAMPLING * frames
            for frames in (
                self.streaming.chunk_len,
                self.streaming.chunk_left_context,
                self.streaming.chunk_right_context,
            )
        )
        held, left, more = np.zeros((0, FEATURES), np.float32), 0, True
        while True:
            while more and len(held) < left + step + behind:
                rows = next(features, None)
                more = rows is not None
                held = held if rows is None else np.concatenate([held, rows])
            end = min(left + step, len(held))
            if end == left:
                return
            right = min(behind, len(held) - end)
            yield Window(held[: end + right], left, right)
            held = held[max(end - before, 0) :]  # unexercised: no recording ends within the context of a chunk
            left = min(before, end)  # unexercised: the same

    def seen(self, window: Window) -> Arrays:
        rows = padded(window.rows, self.streaming.window * SUBSAMPLING)
        return {"chunk": rows[None], "chunk_lengths": count(len(window.rows))}

    def remembered(self, memory: Memory) -> Arrays:
        return {
            "spkcache": padded(memory.cache.embeddings, self.streaming.spkcache_len)[None],
            "spkcache_lengths": count(len(memory.cache)),
            "fifo": padded(memory.queue.embeddings, self.streaming.fifo_len)[None],
            "fifo_lengths": count(len(memory.queue)),
        }

    def read(self, window: Window, memory: Memory, found: Arrays, first: int) -> tuple[Frames, np.ndarray]:
        """The chunk's own frames, and what is predicted of all that the step saw."""
        # The window's ends are counted as upstream does, whose last chunk may end within a frame.
        left, right = round(window.left / SUBSAMPLING), -(-window.right // SUBSAMPLING)
        known = int(found["chunk_pre_encoder_lengths_out"].item())
        embeddings = found["chunk_pre_encoder_embs_out"][0, left : known - right].astype(np.float32)
        activity = found["speaker_preds"][0].astype(np.float32)
        start = len(memory.cache) + len(memory.queue) + left
        numbers = np.arange(first, first + len(embeddings), dtype=np.int32)
        return Frames(numbers, embeddings, activity[start : start + len(embeddings)]), activity

    def speaking(self, activity: np.ndarray) -> np.ndarray:
        """As the port and NeMo say it by default: one threshold, no padding, no shortest turn, nothing smoothed."""
        return (activity > THRESHOLD).astype(np.int32)


def padded(rows: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([rows, np.zeros((size - len(rows), rows.shape[1]), rows.dtype)])


def count(value: int) -> np.ndarray:
    return np.array([value], np.int32)
