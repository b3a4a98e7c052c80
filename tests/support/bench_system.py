"""A system of two stages on a bench whose clock only runs where the test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from parity.base.paths import Project
from parity.bench.measurements import Mode
from parity.bench.session import Bench
from parity.build.artifacts import Artifact
from parity.declarations import Arrays, Case, Dim, Hub, Reference, Run, Seam, Stage, System, Variant, f32, real
from parity.judge import gates
from parity.judge.workbench import Workbench
from parity.plan import systems as discovery
from parity.plan.weights import Weights
from parity.record.suite import Options, Suite
from parity.verdict import Check

RATE = 1_000
FRAMES = Dim("frames", 1, 100)
GATES = """
[chain.ships."encoder.hidden"]
relative_l2 = { max = 0.01, derived_from = "m" }
[chain.ships."decoder.audio"]
relative_l2 = { max = 0.01, derived_from = "m" }
"""
BUDGETS = """
[profile.any]
about = "Any machine"
system = "Linux"
runtime = "milrun"
source = "made up"
chain_ratio = { min = 0.6, max = 1.5, measured = 1.2, derived_from = "m", reason = "made up" }
stage_ratio.encoder = { min = 0.6, max = 1.5, measured = 1.0, derived_from = "m", reason = "made up" }
stage_ratio.decoder = { min = 0.6, max = 1.8, measured = 1.25, derived_from = "m", reason = "made up" }
load_s.encoder = { max = 1.0, measured = 0.5, derived_from = "m", reason = "made up" }
load_s.decoder = { max = 1.0, measured = 0.5, derived_from = "m", reason = "made up" }
[bundle]
size_mb = { min = 1.0, max = 4.0, measured = 3.0, derived_from = "m", reason = "made up" }
[artifact.encoder.fp32]
size_mb = { min = 1.0, max = 4.0, measured = 1.5, derived_from = "m", reason = "made up" }
[artifact.decoder.fp32]
size_mb = { min = 1.0, max = 4.0, measured = 1.5, derived_from = "m", reason = "made up" }
"""


class Clock:
    """Stands still until someone spends time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def waited(self) -> float:
        return 0.0

    def spend(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class World:
    """What a test may bend: seconds of the artifacts, of PyTorch and of the host, and what an artifact computes."""

    folder: Path
    artifact: dict[str, float] = field(default_factory=lambda: {"encoder": 0.02, "decoder": 0.10})
    eager: dict[str, float] = field(default_factory=lambda: {"encoder": 0.02, "decoder": 0.08})
    host: float = 0.01
    load: float = 0.5
    bytes: int = 1_500_000
    bend: Callable[[str, int, np.ndarray], np.ndarray] = lambda stage, run, value: value
    runtime: str = "milrun"
    names: tuple[str, ...] = ("tiny",)
    forgetful: bool = False
    clock: Clock = field(default_factory=Clock)
    log: list[str] = field(default_factory=list)
    open: int = 0

    @property
    def system(self) -> System:
        return self.systems["tiny"]

    @property
    def systems(self) -> dict[str, System]:
        """By default one; several have the same artifacts, and so are the same."""
        stages = tuple(self._stage(name) for name in ("encoder", "decoder"))
        return {name: System(REFERENCE, stages, self._speak, title=name) for name in self.names}

    def settle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The only system there is. Its clock stands still, so that nothing could disturb it."""
        monkeypatch.setattr("parity.plan.systems.systems", lambda: self.systems)
        monkeypatch.setattr("parity.bench.timer.undisturbed", nullcontext)
        # The glue of these systems hangs on a clock, which has no fingerprint.
        monkeypatch.setattr("parity.bench.timer.code", lambda *things: {})

    def suite(self, **options: Any) -> Suite:
        return cast(Suite, FakeSuite(self, Options(**options)))

    def bench(self, mode: Mode = "full") -> Bench:
        return Bench(self.suite(), mode, self.clock)

    def workbench(self, system: str = "tiny") -> Workbench:
        made = Workbench(
            self.systems[system],
            cast(Any, FakeWeights()),
            FakeGoldens(),
            cast(Any, FakeArtifacts(self)),
            cast(Any, FakeRuntime(self)),
            gates.parse(GATES, "gates.toml"),
            cast(Any, None),
        )
        return made

    def write(self, budgets: str = BUDGETS) -> None:
        for name in self.names:
            path = self.folder / "golden" / name / "budgets.toml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(budgets)

    def _speak(self, run: Run, case: Case) -> None:
        self.clock.spend(self.host)
        hidden = run("encoder", {"x": case.inputs["x"]})["hidden"]
        if not self.forgetful:
            run("decoder", {"hidden": hidden})

    def _stage(self, name: str) -> Stage:
        given = {"x": real(1, FRAMES)} if name == "encoder" else {"hidden": real(1, FRAMES)}
        made = {"hidden": real(1, FRAMES)} if name == "encoder" else {"audio": f32(10 * FRAMES, kind="audio")}
        variants = (Variant("fp32", "float32", ships=True),)
        return Stage(name, lambda upstream: Module(self, name), given, made, variants)


def encode(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.tanh(x))


def decode(hidden: np.ndarray) -> np.ndarray:
    return np.asarray(np.sin(np.repeat(hidden[0], 10) * np.arange(1, 1 + 10 * hidden.shape[1], dtype=np.float32)))


COMPUTE = {"encoder": encode, "decoder": decode}
NAMES = {"encoder": "hidden", "decoder": "audio"}


class Module(nn.Module):
    def __init__(self, world: World, name: str) -> None:
        super().__init__()
        self.world, self.name = world, name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.world.log.append(f"eager {self.name}")
        self.world.clock.spend(self.world.eager[self.name])
        return x


class FakeSession:
    def __init__(self, world: World, name: str) -> None:
        self.world, self.name, self.runs = world, name, 0
        self.load_seconds, self.run_seconds = world.load, float("nan")
        world.open += 1

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        self.world.log.append(f"artifact {self.name}")
        self.run_seconds = self.world.artifact[self.name]
        self.world.clock.spend(self.run_seconds)
        value = self.world.bend(self.name, self.runs, COMPUTE[self.name](next(iter(inputs.values()))))
        self.runs += 1
        return {NAMES[self.name]: value}

    def close(self) -> None:
        self.world.open -= 1


@dataclass(frozen=True)
class FakeRuntime:
    world: World

    numerics = "declared"
    format = "mlpackage"

    @property
    def name(self) -> str:
        return self.world.runtime

    def load(self, package: Path, units: str, function: str | None) -> FakeSession:
        return FakeSession(self.world, package.stem)


@dataclass(frozen=True)
class FakeArtifacts:
    world: World

    def get(self, stage: Stage, variant: Variant) -> Artifact:
        package = self.world.folder / "packages" / stage.name
        package.mkdir(parents=True, exist_ok=True)
        (package / "weight.bin").write_bytes(bytes(self.world.bytes))
        return Artifact(stage, variant, package, stage.name)

    def key(self, stage: Stage, variant: Variant) -> str:
        return f"{stage.name} {variant.name}"


class FakeWeights:
    folder = ""

    def model(self, build: Callable[[Path], Any]) -> Any:
        return build(Path("none"))


class FakeGoldens:
    def load(self, case: Case) -> Mapping[str, Seam]:
        x = case.inputs["x"]
        hidden = encode(x)
        first = Seam("encoder", {"x": x}, {"hidden": hidden})
        return {"encoder": first, "decoder": Seam("decoder", {"hidden": hidden}, {"audio": decode(hidden)})}

    def identity(self, case: Case) -> str:
        return case.name


class FakeSuite:
    """As much of a suite as the bench asks for."""

    def __init__(self, world: World, options: Options) -> None:
        self.world, self.options, self.project = world, options, Project(world.folder)
        self.run_id = "20261120T185503-1a2b3c"
        self.folder = world.folder / ".parity/runs" / self.run_id
        self.runtimes = [FakeRuntime(world) for _ in options.numerics]

    def cases(self, system: System) -> list[Case]:
        return [case for case in system.reference.cases if case.short or self.options.cases == "all"]

    def systems(self) -> dict[str, System]:
        return discovery.systems()

    def workbench(self, check: Check) -> Workbench:
        return self.world.workbench(check.system)

    def weights(self, system: System) -> Weights:
        return self.world.workbench().weights

    def bounds(self, system: System, name: str) -> Path:
        return self.project.golden_folder / system.name / name

    def wanted(self, checks: Iterable[Check]) -> list[tuple[str, str, str]]:
        return []


def _case(name: str, frames: int, short: bool) -> Case:
    return Case(name, {"x": np.linspace(-1, 2, frames, dtype=np.float32)[None]}, short)


REFERENCE = Reference(
    name="tiny",
    sample_rate=RATE,
    cases=(_case("hello", 12, True), _case("flight", 40, False)),
    packages=("numpy",),
    checkpoint=Hub("nobody/tiny", "tiny.pth", "0" * 40, "0" * 64),
    seed=lambda path: None,
    build=lambda path: None,
    record=cast(Any, None),
)
