"""What the host's speaker cache keeps, in many situations that NeMo was given as well."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converters.sortformer import SYSTEMS, cache
from converters.sortformer.glue import Glue, Window
from parity.golden.store import GoldenStore
from parity.plan.weights import choose
from parity.record.suite import Suite
from references.sortformer import V2
from references.sortformer.compression import COUNT, NOTHING, SIZE

Situation = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def recorded(suite: Suite) -> list[Situation]:
    """Probabilities, and the frames that upstream keeps."""
    store = GoldenStore(V2, suite.project.golden_folder, suite.cache, choose(V2, "seeded", suite.cache))
    found = []
    for case in V2.cases:
        seam = store.load(case)["compression"]
        for activity, kept in zip(seam.inputs["activity"], seam.outputs["kept"], strict=True):
            found.append((activity[(activity != NOTHING).all(axis=1)], kept))
    return found


def differing(recorded: list[Situation]) -> int:
    return sum(not np.array_equal(cache.compress(activity, SIZE), kept) for activity, kept in recorded)


def test_every_frame_is_kept_that_upstream_keeps_in_its_order(recorded: list[Situation]) -> None:
    assert len(recorded) == COUNT * len(V2.cases)
    assert differing(recorded) == 0


def test_the_situations_are_those_that_meetings_seldom_have(recorded: list[Situation]) -> None:
    chosen = [kept[kept >= 0] for _, kept in recorded]
    assert sum(len(set(frames)) < len(frames) for frames in chosen) > COUNT / 2, "frames that two speakers keep"
    assert sum((activity > 0.5).any(axis=0).sum() < 4 for activity, _ in recorded) > 3, "somebody silent"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENOUGH", 0.45),
        ("ENOUGH", 0.6),
        ("STRONG", 0.7),
        ("STRONG", 0.8),
        ("WEAK", 1.4),
        ("WEAK", 1.6),
        ("LATEST", 0.04),
        ("CERTAIN", 0.2),
        ("CERTAIN", 0.3),
        ("SILENT_PER_SPEAKER", 2),
        ("SILENT_PER_SPEAKER", 4),
    ],
)
def test_no_number_of_the_port_can_be_another_one(
    recorded: list[Situation], monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    monkeypatch.setattr(cache, name, value)
    assert differing(recorded) > 0


def test_frames_are_numbered_on_after_an_hour() -> None:
    glue: Any = SYSTEMS[0].chain
    assert isinstance(glue, Glue)
    memory, rows = cache.Memory(glue.streaming, glue, glue.width), glue.streaming.chunk_len
    found = {
        "chunk_pre_encoder_lengths_out": np.array([rows], np.int32),
        "chunk_pre_encoder_embs_out": np.zeros((1, rows, glue.width), np.float32),
        "speaker_preds": np.zeros((1, glue.streaming.frames, 4), np.float32),
    }
    first = 100_000
    new, _ = glue.read(Window(np.zeros((8 * rows, 128), np.float32), 0, 0), memory, found, first)
    memory.update(new, found["speaker_preds"][0])
    assert memory.queue.numbers.tolist() == list(range(first, first + rows))
