"""A small system with what cases easily miss: a mask of ones, a speed, a table of positions, glue that branches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity.base.cache import Cache
from parity.build.artifacts import Artifact, Built
from parity.declarations import Case, Dim, Golden, Hub, Reference, Run, Seam, Stage, System, Variant, i32, real
from parity.judge.gates import Gates
from parity.judge.workbench import Workbench
from parity.plan.weights import choose
from parity.run.choice import runtime

WIDTH, TOKENS = 8, Dim("tokens", 2, 12)
VARIANTS = (Variant("fp32", "float32"), Variant("fp16", "float16", ships=True))
WHY = "the app pads nothing"


class Upstream(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(16, WIDTH), nn.Embedding(TOKENS.high, WIDTH)

    def forward(self, ids: Tensor, speed: Tensor) -> tuple[Tensor, Tensor]:
        x = self.words(ids) + self.places.weight[: ids.shape[1]]
        y = (x @ x.transpose(1, 2)).softmax(-1) @ x
        return y, y.sum(-1) / speed


class Module(nn.Module):
    """The traceable module. The methods are what faults replace."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.words, self.places = upstream.words, upstream.places
        self.register_buffer("numbers", torch.arange(TOKENS.high))

    def forward(self, ids: Tensor, mask: Tensor, speed: Tensor) -> tuple[Tensor, Tensor]:
        x = self.words(ids) + self.placed(ids)
        y = (x @ x.transpose(1, 2) + self.hidden(mask)).softmax(-1) @ x
        return y, self.lasting(y, speed)

    def placed(self, ids: Tensor) -> Tensor:
        return self.places.weight[: ids.shape[1]]

    def hidden(self, mask: Tensor) -> Tensor:
        return ((1.0 - mask.float()) * -100)[:, None]

    def lasting(self, y: Tensor, speed: Tensor) -> Tensor:
        return y.sum(-1) / speed


def seed(checkpoint: Path) -> None:
    torch.manual_seed(0)
    torch.save(Upstream().state_dict(), checkpoint)


def build(checkpoint: Path) -> Upstream:
    model = Upstream()
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    return model.eval()


@torch.no_grad()
def record(model: Upstream, case: Case) -> Iterator[Seam]:
    ids, speed = case.inputs["ids"], case.inputs["speed"]
    y, lasts = model(torch.from_numpy(ids).long(), torch.from_numpy(speed))
    given = {"ids": ids, "mask": np.ones_like(ids), "speed": speed}
    yield Seam("speech", given, {"y": y.numpy(), "lasts": lasts.numpy()})


def case(name: str, tokens: int, speed: float, short: bool = True) -> Case:
    ids = np.random.default_rng(tokens).integers(1, 16, (1, tokens)).astype(np.int32)
    return Case(name, {"ids": ids, "speed": np.array([speed], np.float32)}, short=short)


REFERENCE = Reference(
    "exercised",
    sample_rate=8000,
    cases=(case("slow", 5, 0.8), case("fast", 7, 1.5)),
    packages=("torch",),
    checkpoint=Hub("example/exercised", "m.pth", "0" * 40, "0" * 64),
    seed=seed,
    build=build,
    record=record,
)


def chain(run: Run, case: Case) -> None:
    ids = case.inputs["ids"]
    speed = case.inputs["speed"] if ids.shape[1] > 6 else case.inputs["speed"].copy()
    run("speech", {"ids": ids, "mask": np.ones_like(ids), "speed": speed})


def system(
    module: Any = Module,
    glue: Callable[[Run, Case], None] = chain,
    cases: tuple[Case, ...] = REFERENCE.cases,
    fixed: bool = True,
) -> System:
    stage = Stage(
        "speech",
        module,
        {"ids": i32(1, TOKENS), "mask": i32(1, TOKENS), "speed": real(1)},
        {"y": real(1, TOKENS, WIDTH), "lasts": real(1, TOKENS)},
        VARIANTS,
        trace_at={"tokens": 4},
        fixed={"mask": WHY} if fixed else {},
    )
    reference = Reference(**{**vars(REFERENCE), "cases": cases})
    return System(reference, (stage,), glue)


@dataclass(frozen=True)
class Recorded:
    """Goldens that are recorded when they are wanted."""

    model: Upstream

    def load(self, case: Case) -> Golden:
        return Golden("exercised", case.name, tuple(record(self.model, case)))

    def identity(self, case: Case) -> str:
        return case.name


class Faulty(Built):
    """Builds the stages of its own system, whatever the harness takes them for."""

    def parts(self, stage: Stage, variant: Variant) -> dict[str, Any]:
        return super().parts(self.system.stage(stage.name), variant)

    def get(self, stage: Stage, variant: Variant) -> Artifact:
        return super().get(self.system.stage(stage.name), variant)


def bench(folder: Path, system: System, built: System | None = None) -> Workbench:
    """A workbench of a system, whose artifacts are those that were built of another one, if that is given."""
    cache = Cache(folder)
    weights = choose(REFERENCE, "seeded", cache)
    artifacts = Faulty(built or system, weights, cache)
    recorded = Recorded(build(weights.checkpoint()))
    return Workbench(system, weights, recorded, artifacts, runtime("milrun", "declared"), Gates(()), cache)
