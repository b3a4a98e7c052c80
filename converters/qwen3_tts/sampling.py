"""The choice of an id from its scores, as upstream makes it, with the draw as an input."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from references.qwen3_tts.sizes import CODEC_EOS, MIN_TOKENS, REPETITION_PENALTY, SUPPRESSED, TOP_K


@dataclass(frozen=True)
class Sampling:
    """Choice of ids. A temperature of zero takes the likeliest one each time."""

    temperature: float

    def token(self, scores: np.ndarray, before: Iterable[int], uniform: float) -> int:
        """Return the next token from its scores and the tokens before it."""
        tokens = list(before)
        return self.code(self.allowed(self.penalized(scores, tokens), len(tokens)), uniform)

    def penalized(self, scores: np.ndarray, tokens: list[int]) -> np.ndarray:
        """Return scores with the penalty of repetition: once for each id, however often it came."""
        scores = scores.astype(np.float32)
        seen = np.unique(np.array(tokens, np.int64))
        penalty = np.float32(REPETITION_PENALTY)
        scores[seen] = np.where(scores[seen] < 0, scores[seen] * penalty, scores[seen] / penalty)
        return scores

    def allowed(self, scores: np.ndarray, made: int) -> np.ndarray:
        """Return scores without the ids that are not codes. EOS is let through once enough tokens are made."""
        banned = np.arange(len(scores)) >= SUPPRESSED
        banned[CODEC_EOS] = made < MIN_TOKENS
        return np.where(banned, np.float32(-np.inf), scores)

    def code(self, scores: np.ndarray, uniform: float) -> int:
        if not self.temperature:
            return int(scores.argmax())
        best = np.argsort(-scores, kind="stable")[:TOP_K]
        chances = np.exp((scores[best] - scores[best[0]]).astype(np.float32) / np.float32(self.temperature))
        return int(best[self.place(np.cumsum(chances / chances.sum(), dtype=np.float32), uniform)])

    def place(self, summed: np.ndarray, uniform: float) -> int:
        """Return how many sums do not exceed the uniform; where all of them fall short of it, the last place."""
        return min(int((summed <= uniform).sum()), len(summed) - 1)
