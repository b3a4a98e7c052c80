"""The frames that upstream's speaker cache keeps of made-up recordings: crowded, sparse, overlapping, unlike any
short meeting."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch

from parity.declarations import Case, Seam
from references.sortformer.config import SPEAKERS, Streaming

COUNT, SIZE, MOST = 24, Streaming.spkcache_len, 60
"""So many situations, the size of the cache, and how many frames come on top of it at most."""

NOTHING = -1


def situations(name: str) -> list[np.ndarray]:
    """The probabilities of each speaker in frames that a cache has to choose from: turns that overlap more or less,
    of one to four people, some of whom hardly get a word in."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    found = []
    for _ in range(COUNT):
        frames = SIZE + int(random.integers(1, MOST + 1))
        talkative = random.dirichlet(np.full(SPEAKERS, 0.7))
        overlap, sure = random.uniform(0, 0.7), random.uniform(1, 6)
        speaks = np.zeros((frames, SPEAKERS), bool)
        begin = 0
        while begin < frames:
            end = begin + int(random.integers(2, 30))
            if random.random() > 0.15:
                speaks[max(0, begin - int(overlap * (end - begin))) : end, random.choice(SPEAKERS, p=talkative)] = True
            begin = end
        sums = np.where(speaks, sure, -sure) + random.normal(0, 1.5, speaks.shape)
        found.append((1 / (1 + np.exp(-sums))).astype(np.float32))
    return found


@torch.no_grad()
def compression(model: Any, case: Case) -> Seam:
    """A row for each situation: probabilities, with NOTHING behind them up to the longest; and what is kept, -1 for
    silence."""
    modules = model.sortformer_modules
    rows, kept = np.full((COUNT, SIZE + MOST, SPEAKERS), NOTHING, np.float32), []
    for row, activity in zip(rows, situations(case.name), strict=True):
        row[: len(activity)] = activity
        # An embedding that is the frame's own number comes out as what was kept.
        numbers = torch.arange(len(activity), dtype=torch.float32).expand(1, modules.fc_d_model, -1).transpose(1, 2)
        silence = torch.full((1, modules.fc_d_model), -1.0)
        chosen, _, _ = modules._compress_spkcache(numbers, torch.from_numpy(activity)[None], silence)
        kept.append(chosen[0, :, 0].numpy().astype(np.int32))
    return Seam("compression", {"activity": rows}, {"kept": np.stack(kept)})
