"""Memory of the host: a queue of the latest frames, and a cache of frames that tell each speaker apart.

Frames go by their number in the recording.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from parity.declarations import HOST, Run
from references.sortformer.config import (
    CERTAIN,
    ENOUGH,
    LATEST,
    QUIET,
    SILENT_PER_SPEAKER,
    SPEAKERS,
    STRONG,
    WEAK,
    Streaming,
)

SILENCE, EMPTY = -1, -2
"""In place of a frame's number: the mean of all silence; nothing."""


@dataclass
class Frames:
    """Rows that belong together: numbers, embeddings, and the probabilities of each speaker."""

    numbers: np.ndarray
    embeddings: np.ndarray
    activity: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: slice) -> Frames:
        return Frames(self.numbers[rows], self.embeddings[rows], self.activity[rows])

    def __add__(self, other: Frames) -> Frames:
        return Frames(
            np.concatenate([self.numbers, other.numbers]),
            np.concatenate([self.embeddings, other.embeddings]),
            np.concatenate([self.activity, other.activity]),
        )


def none(width: int) -> Frames:
    return Frames(np.zeros(0, np.int32), np.zeros((0, width), np.float32), np.zeros((0, SPEAKERS), np.float32))


class Memory:
    """Cache and queue of one recording. `decide` states which frames are silence and which the cache keeps."""

    def __init__(self, streaming: Streaming, run: Run, width: int) -> None:
        self.streaming, self.run = streaming, run
        self.cache, self.queue = none(width), none(width)
        self.silence = np.zeros(width, np.float32)
        self.silences = 0
        self.compressed = False

    def update(self, new: Frames, activity: np.ndarray) -> None:
        """Takes in the frames of a chunk. `activity` is what was predicted at this step of the cache and the queue."""
        held, queued = len(self.cache), len(self.queue)
        if not self.compressed:  # until then each step knows better than the one before
            self.cache.activity = activity[:held]
        self.queue.activity = activity[held : held + queued]
        self.queue = self.queue + new
        if len(self.queue) > self.streaming.fifo_len:  # unexercised: in High, a chunk is longer than the queue
            self.pop(self.leaving(queued, len(new)))

    def leaving(self, queued: int, new: int) -> int:
        """Return how many frames leave the queue at once."""
        fewest, over = self.streaming.spkcache_update_period, new - self.streaming.fifo_len + queued
        least = max(fewest, over)  # unexercised: so many are over in High alone, after a minute
        return min(least, queued + new)  # unexercised: only High's last chunk is as short

    def pop(self, count: int) -> None:
        popped, self.queue = self.queue[:count], self.queue[count:]
        self.hear_silence(popped)
        self.keep(self.cache + popped)

    def hear_silence(self, popped: Frames) -> None:
        quiet = popped.numbers[popped.activity.sum(axis=1) < QUIET]
        decided = self.run.decide(HOST, "silent", row(quiet, self.streaming.popped)[None])[0]
        silent = popped.embeddings[np.isin(popped.numbers, decided)]
        if len(silent):  # unexercised: in Low and High, so many frames leave at once that some are silent
            total = self.silence * np.float32(self.silences) + silent.sum(axis=0)
            self.silences += len(silent)
            self.silence = total / np.float32(self.silences)

    def keep(self, candidates: Frames) -> None:
        size = self.streaming.spkcache_len
        if len(candidates) > size:  # unexercised: in High, what leaves at once fills the cache
            self.compressed = True
            chosen = self.chosen(candidates.activity, size)
            numbers = np.where(chosen < 0, SILENCE, candidates.numbers[chosen]).astype(np.int32)
        else:
            numbers = candidates.numbers  # unexercised: in High, see above
        decided = self.run.decide(HOST, "kept", row(numbers, size)[None])[0]
        self.cache = self.gathered(candidates, decided[decided != EMPTY])

    def chosen(self, activity: np.ndarray, size: int) -> np.ndarray:
        return compress(activity, size)

    def gathered(self, candidates: Frames, numbers: np.ndarray) -> Frames:
        rows = {number: index for index, number in enumerate(candidates.numbers.tolist())}
        silent = numbers == SILENCE
        if lost := [number for number in numbers[~silent].tolist() if number not in rows]:
            # unexercised: upstream decides what is kept, and keeps nothing that it does not have
            raise ValueError(f"the cache is to keep frame {lost[0]}, which neither it nor what left the queue holds")
        # A row of silence that was kept before is silence as it is known now.
        where = np.array([0 if number == SILENCE else rows[number] for number in numbers.tolist()], np.int64)
        embeddings, activity = candidates.embeddings[where], candidates.activity[where]
        embeddings[silent], activity[silent] = self.silence, 0
        return Frames(numbers.astype(np.int32), embeddings, activity)


def row(values: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([values, np.full(size - len(values), EMPTY)]).astype(np.int32)


def compress(activity: np.ndarray, size: int) -> np.ndarray:
    """Return the rows to keep, in the order of speakers, then of time; -1 for silence.

    Each speaker is sure of some frames, and gets more where they speak alone and for certain.
    """
    part = size // SPEAKERS - SILENT_PER_SPEAKER
    scores = scored(activity, math.floor(part * ENOUGH))
    scores[size:] += np.float32(LATEST)
    boost(scores, math.floor(part * STRONG), 2)
    boost(scores, math.floor(part * WEAK), 1)
    silent = np.full((SILENT_PER_SPEAKER, SPEAKERS), np.inf, np.float32)
    every = np.concatenate([scores, silent]).T.reshape(-1)
    best = np.argsort(-every, kind="stable")[:size]
    best = np.sort(best[every[best] > -np.inf])
    rows = best % (len(scores) + SILENT_PER_SPEAKER)
    rows = np.where(rows < len(scores), rows, SILENCE)
    return np.concatenate([rows, np.full(size - len(rows), SILENCE)])


def scored(activity: np.ndarray, enough: int) -> np.ndarray:
    """Return how well each frame represents each speaker.

    The score is high where only they are heard for certain, and -inf where they are not; for a speaker with enough of
    such frames, also where others speak.
    """
    least = np.float32(CERTAIN)
    on, off = np.log(np.maximum(activity, least)), np.log(np.maximum(1 - activity, least))
    scores = on - off + off.sum(axis=1, keepdims=True) - np.float32(math.log(0.5))
    speaks = activity > 0.5
    scores = np.where(speaks, scores, np.float32(-np.inf))
    alone = scores > 0
    return np.where(~alone & speaks & (alone.sum(axis=0) >= enough), np.float32(-np.inf), scores)


def boost(scores: np.ndarray, count: int, times: int) -> None:
    """Raises each speaker's best frames."""
    best = np.argsort(-scores, axis=0, kind="stable")[:count]
    raised = np.take_along_axis(scores, best, axis=0) - np.float32(times * math.log(0.5))
    np.put_along_axis(scores, best, raised, axis=0)
