"""Sortformer's converters and glue with the bugs that lengths, caches and thresholds invite, one each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.sortformer.cache import SILENCE, Frames, Memory
from converters.sortformer.frontend import PreEncoder, Preprocessor
from converters.sortformer.glue import Glue, Window
from converters.sortformer.head import Head
from parity.declarations import Arrays, Run
from references.sortformer.config import SUBSAMPLING


class PermutedHead(Head):
    """Gives two speakers in each other's channels."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        activity, *rest = super().forward(*inputs)
        return activity[..., [1, 0, 2, 3]], *rest


class UnmaskedHead(Head):
    """Takes the zeros behind the valid rows for rows."""

    def forward(self, embeddings: Tensor, lengths: Tensor, *chunk: Tensor) -> tuple[Tensor, ...]:
        return super().forward(embeddings, lengths * 0 + embeddings.shape[1], *chunk)


class AliasedHead(Head):
    """Hands the chunk's embeddings out as they came in."""

    def forward(self, embeddings: Tensor, lengths: Tensor, chunk: Tensor, count: Tensor) -> tuple[Tensor, ...]:
        activity, _, number = super().forward(embeddings, lengths, chunk, count)
        return activity, chunk, number


class TimidHead(Head):
    """Every probability a little lower: whoever is the likeliest speaker remains it."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        activity, *rest = super().forward(*inputs)
        return activity * 0.8, *rest


class PaddedPreEncoder(PreEncoder):
    """Takes the zeros behind the chunk for a part of it."""

    def forward(self, chunk: Tensor, lengths: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        return super().forward(chunk, lengths * 0 + chunk.shape[1], *states)


class OtherWindow(Preprocessor):
    """A window that rises half a sample later."""

    def __init__(self, upstream: Any) -> None:
        super().__init__(upstream)
        ratio = torch.hann_window(400, periodic=True) / torch.hann_window(400, periodic=False).clamp(min=1e-6)
        self.kernels *= ratio


class Normalized(Preprocessor):
    """Each feature has mean 0 and deviation 1, over what is padding as well."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        features, lengths = super().forward(*inputs)
        centred = features - features.mean(1, keepdim=True)
        return centred / ((centred * centred).mean(1, keepdim=True) + 1e-5).sqrt(), lengths


def remembering(kind: type[Memory]) -> type[Glue]:
    """Return the glue with another memory."""

    class Remembering(Glue):
        def memory(self, run: Run) -> Memory:
            return kind(self.streaming, run, self.width)

    return Remembering


class ByLoudness(Memory):
    """Keeps the likeliest frames of each speaker, though others may speak in them as well."""

    def chosen(self, activity: np.ndarray, size: int) -> np.ndarray:
        best = np.sort(np.argsort(-activity.max(axis=1), kind="stable")[: size - 12])
        return np.concatenate([best, np.full(12, SILENCE)])


class Greedy(Memory):
    """Takes a frame too many off the queue."""

    def leaving(self, queued: int, new: int) -> int:
        return min(super().leaving(queued, new) + 1, queued + new)


class Patient(Memory):
    """Leaves a frame in the queue that has to go."""

    def leaving(self, queued: int, new: int) -> int:
        return super().leaving(queued, new) - 1


class Forgetful(Memory):
    """Goes on judging the cache by each step's predictions, though it was compressed by earlier ones."""

    def update(self, new: Frames, activity: np.ndarray) -> None:
        self.compressed = False
        super().update(new, activity)


class Stale(Memory):
    """Judges the queue by what was predicted when its frames came."""

    def update(self, new: Frames, activity: np.ndarray) -> None:
        held, queued = len(self.cache), len(self.queue)
        activity = activity.copy()
        activity[held : held + queued] = self.queue.activity
        super().update(new, activity)


class Abrupt(Glue):
    """Each chunk without what came before it."""

    def windows(self, features: Iterator[np.ndarray]) -> Iterator[Window]:
        for window in super().windows(features):
            yield Window(window.rows[window.left :], 0, window.right)


class Late(Glue):
    """Each chunk begins a frame later than it does."""

    def read(self, window: Window, memory: Memory, found: Arrays, first: int) -> tuple[Frames, np.ndarray]:
        return super().read(replace(window, left=window.left + SUBSAMPLING), memory, found, first)


class Full(Glue):
    """Every window counts as full."""

    def seen(self, window: Window) -> Arrays:
        given = super().seen(window)
        return {**given, "chunk_lengths": given["chunk_lengths"] * 0 + given["chunk"].shape[1]}


class Eager(Glue):
    """Hears a speaker from another threshold on."""

    def speaking(self, activity: np.ndarray) -> np.ndarray:
        return (activity > 0.45).astype(np.int32)


def collapsed(activity: np.ndarray) -> np.ndarray:
    """The likeliest speaker of a step is the only one that it hears."""
    loudest = activity.sum(axis=-2).argmax()
    others = np.ones(activity.shape[-1], np.float32) * 0.3
    others[loudest] = 1
    return activity * others


def timid(activity: np.ndarray) -> np.ndarray:
    """Whoever is the likeliest remains it."""
    return activity * np.float32(0.55)


def bold(activity: np.ndarray) -> np.ndarray:
    return np.where(activity > 0.02, np.maximum(activity, np.float32(0.6)), activity)


def exchanging() -> Callable[[np.ndarray], np.ndarray]:
    """Give the first two speakers under each other's names, from the fourth step on."""
    steps = count()

    def change(activity: np.ndarray) -> np.ndarray:
        return activity if next(steps) < 3 else activity[..., [1, 0, *range(2, activity.shape[-1])]]

    return change
