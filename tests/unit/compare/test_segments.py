"""The metric of stretches of speech: how far their edges are off, and what no distance tells."""

from __future__ import annotations

import math

import numpy as np

from tests.support.signals import measure

RATE = 16_000
NOTHING = [-1, -1]
TWO = np.array([[512, 8_000], [16_000, 24_000], NOTHING], np.int32)


def edges(reference: np.ndarray, candidate: np.ndarray) -> float:
    return measure("edge_shift", reference, candidate, RATE)


def test_the_farthest_edge_counts_in_seconds() -> None:
    later = TWO + np.array([[0, 0], [0, 512], [0, 0]], np.int32)
    assert edges(TWO, later) == 512 / RATE


def test_silence_agrees_with_silence() -> None:
    silence = np.full_like(TWO, -1)
    assert edges(silence, silence) == 0


def test_a_stretch_too_many_or_too_few_is_no_distance() -> None:
    one = np.array([[512, 24_000], NOTHING, NOTHING], np.int32)
    assert math.isnan(edges(TWO, one))
    assert math.isnan(edges(one, TWO))
