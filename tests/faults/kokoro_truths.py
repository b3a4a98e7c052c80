"""Truths for what Kokoro's recorded cases don't show: durations between two frame counts, and many frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from parity.declarations import Case, Dim, Golden, Seam, real
from parity.judge.workbench import Workbench


@dataclass(frozen=True)
class Tied:
    """The goldens of a voice whose durations lie exactly between two frame counts, rounded as upstream rounds them."""

    bench: Workbench

    def load(self, case: Case) -> Golden:
        golden = self.bench.goldens.load(case)
        ties = self.durations(golden["alignment"].inputs["pred_dur"])
        seams = []
        for seam in (golden[stage.name] for stage in self.bench.system.stages):
            if seam.stage == "post_albert":
                seam = Seam(seam.stage, seam.inputs, {**seam.outputs, "duration": ties})
            if seam.stage == "alignment":
                seam = Seam(seam.stage, {**seam.inputs, "pred_dur": np.rint(ties).astype(np.int32)}, seam.outputs)
            seams.append(seam)
        return Golden("kokoro", case.name, tuple(seams))

    def durations(self, recorded: np.ndarray) -> np.ndarray:
        """Return durations of as many frames as were recorded, all but the last between two."""
        ties = np.arange(recorded.size, dtype=np.float32) % 3 + 1.5
        ties[-1] = recorded.sum() - np.rint(ties[:-1]).sum()
        return ties[None]

    def identity(self, case: Case) -> str:
        return "tied"


def tied(bench: Workbench) -> Workbench:
    return replace(bench, goldens=Tied(bench))


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


def long(frames: int) -> Callable[[Workbench], Workbench]:
    """Judge the alignment by upstream's for so many frames, more than the stage is declared for."""

    def judged(bench: Workbench) -> Workbench:
        stages = tuple(
            replace(stage, outputs=WIDE) if stage.name == "alignment" else stage for stage in bench.system.stages
        )
        return replace(bench, system=replace(bench.system, stages=stages), goldens=LongGolden(frames))

    return judged
