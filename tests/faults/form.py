"""The form of a planted bug: where it is planted, where it comes from, and what has to catch it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from parity.base import libraries
from parity.base.cache import Cache
from parity.base.libraries import threads
from parity.blame.explain import explained
from parity.judge.workbench import Workbench
from parity.record.suite import Suite
from parity.verdict import UNBLAMED, Check, Finding, Mode, Verdict

MADE_UP = "made up"


class Plant(Protocol):
    """Plants a bug: makes of a workbench the same with the bug. `where` says what the bug is in."""

    @property
    def where(self) -> str: ...

    def __call__(self, clean: Workbench, fault: Fault, folder: Path) -> Workbench: ...


def recorded(bench: Workbench) -> Workbench:
    """Judge by the truth as it was recorded."""
    return bench


@dataclass(frozen=True)
class Fault:
    """A bug, or what has none and is caught by nothing.

    Attributes:
        name: The bug in a few words.
        stage: The stage that blame has to name. In a chain the first that is given, or gives, another value.
        plant: What plants it.
        caught_by: Gates that must break, as `gate`, or as `output gate` where one output has to break it.
        system: The system that it is planted in.
        variant: The variant of the stage, or of the chain.
        case: The case that shows it.
        mode: The mode of the check.
        source: Where the bug comes from, in a short phrase.
        unseen_by: Gates that must hold: that is why others are there.
        alone: Whether no other gate than `caught_by` may break.
        truth: Changes what the check is judged by, where the recorded truth can't show the bug.
        step: The step that blame has to name.
        line: A part of the line of the source that blame has to name.
        at: The output, or the layer of upstream's, that blame has to name; of a bug of the host the first value that it
            makes wrong.
        says: Texts that blame has to contain.
        needs: A distribution without which blame can't tell all this.
    """

    name: str
    stage: str
    plant: Plant
    caught_by: tuple[str, ...]
    system: str
    variant: str
    case: str
    mode: Mode = "forced"
    source: str = MADE_UP
    unseen_by: tuple[str, ...] = ()
    alone: bool = False
    truth: Callable[[Workbench], Workbench] = recorded
    step: int | None = None
    line: str = ""
    at: str = ""
    says: tuple[str, ...] = ()
    needs: str = ""

    @property
    def kind(self) -> str:
        """The kind of check that the bug is judged by."""
        return self.mode

    @property
    def id(self) -> str:
        return f"{self.system}-{self.stage}-{self.kind}-{self.case}-{self.name}"

    @property
    def package(self) -> str:
        """The name of the folder of its package, which several modes share."""
        return f"{self.system}-{self.stage}-{self.name}"

    @property
    def check(self) -> Check:
        module = self.mode == "module"
        runtime = "executorch" if self.needs == "executorch" else "milrun"
        return Check(
            system=self.system,
            stage="chain" if self.mode == "chained" else self.stage,
            variant="module" if module else self.variant,
            case=self.case,
            mode=self.mode,
            runtime="torch" if module else runtime,
            numerics="fp32" if module else "declared",
        )

    @property
    def lacks(self) -> bool:
        return bool(self.needs) and not libraries.installed(self.needs)


@dataclass(frozen=True, kw_only=True)
class Heard(Fault):
    """A bug that is judged by ears: `caught_by` names all metrics of speech that must break, maybe none."""

    @property
    def kind(self) -> str:
        return "heard"


def judged(suite: Suite, fault: Fault, folder: Path) -> Verdict:
    """Return the verdict of the fault's check, measured afresh.

    Args:
        suite: The suite of the systems as they are.
        fault: The bug to plant.
        folder: Where planted packages and evidence lie.
    """
    clean = replace(fault.truth(suite.workbench(fault.check)), cache=Cache(folder / fault.kind / fault.case))
    bench = fault.plant(clean, fault, folder)
    vars(bench)["cut_from"] = clean.cut_from
    with threads(1):
        return explained(bench, fault.check)


def assert_caught(fault: Fault, verdict: Verdict) -> None:
    """Assert that the gates that the fault names broke, and that blame names its stage, and the rest that it says."""
    broken, held = _gates(verdict.failures), _gates(finding for finding in verdict.findings if finding.passed)
    assert set(fault.caught_by) <= broken, verdict
    assert set(fault.unseen_by) <= held, verdict
    assert not fault.alone or {finding.gate for finding in verdict.failures} == set(fault.caught_by), verdict
    if fault.mode in UNBLAMED:
        assert verdict.blame is None, verdict
        assert (fault.at, fault.line, fault.says, fault.step) == ("", "", (), None), "no blame says this"
        return
    blame = verdict.blame
    assert blame is not None
    assert blame.stage == fault.stage, blame
    if fault.at and fault.mode == "chained":  # the host's first; later ones may follow from it, and stop the chain
        first = next(finding.output for finding in verdict.failures if finding.gate == "glue")
        assert first == f"{fault.stage}.{fault.at}", verdict
    elif fault.at:
        assert fault.at in (blame.output, blame.value), blame
    for text in fault.says:
        assert text in f"{blame.looks_like}\n{blame.detail}", blame
    if fault.step is not None:
        assert f"from step {fault.step} of " in blame.detail, blame
    if fault.line:
        of_package = ("graph", "weights", "precision", "constants")
        assert blame.fault in (("module",) if fault.mode == "module" else of_package), blame
        assert fault.line in blame.source, blame


def _gates(findings: Iterable[Finding]) -> set[str]:
    return {name for finding in findings for name in (finding.gate, f"{finding.output} {finding.gate}")}
