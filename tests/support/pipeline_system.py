"""A system of three stages, of which one is the pipeline of the other two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity.base.cache import Cache
from parity.build.artifacts import Built
from parity.declarations import Case, Dim, Hub, Reference, Run, Seam, Stage, System, Variant, real
from parity.plan.weights import choose

WIDTH = 64
FRAMES = Dim("frames", 4, 40)
FP16, FP32 = Variant("fp16", "float16", ships=True), Variant("fp32", "float32")
PAL4, PAL6 = Variant("fp16-pal4", "float16", palettize=4), Variant("fp16-pal6", "float16", palettize=6)


class Upstream(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pre, self.mid, self.head = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def crossings(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = torch.tanh(self.pre(x))
        kept = torch.tanh(self.mid(hidden)) * mask
        return hidden, kept, torch.sigmoid(self.head(hidden + kept))


class Pre(nn.Module):
    """Gives what the head takes, and a value for whoever runs it."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.pre, self.mid = upstream.pre, upstream.mid

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.pre(x))
        return hidden, torch.tanh(self.mid(hidden)) * mask


class Head(nn.Module):
    """Takes an input of the pipeline that `Pre` takes as well."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.head = upstream.head

    def forward(self, hidden: Tensor, kept: Tensor, mask: Tensor) -> Tensor:
        return torch.sigmoid(self.head(hidden + kept)) * mask


class Whole(nn.Module):
    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.pre, self.head = Pre(upstream), Head(upstream)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        hidden, kept = self.pre(x, mask)
        return self.head(hidden, kept, mask), kept


def seed(checkpoint: Path) -> None:
    torch.manual_seed(0)
    torch.save(Upstream().state_dict(), checkpoint)


def seed_otherwise(checkpoint: Path) -> None:
    torch.manual_seed(1)
    torch.save(Upstream().state_dict(), checkpoint)


def load(checkpoint: Path) -> Upstream:
    model = Upstream()
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    return model.eval()


@torch.no_grad()
def record(model: Upstream, case: Case) -> Iterator[Seam]:
    module, given = Whole(model), {name: torch.from_numpy(value) for name, value in case.inputs.items()}
    hidden, kept = module.pre(given["x"], given["mask"])
    y = module.head(hidden, kept, given["mask"]).numpy()
    mask = case.inputs["mask"]
    yield Seam("whole", dict(case.inputs), {"y": y, "kept": kept.numpy()})
    yield Seam("pre", dict(case.inputs), {"hidden": hidden.numpy(), "kept": kept.numpy()})
    yield Seam("head", {"hidden": hidden.numpy(), "kept": kept.numpy(), "mask": mask}, {"y": y})


def inputs(frames: int = 10) -> dict[str, np.ndarray]:
    x = np.random.default_rng(frames).standard_normal((1, frames, WIDTH)).astype(np.float32)
    return {"x": x, "mask": np.linspace(0.5, 1, frames, dtype=np.float32)[None, :, None]}


def chain(run: Run, case: Case) -> None:
    run("whole", case.inputs)


REFERENCE = Reference(
    "joined",
    sample_rate=8000,
    cases=(Case("one", inputs(), short=True),),
    packages=("torch",),
    checkpoint=Hub("example/joined", "m.pth", "0" * 40, "0" * 64),
    seed=seed,
    build=load,
    record=record,
)
WIDE, MASK = real(1, FRAMES, WIDTH), real(1, FRAMES, 1)
AT = {"frames": 16}
PRE = Stage("pre", Pre, {"x": WIDE, "mask": MASK}, {"hidden": WIDE, "kept": WIDE}, (FP16,), AT)
HEAD = Stage("head", Head, {"hidden": WIDE, "kept": WIDE, "mask": MASK}, {"y": WIDE}, (FP16, PAL4, PAL6), AT)
WHOLE = Stage(
    "whole",
    Whole,
    {"x": WIDE, "mask": MASK},
    {"y": WIDE, "kept": WIDE},
    (FP16, PAL6, PAL4),
    AT,
    parts=("pre", "head"),
)


def system(whole: Stage = WHOLE, pre: Stage = PRE, head: Stage = HEAD, seed: Any = seed) -> System:
    return System(replace(REFERENCE, seed=seed), (whole, pre, head), chain)


JOINED = system()


def built(cache: Cache, system: System = JOINED) -> Built:
    return Built(system, choose(system.reference, "seeded", cache), cache)
