"""What a system declares: its cases, its reference, its stages and the variants that ship. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch

Arrays = Mapping[str, np.ndarray]
Precision = Literal["float32", "float16"]
Kind = Literal[
    "features",
    "durations",
    "pitch",
    "audio",
    "stream",
    "cache",
    "counter",
    "margin",
    "speakers",
    "diarization",
    "kept",
]
HOST = "host"
AUDIBLE: tuple[Kind, ...] = ("audio", "stream")
ComputeUnits = Literal["ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"]


@dataclass(frozen=True)
class Dim:
    """A dynamic size, `scale * name + offset`, where `name` runs from `low` to `high`."""

    name: str
    low: int
    high: int
    scale: int = 1
    offset: int = 0

    def __rmul__(self, factor: int) -> Dim:
        return Dim(self.name, self.low, self.high, self.scale * factor, self.offset * factor)

    def __add__(self, offset: int) -> Dim:
        return Dim(self.name, self.low, self.high, self.scale, self.offset + offset)

    def at(self, value: int) -> int:
        return self.scale * value + self.offset

    def __str__(self) -> str:
        scaled = self.name if self.scale == 1 else f"{self.scale}·{self.name}"
        return f"{scaled}+{self.offset}" if self.offset else scaled


@dataclass(frozen=True)
class Tensor:
    """One input or output. `dtype` "real" means the precision that the variant computes in; `kind` says what the
    numbers mean, and so which metrics compare them. A cache that a step writes only a few slots of says along which
    axis these lie. `rate` says how many rows make a second, where that is not the system's sample rate."""

    dtype: Literal["real", "float16", "float32", "int32"]
    shape: tuple[int | Dim, ...]
    kind: Kind = "features"
    slots: int | None = None
    rate: float | None = None

    def dtype_in(self, variant: Variant) -> str:
        return variant.precision if self.dtype == "real" else self.dtype

    def sizes(self, bindings: Mapping[str, int]) -> tuple[int, ...]:
        """The shape where each dimension has the size that `bindings` gives its name."""
        return tuple(size.at(bindings[size.name]) if isinstance(size, Dim) else size for size in self.shape)

    def bind(self, shape: tuple[int, ...], bindings: dict[str, int]) -> str | None:
        """Reads dimension sizes off an actual shape into `bindings`; says what does not fit, or None."""
        if len(shape) != len(self.shape):
            return f"rank {len(shape)} where {len(self.shape)} is declared"
        for axis, (declared, actual) in enumerate(zip(self.shape, shape, strict=True)):
            if not isinstance(declared, Dim):
                if declared != actual:
                    return f"axis {axis} is {actual} where {declared} is declared"
                continue
            value, rest = divmod(actual - declared.offset, declared.scale)
            known = bindings.setdefault(declared.name, value)
            if rest or known != value:
                return f"axis {axis} is {actual} where {declared} is {declared.at(known)}"
            if not declared.low <= value <= declared.high:
                return f"axis {axis}: {declared.name} is {value}, outside {declared.low} to {declared.high}"
        return None


def real(*shape: int | Dim, kind: Kind = "features", slots: int | None = None) -> Tensor:
    return Tensor("real", shape, kind, slots)


def f32(*shape: int | Dim, kind: Kind = "features") -> Tensor:
    return Tensor("float32", shape, kind)


def i32(*shape: int | Dim, kind: Kind = "features") -> Tensor:
    return Tensor("int32", shape, kind)


@dataclass(frozen=True)
class Variant:
    """One way to ship a stage. Exactly one variant of a stage ships.

    `quantize` keeps weights as int8, but for those of the submodules that `spared` names. One that `holds` keeps what
    the stage carries, as far as it is floating point, in Core ML states instead of handing it in and out. One that
    can't run where its stage runs names its own `compute_units`.
    """

    name: str
    precision: Precision
    palettize: int | None = None
    ships: bool = False
    quantize: bool = False
    spared: tuple[str, ...] = ()
    holds: bool = False
    compute_units: ComputeUnits | None = None


@dataclass(frozen=True)
class Stage:
    """One deployable graph.

    `module` makes the traceable module from the upstream model; its forward takes the inputs in their order and
    returns the outputs in theirs. `trace_at` gives the sizes of the dynamic dimensions while tracing.

    A stage that runs step by step says so: its golden holds every step (see `parity.steps`). `carries` names each
    output that is an input of the next step, such as a cache or a position: output → input. `derive` makes, of the
    outputs of one step, the `derived` values that decisions hang on, such as how far a logit is from its threshold.

    A stage with `parts` is a Core ML pipeline of the artifacts of these stages, one after another; its `module` is only
    compared with upstream.

    A stage that is `aside` is another way to what stages on the path give: the chain runs it for comparison, and its
    time is not the chain's.
    """

    name: str
    module: Callable[[Any], torch.nn.Module]
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    variants: tuple[Variant, ...]
    trace_at: Mapping[str, int] = field(default_factory=dict)
    compute_units: ComputeUnits = "ALL"
    target: str = "iOS17"
    parts: tuple[str, ...] = ()
    aside: bool = False
    stepped: bool = False
    carries: Mapping[str, str] = field(default_factory=dict)
    derived: Mapping[str, Tensor] = field(default_factory=dict)
    derive: Callable[[Arrays], Arrays] = lambda outputs: {}

    def variant(self, name: str) -> Variant:
        for variant in self.variants:
            if variant.name == name:
                return variant
        known = ", ".join(variant.name for variant in self.variants)
        raise ValueError(f"stage {self.name} has no variant {name!r}; it has {known}")

    def held(self, variant: Variant) -> dict[str, str]:
        """What a variant keeps in Core ML states, output → input; these hold no integers."""
        carried = {name: source for name, source in self.carries.items() if self.inputs[source].dtype != "int32"}
        return carried if variant.holds else {}

    def family(self, output: str) -> str:
        """Under which name an output is gated: what is carried for layer after layer has one set of gates."""
        return f"{output.removesuffix('_out').rstrip('0123456789')}*" if output in self.carries else output

    def units(self, variant: Variant) -> ComputeUnits:
        """Where a variant is to run."""
        return variant.compute_units or self.compute_units

    @property
    def decided(self) -> dict[str, Tensor]:
        """The values that the host decides at this stage: its inputs of the kind `durations`, and what is `derived`."""
        inputs = {name: tensor for name, tensor in self.inputs.items() if tensor.kind == "durations"}
        return {**inputs, **self.derived}

    @property
    def shipping(self) -> Variant:
        return next(variant for variant in self.variants if variant.ships)


@dataclass(frozen=True)
class Case:
    """One named input to a whole system. Its inputs are all that a run of it depends on, noise included."""

    name: str
    inputs: Arrays
    short: bool = False
    about: str = ""


@dataclass(frozen=True)
class Hub:
    """A published checkpoint, pinned: nothing else is ever taken for it."""

    repository: str
    filename: str
    revision: str
    sha256: str


@dataclass(frozen=True)
class Seam:
    """What crossed one stage of the upstream model: a golden is a list of these."""

    stage: str
    inputs: Arrays
    outputs: Arrays


@dataclass(frozen=True)
class Reference:
    """The authors' own model, unpatched, in fp32.

    `seed` writes the seeded checkpoint in the upstream's own format; `build` has the upstream load a checkpoint;
    `record` runs a case and yields each seam in the order of the data. `packages` are the distributions whose versions
    decide what is computed. Where the published weights belong with other published files, such as voices, `published`
    names those, and `dress` gives the case that they make of a seeded one. A `heavy` reference has no short case: it is
    left to `--cases all`, and every other run says so. One whose packages are an `extra` of the lock is recorded only
    where that is installed: git keeps its goldens whole, and `build` has to do without them. `layers` gives, of what
    `build` gave, the torch module whose calls a recording makes.
    """

    name: str
    sample_rate: int
    cases: tuple[Case, ...]
    packages: tuple[str, ...]
    checkpoint: Hub
    seed: Callable[[Path], None]
    build: Callable[[Path], Any]
    record: Callable[[Any, Case], Iterator[Seam]]
    published: Mapping[str, Hub] = field(default_factory=dict)
    dress: Callable[[Case, Mapping[str, Path]], Case] = lambda case, files: case
    heavy: bool = False
    extra: str = ""
    layers: Callable[[Any], torch.nn.Module] = lambda built: built

    def case(self, name: str) -> Case:
        for case in self.cases:
            if case.name == name:
                return case
        raise ValueError(f"{self.name} has no case {name!r}; it has {', '.join(case.name for case in self.cases)}")


class Run(Protocol):
    """What the host glue is given: the stages, the system's tables, and a place to state its decisions."""

    tables: Arrays

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        """The stage's outputs."""
        ...

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        """States a decision, such as durations on their way into a stage, a value that is derived of a step just made,
        or, with HOST for a stage, one of the system's `decisions`; gives the value to go on with.

        The decision is judged as it was made. What follows goes on with upstream's, so that it stays comparable frame
        by frame, and one decision is not judged again at every stage behind it.
        """
        ...


@dataclass(frozen=True)
class System:
    """One ported speech system: its truth, its stages, and the host glue that runs them one after another.

    `chain` feeds each stage what the stages before it gave, as the app does. `tables` takes from the upstream model
    what the app has beside the artifacts, for a case: embedding tables, an encoded voice.

    Several systems may share one reference, which then yields the seams of each as "scope.stage"; what has no scope
    belongs to all. Such a system has a `title` of its own. `decisions` are what the host glue decides, or gives to the
    user, beside the stages: outputs of the seam HOST, call after call along a new first axis. `sums` names the inputs
    in which the host adds up values: they equal upstream's to rounding, and all others to the bit. Where checkpoints
    come in several sizes, `sized` gives the same system in those of one; as it is declared it has the seeded one's.
    """

    reference: Reference
    stages: tuple[Stage, ...]
    chain: Callable[[Run, Case], None]
    tables: Callable[[Any, Case], Arrays] = lambda upstream, case: {}
    title: str = ""
    scope: str = ""
    decisions: Mapping[str, Tensor] = field(default_factory=dict)
    sums: tuple[str, ...] = ()
    sized: Callable[[Path], System] | None = None

    @property
    def name(self) -> str:
        return self.title or self.reference.name

    def stage(self, name: str) -> Stage:
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise ValueError(f"{self.name} has no stage {name!r}; it has {', '.join(stage.name for stage in self.stages)}")

    def family(self, stage: str, output: str) -> str:
        """Under which name an output is gated, as `Stage.family` has it; in a chain, outputs are `stage.output`."""
        known = {other.name: other for other in self.stages}
        if stage in known:
            return known[stage].family(output)
        owner, _, name = output.partition(".")
        return f"{owner}.{known[owner].family(name)}" if owner in known else output
