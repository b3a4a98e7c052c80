"""Alignment past 2048 frames: half precision can't count that far, int32 can."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from parity.base.cache import Cache
from parity.blame.explain import explained
from parity.declarations import Case, Dim, Seam, real
from parity.record.suite import Suite
from parity.verdict import Check
from tests.faults import mutants
from tests.faults.planting import Planted
from tests.faults.table import Fault, module

LONG = Dim("frames", 1, 4096)
WIDE = {"en": real(1, 640, LONG), "asr": real(1, 512, LONG)}


@dataclass(frozen=True)
class LongGolden:
    """What upstream's alignment gives for a last token that ends at `frames`."""

    frames: int

    def load(self, case: Case) -> dict[str, Seam]:
        generator = torch.Generator().manual_seed(1)
        d, t_en = torch.randn(1, 16, 640, generator=generator), torch.randn(1, 512, 16, generator=generator)
        durations = torch.full((16,), self.frames // 16)
        durations[-1] += self.frames - int(durations.sum())
        # Upstream's own lines: token indices repeated, and a matrix with a one for each frame.
        indices = torch.repeat_interleave(torch.arange(16), durations)
        path = torch.zeros(1, 16, self.frames)
        path[0, indices, torch.arange(self.frames)] = 1
        inputs = {"pred_dur": durations[None].int().numpy(), "d": d.numpy(), "t_en": t_en.numpy()}
        return {"alignment": Seam("alignment", inputs, {"en": (d.mT @ path).numpy(), "asr": (t_en @ path).numpy()})}

    def identity(self, case: Case) -> str:
        return str(self.frames)


def passed(suite: Suite, mutant: Any, frames: int, folder: Path) -> tuple[bool, str]:
    check = Check(
        system="kokoro",
        stage="alignment",
        variant="fp16",
        case="hello",
        mode="forced",
        runtime="milrun",
        numerics="declared",
    )
    clean = suite.workbench(check)
    stages = tuple(
        replace(stage, outputs=WIDE) if stage.name == "alignment" else stage for stage in clean.system.stages
    )
    bench = replace(clean, system=replace(clean.system, stages=stages), goldens=LongGolden(frames))
    fault = Fault("long alignment", "alignment", "fp16", module(mutant), ())
    verdict = explained(replace(bench, artifacts=Planted(bench, fault, folder), cache=Cache(folder / "cache")), check)
    return verdict.passed, verdict.blame.stage if verdict.blame else ""


@pytest.mark.parametrize("frames", [2047, 2048, 2049, 2100, 3333])
def test_frames_counted_in_int32_are_right_at_any_length(suite: Suite, tmp_path: Path, frames: int) -> None:
    assert passed(suite, mutants.LongAlignment, frames, tmp_path) == (True, "")


def test_frames_counted_in_half_precision_go_wrong_past_2048(suite: Suite, tmp_path: Path) -> None:
    assert passed(suite, mutants.FloatAlignment, 2048, tmp_path / "short")[0]
    assert passed(suite, mutants.FloatAlignment, 2100, tmp_path / "long") == (False, "alignment")
