"""Metrics of logits on scores that are written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.support.signals import measure

ROW = np.array([4.0, 3.0, 2.0, 1.0, 0.0, -1.0])


def test_the_overlap_counts_the_best_ids_whatever_their_order() -> None:
    swapped = ROW[[1, 0, 2, 3, 4, 5]]
    assert measure("top_k_overlap", ROW, swapped) == 1
    other = ROW[[0, 1, 3, 2, 4, 5]]
    assert measure("top_k_overlap", ROW, other) == pytest.approx(2 / 3)


def test_the_overlap_is_that_of_the_worst_row() -> None:
    rows = np.stack([ROW, ROW])
    assert measure("top_k_overlap", rows, np.stack([ROW, -ROW])) == 0


def test_the_margin_is_the_change_of_the_winners_lead_over_the_spread_of_its_row() -> None:
    narrowed = ROW - np.array([0.5, 0, 0, 0, 0, 0])
    assert measure("winner_margin", ROW, narrowed) == pytest.approx(0.5 / ROW.std())
    lost = ROW - np.array([2.0, 0, 0, 0, 0, 0])
    assert measure("winner_margin", ROW, lost) == pytest.approx(2.0 / ROW.std()), "the lead is negative by then"
    assert measure("winner_margin", ROW, ROW + 3) == pytest.approx(0)


def test_a_row_without_a_choice_has_no_margin() -> None:
    assert math.isnan(measure("winner_margin", np.ones((2, 1)), np.ones((2, 1))))
    assert math.isnan(measure("winner_margin", np.ones((2, 5)), np.ones((2, 5))))
