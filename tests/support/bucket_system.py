"""A system of two stages in buckets: one with an artifact for each, one whose artifact takes them all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity.base.cache import Cache
from parity.blame.explain import explained
from parity.build.artifacts import Artifacts, Built
from parity.declarations import Case, Dim, Golden, Hub, Reference, Run, Seam, Stage, System, Variant, f32
from parity.judge.gates import Gate, Gates
from parity.judge.workbench import Workbench
from parity.plan.weights import choose
from parity.run.choice import runtime
from parity.verdict import Bound, Check, Verdict

WIDTH = 64
COLUMNS = Dim("columns", 1, 8, buckets=(4, 8))


class Upstream(nn.Module):
    """Each column, and beside it the mean of all."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.conv(x))
        return torch.stack([y, y.mean(2, keepdim=True).expand_as(y)], 3).flatten(2)


class Masked(nn.Module):
    """Counts only columns that are not all zeros."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.conv = upstream.conv

    def forward(self, x: Tensor) -> Tensor:
        mask = self.mask(x)
        y = torch.tanh(self.conv(x))
        mean = (y * mask).mean(2, keepdim=True) / mask.mean(2, keepdim=True)
        return torch.cat([y[:, :, :, None], (mean + y * 0)[:, :, :, None]], 3).flatten(2)

    def mask(self, x: Tensor) -> Tensor:
        return (x.abs().amax(1, keepdim=True) > 0).to(x.dtype)


class Leaking(Masked):
    """Takes padding for columns."""

    def mask(self, x: Tensor) -> Tensor:
        return torch.ones_like(x[:, :1])


class Halved(Masked):
    """Gives one column where two are declared."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :, ::2]


def seed(checkpoint: Path) -> None:
    torch.manual_seed(0)
    torch.save(Upstream().state_dict(), checkpoint)


def load(checkpoint: Path) -> Upstream:
    model = Upstream()
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    return model.eval()


@torch.no_grad()
def record(model: Upstream, case: Case) -> Iterator[Seam]:
    given = {"x": case.inputs["x"]}
    made = {"y": model(torch.from_numpy(given["x"])).numpy()}
    yield Seam("apart", given, made)
    yield Seam("together", given, made)


def inputs(columns: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(columns).standard_normal((1, WIDTH, columns)).astype(np.float32)}


def chain(run: Run, case: Case) -> None:
    run("apart", case.inputs)
    run("together", case.inputs)


FP32 = Variant("fp32", "float32", ships=True)
APART = Stage("apart", Masked, {"x": f32(1, WIDTH, COLUMNS)}, {"y": f32(1, WIDTH, 2 * COLUMNS)}, (FP32,))
TOGETHER = replace(APART, name="together", enumerated=True, trace_at={"columns": 4})
REFERENCE = Reference(
    "buckets",
    sample_rate=8000,
    cases=tuple(Case(f"of_{columns}", inputs(columns), short=True) for columns in (3, 4, 5, 8, 9)),
    packages=("torch",),
    checkpoint=Hub("example/buckets", "m.pth", "0" * 40, "0" * 64),
    seed=seed,
    build=load,
    record=record,
)


def system(module: type[nn.Module] = Masked) -> System:
    return System(REFERENCE, (replace(APART, module=module), replace(TOGETHER, module=module)), chain)


@dataclass(frozen=True)
class Recorded:
    """Goldens that are recorded when they are wanted."""

    model: Upstream

    def load(self, case: Case) -> Golden:
        return Golden("buckets", case.name, tuple(record(self.model, case)))

    def identity(self, case: Case) -> str:
        return case.name


def built(cache: Cache, module: type[nn.Module] = Masked) -> Built:
    return Built(system(module), choose(REFERENCE, "seeded", cache), cache)


def judged(cache: Cache, stage: str, columns: int, artifacts: Artifacts) -> Verdict:
    """Return what the gates say of a stage on a case of so many columns."""
    chained = stage == "chain"
    of = "ships" if chained else "fp32"
    names = [f"{known}.y" for known in ("apart", "together")] if chained else ["y"]
    gates = tuple(
        Gate(stage=stage, variant=of, output=name, metric=metric, bound=bound, derived_from="by hand")
        for name in names
        for metric, bound in (("relative_l2", Bound("max", 1e-5, 0.0)), ("cosine", Bound("min", 0.9999, 1.0)))
    )
    weights = artifacts.weights
    goldens = Recorded(load(weights.checkpoint()))
    bench = Workbench(artifacts.system, weights, goldens, artifacts, runtime("milrun"), Gates(gates), cache)
    check = Check(
        system="buckets",
        stage=stage,
        variant=of,
        case=f"of_{columns}",
        mode="chained" if chained else "forced",
        runtime="milrun",
        numerics="declared",
    )
    return explained(bench, check)
