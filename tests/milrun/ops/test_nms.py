"""Non-maximum suppression against a plain greedy loop in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from milrun.registry import find

import milrun.ops  # noqa: F401 isort: skip (registers the ops)
from tests.support.covering import pairs


def run(opset: str, **arguments: Any) -> list[np.ndarray]:
    definition = find("non_maximum_suppression", opset)
    assert definition is not None
    arguments = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
    return [y.numpy() for y in definition.run(**arguments)]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    sides = [
        min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2) for i in (0, 1)
    ]
    common = max(sides[0], 0.0) * max(sides[1], 0.0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def greedy(boxes: np.ndarray, scores: np.ndarray, limit: float, least: float, most: int, per_class: bool) -> list[int]:
    boxes = boxes.astype(np.float64)
    best, label = scores.max(-1), scores.argmax(-1)
    order = [i for i in np.argsort(-best, kind="stable") if best[i] >= least] or [int(best.argmax())]
    kept: list[int] = []
    for i in order:
        rivals = [j for j in kept if not per_class or label[i] == label[j]]
        if all(iou(boxes[i], boxes[j]) <= limit for j in rivals):
            kept.append(int(i))
    return kept[:most]


def scene(batch: int, boxes: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(boxes)
    places = rng.uniform(0, 100, (batch, boxes, 2))
    sizes = rng.uniform(5, 40, (batch, boxes, 2))
    return np.concatenate([places, sizes], -1).astype(np.float32), rng.normal(size=(batch, boxes, classes)).astype("f4")


@pairs(
    {
        "boxes, most": [(10, 7), (100, 64), (300, 5), (300, 400)],
        "classes": [1, 4],
        "per_class": [False, True],
        "limit, least": [(0.05, -10.0), (0.4, 0.2), (1.0, 0.0), (0.4, 99.0)],
    }
)
def test_boxes_are_selected_greedily_by_score(
    boxes: int, most: int, classes: int, per_class: bool, limit: float, least: float
) -> None:
    places, scores = scene(2, boxes, classes)
    arguments = {"iou_threshold": limit, "max_boxes": most, "per_class_suppression": per_class}
    got = run("iOS15", boxes=places, scores=scores, score_threshold=least, **arguments)
    for b in range(2):
        kept = greedy(places[b], scores[b], limit, least, most, per_class)
        unused = most - len(kept)
        np.testing.assert_array_equal(got[0][b], np.concatenate([places[b, kept], np.zeros((unused, 4))]))
        np.testing.assert_array_equal(got[1][b], np.concatenate([scores[b, kept], np.zeros((unused, classes))]))
        np.testing.assert_array_equal(got[2][b], kept + [-1] * unused)
        assert got[3][b] == len(kept)


@pytest.mark.parametrize("per_class", [False, True])
def test_from_ios17_on_boxes_are_the_last_axis_and_scores_have_no_threshold(per_class: bool) -> None:
    places, scores = scene(2, 60, 3)
    got = run(
        "iOS17",
        boxes=places.transpose(0, 2, 1).copy(),
        scores=scores.transpose(0, 2, 1).copy(),
        iou_threshold=0.3,
        max_boxes=50,
        per_class_suppression=per_class,
    )
    assert [y.shape for y in got] == [(2, 4, 50), (2, 3, 50), (2, 50)]
    for b in range(2):
        kept = greedy(places[b], scores[b], 0.3, -np.inf, 50, per_class)
        unused = 50 - len(kept)
        np.testing.assert_array_equal(got[0][b].T, np.concatenate([places[b, kept], np.zeros((unused, 4))]))
        np.testing.assert_array_equal(got[1][b].T, np.concatenate([scores[b, kept], np.zeros((unused, 3))]))
        np.testing.assert_array_equal(got[2][b], kept + [-1] * unused)


def test_the_example_of_the_specification_keeps_two_boxes() -> None:
    boxes = np.repeat(np.arange(4, dtype=np.float32)[:, None], 4, 1)[None]
    scores = np.array([[[-3.5], [9.4], [2.3], [0.7]]], np.float32)
    got = run("iOS15", boxes=boxes, scores=scores, iou_threshold=0.2, score_threshold=0.4, max_boxes=2)
    assert (got[2].tolist(), got[3].tolist()) == ([[1, 2]], [2])


def test_boxes_without_area_and_ties_do_no_harm() -> None:
    boxes = np.zeros((1, 3, 4), np.float32)
    scores = np.ones((1, 3, 1), np.float32)
    got = run("iOS15", boxes=boxes, scores=scores, iou_threshold=0.5, score_threshold=0.0, max_boxes=4)
    assert got[2].tolist() == [[0, 1, 2, -1]]


def test_no_boxes_give_unused_rows_only() -> None:
    empty = {"boxes": np.zeros((1, 0, 4), np.float32), "scores": np.zeros((1, 0, 2), np.float32)}
    got = run("iOS15", **empty, iou_threshold=0.5, score_threshold=0.0, max_boxes=2)
    assert (got[2].tolist(), got[3].tolist()) == ([[-1, -1]], [0])
