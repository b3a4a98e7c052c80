"""Non-maximum suppression."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from milrun.registry import op

_BLOCK = 256
"""So many boxes at a time are compared with those kept so far, and then with each other."""


@op("non_maximum_suppression")
def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    score_threshold: float,
    max_boxes: int,
    per_class_suppression: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Suppress boxes (n, B, 4) with scores (n, B, K). If no score reaches the threshold, the best box is selected."""
    return _suppress(boxes, scores, iou_threshold, score_threshold, max_boxes, per_class_suppression)


@op("non_maximum_suppression", since="iOS17")
def non_maximum_suppression_ios17(
    boxes: Tensor, scores: Tensor, iou_threshold: float, max_boxes: int, per_class_suppression: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Suppress boxes (n, 4, B) with scores (n, K, B)."""
    selected, their_scores, indices, _ = _suppress(
        boxes.transpose(1, 2), scores.transpose(1, 2), iou_threshold, None, max_boxes, per_class_suppression
    )
    return selected.transpose(1, 2), their_scores.transpose(1, 2), indices


def _suppress(
    boxes: Tensor, scores: Tensor, iou: float, threshold: float | None, max_boxes: int, per_class: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the boxes selected, their scores, their indices, and their number; unused rows hold 0, 0 and -1."""
    batch = boxes.shape[0]
    selected = boxes.new_zeros(batch, max_boxes, 4)
    their_scores = scores.new_zeros(batch, max_boxes, scores.shape[2])
    indices = torch.full((batch, max_boxes), -1)
    counts = torch.zeros(batch, dtype=torch.int64)
    for b in range(batch):
        kept = _select(boxes[b], scores[b], iou, threshold, max_boxes, per_class)
        selected[b, : len(kept)] = boxes[b, kept]
        their_scores[b, : len(kept)] = scores[b, kept]
        indices[b, : len(kept)] = kept
        counts[b] = len(kept)
    return selected, their_scores, indices, counts


def _select(
    boxes: Tensor, scores: Tensor, iou: float, threshold: float | None, max_boxes: int, per_class: bool
) -> Tensor:
    """Return indices of the boxes to keep, best first. A box has its best score, and the class of that score."""
    if boxes.shape[0] == 0:
        return torch.empty(0, dtype=torch.int64)
    best, label = scores.max(-1)
    order = best.argsort(descending=True, stable=True)
    if threshold is not None:
        passing = int((best >= threshold).sum())
        order = order[: max(passing, 1)]
    center, half = boxes[:, :2], boxes[:, 2:] / 2
    low, high, area = center - half, center + half, boxes[:, 2] * boxes[:, 3]

    def overlap(a: Tensor, b: Tensor) -> Tensor:
        sides = torch.minimum(high[a, None], high[None, b]) - torch.maximum(low[a, None], low[None, b])
        common = sides.clamp(min=0).prod(-1)
        over = common / (area[a, None] + area[None, b] - common) > iou
        return over & (label[a, None] == label[None, b]) if per_class else over

    kept = order[:0]
    for start in range(0, len(order), _BLOCK):
        if len(kept) >= max_boxes:
            break
        block = order[start : start + _BLOCK]
        block = block[~overlap(kept, block).any(0)]
        clashes = overlap(block, block).numpy()
        alive = np.ones(len(block), dtype=bool)
        for i in range(len(block)):
            if alive[i]:
                alive[i + 1 :] &= ~clashes[i, i + 1 :]
        kept = torch.cat([kept, block[torch.from_numpy(alive)]])
    return kept[:max_boxes]
