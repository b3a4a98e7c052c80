"""References and systems: the truth of each case, and the port that is compared with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from parity.declarations.stages import Arrays, Stage, Tensor, refuse_reserved

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Case:
    """One named input to a whole system.

    Attributes:
        name: Name of the case, unique in its reference; not "all" or "short".
        inputs: Everything that a run depends on, noise included.
        short: True for a case that runs by default; the others run with `--cases all`.
        about: The text that is spoken, word for word; the word error rate is taken against it (see `docs/speech.md`).
            For a system that does not speak, a few words on the case.

    Example:
        `Case("hello", {"ids": ids, "noise": noise}, short=True, about="Hello, world.")`
    """

    name: str
    inputs: Arrays
    short: bool = False
    about: str = ""

    def __post_init__(self) -> None:
        """Refuse a reserved name."""
        refuse_reserved("case", self.name)


@dataclass(frozen=True)
class Hub:
    """Published checkpoint, pinned. A file with another hash is refused.

    Attributes:
        repository: Repository on the model hub.
        filename: File in it.
        revision: Commit of the repository.
        sha256: Hash of the file.

    Example:
        `Hub("example/hum", "hum.pth", revision="0" * 40, sha256="0" * 64)`
    """

    repository: str
    filename: str
    revision: str
    sha256: str


@dataclass(frozen=True)
class Trained:
    """Trained weights that pinned packages carry. They are the default truth where the packages are installed.

    Attributes:
        packages: Version of each distribution, as the lock pins it.
        write: Writes the checkpoint to a path, in upstream's own format.
        dress: Replaces inputs of a case by those from the packages, such as a voice.
        extra: Extra of the lock that installs the packages, if the base lock does not.

    Example:
        `Trained({"hum-weights": "1.0.2"}, write, extra="trained")`
    """

    packages: Mapping[str, str]
    write: Callable[[Path], None]
    dress: Callable[[Case], Case] = lambda case: case
    extra: str = ""


@dataclass(frozen=True)
class Seam:
    """Inputs and outputs that crossed one stage boundary of the reference. A golden is a list of seams.

    Attributes:
        stage: Name of the stage.
        inputs: Tensors that went into it.
        outputs: Tensors that came out.

    Example:
        `Seam("encoder", {"mel": mel}, {"hidden": hidden})`
    """

    stage: str
    inputs: Arrays
    outputs: Arrays


@dataclass(frozen=True)
class Golden:
    """The truth for one case: every seam, in the order of the data. Its arrays are read-only.

    Attributes:
        reference: Name of the reference.
        case: Name of the case.
        seams: What crossed each stage boundary.
        scope: Prefix of the stages of one system, where several share the reference.

    Example:
        `golden["encoder"].outputs["hidden"]`
    """

    reference: str
    case: str
    seams: tuple[Seam, ...]
    scope: str = ""

    def __getitem__(self, stage: str) -> Seam:
        """Return the seam of a stage: that of the scope, `scope.stage`, or else the one that all scopes share."""
        seams = self.steps(stage)
        if len(seams) > 1:
            raise KeyError(f"stage {stage} was crossed {len(seams)} times: golden.steps({stage!r}) has them all")
        return seams[0]

    def steps(self, stage: str) -> tuple[Seam, ...]:
        """Return all crossings of a stage that runs more than once."""
        for name in (f"{self.scope}.{stage}", stage) if self.scope else (stage,):
            if seams := tuple(seam for seam in self.seams if seam.stage == name):
                return seams
        known = ", ".join(dict.fromkeys(seam.stage for seam in self.seams))
        raise KeyError(f"the golden of {self.reference}, case {self.case} has no stage {stage!r}; it has {known}")


@dataclass(frozen=True)
class Reference:
    """The authors' own model, unpatched, in fp32.

    Attributes:
        name: Name of the reference, and of its folder of goldens.
        sample_rate: Samples per second of its audio.
        cases: Inputs for which goldens are recorded.
        packages: Distributions whose versions decide what is computed.
        checkpoint: The published checkpoint, if the hub has one.
        seed: Writes the seeded checkpoint to a path, in upstream's own format. None if there are only trained weights.
        build: Makes the upstream model from a checkpoint.
        record: Runs a case, and yields each seam in the order of the data.
        published: Other published files that belong to the published checkpoint, such as voices.
        dress: Replaces inputs of a seeded case by those from the `published` files.
        heavy: True for a reference without a short case; only `--cases all` runs it.
        extra: Extra of the lock that installs `packages`, if the base lock does not. Git then keeps the goldens whole,
            and `build` must work without the extra, unless `borrowed`.
        borrowed: True if `build` needs the extra too, because the modules that are converted come from its packages.
            A machine without them leaves the systems out, with the reason, and git keeps no more of the goldens than
            of any other reference.
        layers: Returns the torch module whose calls a recording makes, from what `build` returned.
        trained: Trained weights from packages, if there are any.

    Example:
        `Reference("hum", 8_000, CASES, ("torch",), HUB, seed=seed, build=build, record=record)`
    """

    name: str
    sample_rate: int
    cases: tuple[Case, ...]
    packages: tuple[str, ...]
    checkpoint: Hub | None
    seed: Callable[[Path], None] | None
    build: Callable[[Path], Any]
    record: Callable[[Any, Case], Iterator[Seam]]
    published: Mapping[str, Hub] = field(default_factory=dict)
    dress: Callable[[Case, Mapping[str, Path]], Case] = lambda case, files: case
    heavy: bool = False
    extra: str = ""
    borrowed: bool = False
    layers: Callable[[Any], torch.nn.Module] = lambda built: built
    trained: Trained | None = None

    def case(self, name: str) -> Case:
        """Return the case of a name, or raise a ValueError that lists the known ones."""
        for case in self.cases:
            if case.name == name:
                return case
        raise ValueError(f"{self.name} has no case {name!r}; it has {', '.join(case.name for case in self.cases)}")


class Run(Protocol):
    """Argument of the host code: runs stages and takes its decisions.

    Attributes:
        tables: The system's tables, by name.

    Example:
        `hidden = run("encoder", {"mel": case.inputs["mel"]})["hidden"]`
    """

    tables: Arrays

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        """Run a stage and return its outputs."""
        ...

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        """State a decision, and return the value to continue with.

        The decision is judged as it was made. The returned value is upstream's, so that what follows stays comparable
        frame by frame and the same decision is not judged again at every later stage.

        Args:
            stage: The stage that takes the value or of whose last step it is derived; HOST for a decision of the
                system.
            name: Name of the input, the `derived` value, or the decision.
            value: The decision.
        """
        ...


@dataclass(frozen=True)
class System:
    """One ported speech system: its reference, its stages, and the host code that runs them.

    Several systems may share a reference. It then yields the seams of each as "scope.stage"; a seam without a scope
    belongs to all of them.

    Attributes:
        reference: The truth.
        stages: The deployable graphs.
        chain: Host code: runs the stages for a case, as the app does.
        tables: Takes from the built reference what the app has beside the artifacts, such as embedding tables.
        title: Name of a system that shares its reference with others.
        scope: Prefix of its seams in a shared reference.
        decisions: Values that the host code decides, or gives to the user, beside the stages. They are outputs of the
            seam HOST, stacked call after call along a new first axis.
        sums: Inputs for which the host code adds up values. They equal upstream's up to rounding, all others bit for
            bit.
        sized: Returns the system in the size of a checkpoint, if checkpoints come in several sizes.
        contract: Numbers that the host code uses and that a `.pte` tells by a method of the same name, such as the ids
            of special tokens. A program that tells another number, or none, fails.
        inner: Parts of stages whose outputs are far from upstream's. The reference taps a seam for each inside its
            stage, so that they are judged on upstream's values; the chain does not run them, and nothing ships them.

    Example:
        `SYSTEM = System(REFERENCE, STAGES, chain)`
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
    contract: Mapping[str, float] = field(default_factory=dict)
    inner: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        """Check that one variant of each stage ships, and that each inner stage lies within a stage of the system."""
        names = {stage.name for stage in self.stages}
        for stage in self.stages:
            if sum(variant.ships for variant in stage.variants) != 1:
                known = ", ".join(variant.name for variant in stage.variants) or "none"
                raise ValueError(
                    f"{self.name}: of the variants of the stage {stage.name}, {known}, one ships: mark it by ships=True"
                )
        for stage in self.inner:
            if stage.within not in names or stage.name in names:
                raise ValueError(
                    f"{self.name}: the inner stage {stage.name} lies within {stage.within or 'no stage'}; it needs a "
                    f"name of its own, and `within` one of {', '.join(sorted(names))}"
                )

    @property
    def name(self) -> str:
        """The title, or the name of the reference."""
        return self.title or self.reference.name

    def stage(self, name: str) -> Stage:
        """Return the stage of a name, or raise a ValueError that lists the known ones."""
        for stage in self.every:
            if stage.name == name:
                return stage
        raise ValueError(f"{self.name} has no stage {name!r}; it has {', '.join(stage.name for stage in self.every)}")

    @property
    def every(self) -> tuple[Stage, ...]:
        """The deployable graphs and the inner stages, which both have seams, modules and artifacts."""
        return (*self.stages, *self.inner)

    def family(self, stage: str, output: str) -> str:
        """Return the gate name for an output, as `Stage.family` does. Outputs of a chain are named `stage.output`."""
        known = {other.name: other for other in self.every}
        if stage in known:
            return known[stage].family(output)
        owner, _, name = output.partition(".")
        return f"{owner}.{known[owner].family(name)}" if owner in known else output
