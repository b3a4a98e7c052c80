"""A small system with state: each step writes a slot of a cache, moves a position on, and answers from all it knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity import steps
from parity.declarations import Arrays, Case, Hub, Reference, Run, Seam, Stage, System, Variant, f32, i32, real

SLOTS, WIDTH, STEPS = 12, 4, 9
CARRIES = {"cache0_out": "cache0", "trace_out": "trace", "position_out": "position"}


class Upstream(nn.Module):
    """Keeps a list, as the authors' model may."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def step(self, x: Tensor, kept: list[Tensor], trace: Tensor) -> tuple[Tensor, Tensor]:
        kept.append(self.key(x))
        trace = 0.5 * trace + x
        return self.out(torch.stack(kept).mean(0) + trace), trace


def seed(checkpoint: Path) -> None:
    torch.manual_seed(0)
    torch.save(Upstream().state_dict(), checkpoint)


def build(checkpoint: Path) -> Upstream:
    model = Upstream()
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    return model.eval()


@torch.no_grad()
def record(model: Upstream, case: Case) -> Iterator[Seam]:
    def crossings() -> Iterator[steps.Crossing]:
        kept: list[Tensor] = []
        trace = torch.zeros(1, WIDTH)
        cache, position = np.zeros((1, SLOTS, WIDTH), np.float32), np.zeros(1, np.int32)
        for x in case.inputs["x"]:
            before = {"x": x, "cache0": cache.copy(), "trace": trace.numpy(), "position": position}
            answer, trace = model.step(torch.from_numpy(x), kept, trace)
            cache[:, len(kept) - 1] = kept[-1].numpy()
            position = position + np.int32(1)
            after = {"cache0_out": cache.copy(), "trace_out": trace.numpy(), "position_out": position}
            yield steps.Crossing(before, {"answer": answer.numpy(), **after})

    yield steps.seam("step", crossings(), CARRIES, {"cache0_out": 1})


class Step(nn.Module):
    """The traceable module."""

    slots: Tensor

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.key, self.out = upstream.key, upstream.out
        self.register_buffer("slots", torch.arange(SLOTS, dtype=torch.int32)[None, :, None])

    def forward(self, x: Tensor, cache0: Tensor, trace: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        cache = self.write(cache0, self.key(x)[:, None], position)
        known = (self.slots <= position).to(cache.dtype)
        mean = (cache * known).sum(1) / (position + 1).to(cache.dtype)
        new = self.follow(trace, x)
        return self.out(mean + new), cache, new, position + 1

    def write(self, cache: Tensor, value: Tensor, position: Tensor) -> Tensor:
        return torch.where(self.slots == position, value, cache)

    def follow(self, trace: Tensor, x: Tensor) -> Tensor:
        return 0.5 * trace + x


def stage(module: Any = Step, variants: tuple[Variant, ...] = ()) -> Stage:
    cache = real(1, SLOTS, WIDTH, kind="cache", slots=1)
    carried = {"cache0": cache, "trace": real(1, WIDTH), "position": i32(1, kind="counter")}
    return Stage(
        "step",
        module,
        {"x": real(1, WIDTH), **carried},
        {"answer": real(1, WIDTH), **{f"{name}_out": tensor for name, tensor in carried.items()}},
        variants or (Variant("fp32", "float32", ships=True), Variant("fp16", "float16")),
        stepped=True,
        carries=CARRIES,
        derived={"margin": f32(1, WIDTH, kind="margin")},
        derive=lambda outputs: {"margin": outputs["answer"].astype(np.float32) - np.float32(0.1)},
    )


def chain(run: Run, case: Case) -> None:
    carried: Arrays = {
        "cache0": np.zeros((1, SLOTS, WIDTH), np.float32),
        "trace": np.zeros((1, WIDTH), np.float32),
        "position": np.zeros(1, np.int32),
    }
    for x in case.inputs["x"]:
        given = run("step", {"x": x * run.tables["scale"], **carried})
        run.decide("step", "margin", given["answer"].astype(np.float32) - np.float32(0.1))
        carried = {source: given[name] for name, source in CARRIES.items()}


def case(name: str, turn: int) -> Case:
    x = np.random.default_rng(turn).standard_normal((STEPS, 1, WIDTH)).astype(np.float32)
    return Case(name, {"x": x}, short=True)


REFERENCE = Reference(
    "stepping",
    sample_rate=8000,
    cases=(case("one", 1), case("two", 2)),
    packages=("torch",),
    checkpoint=Hub("example/stepping", "m.pth", "0" * 40, "0" * 64),
    seed=seed,
    build=build,
    record=record,
)


def system(module: Any = Step, glue: Any = chain, variants: tuple[Variant, ...] = ()) -> System:
    tables = lambda upstream, case: {"scale": np.ones(1, np.float32)}  # noqa: E731
    return System(REFERENCE, (stage(module, variants),), glue, tables)


@dataclass(frozen=True)
class Recorded:
    """Goldens that are recorded when they are wanted."""

    model: Upstream

    def load(self, case: Case) -> dict[str, Seam]:
        return {seam.stage: seam for seam in record(self.model, case)}

    def identity(self, case: Case) -> str:
        return case.name
