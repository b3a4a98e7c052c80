"""The gates of stages that run step by step are proven on the small PocketTTS: each planted bug is caught, and blamed
on its stage and on the step that it begins at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.pocket_tts.glue import Glue
from converters.pocket_tts.stages import HELD, INT8
from converters.pocket_tts_2m import SYSTEM
from parity import steps
from parity.base.cache import Cache
from parity.base.torch_threads import threads
from parity.blame.explain import explained
from parity.declarations import Case, Golden, Seam, Stage, Variant
from parity.judge.workbench import Workbench
from parity.record.suite import Suite
from parity.run import Session, stepping
from parity.run.runtime import Crosser, closing
from parity.verdict import Check, Mode, Verdict
from tests.faults.parrot import parrot
from tests.faults.planting import assert_caught, judged
from tests.faults.pocket_table import CHAIN, FAULTS, GLUE_FAULTS, UNCLEAN, UNSPARED, GlueFault, glue
from tests.faults.table import Fault

FIRST = 7
"""Steps of each recording that are walked: a ring of five frames is full before."""
IN_EVERY_WAY = ("padding taken for a prompt", "keys and values swapped", "held back, and never added")
MEBIBYTE = 1 << 20


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Such small graphs are quicker on one thread: several mostly wait for each other."""
    with threads(1):
        yield


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where planted packages lie, each under its fault's name: converted once, checked in several ways."""
    return tmp_path_factory.mktemp("planted")


@dataclass(frozen=True)
class First:
    """The goldens of the first steps alone, to be quick."""

    bench: Workbench

    def load(self, case: Case) -> Golden:
        golden = self.bench.goldens.load(case)
        seams = (self.told(stage, golden[stage.name]) for stage in self.bench.system.stages)
        return Golden(self.bench.system.name, case.name, tuple(seams))

    def told(self, stage: Stage, golden: Seam) -> Seam:
        first = islice(stepping.crossings(stage, golden), FIRST)
        return steps.seam(stage.name, first, stage.carries, stepping.slots_of(stage))

    def identity(self, case: Case) -> str:
        return "the first steps"


class Unwritten(First):
    """The goldens of a host that allocates its caches as upstream does: what was not written yet is NaN."""

    def told(self, stage: Stage, golden: Seam) -> Seam:
        seam = super().told(stage, golden)
        return Seam(seam.stage, {**seam.inputs, **dict(self.spoilt(stage, seam))}, seam.outputs)

    def spoilt(self, stage: Stage, seam: Seam) -> Any:
        for name, axis in stepping.slots_of(stage).items():
            source = stage.carries[name]
            cache, end = seam.inputs[source].copy(), int(seam.inputs[source.replace("cache", "position")].item())
            np.moveaxis(cache, axis, 0)[end:] = np.nan
            yield source, cache

    def identity(self, case: Case) -> str:
        return "NaN where nothing was written"


def bench_of(suite: Suite, fault: Fault, goldens: type[First] = First) -> Workbench:
    clean = suite.workbench(fault.check)
    return replace(clean, goldens=goldens(clean))


def of(stage: str, variant: str, mode: Mode) -> Check:
    return Check(
        system=SYSTEM.name, stage=stage, variant=variant, case="hello", mode=mode, runtime="milrun", numerics="declared"
    )


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_bug_is_caught_at_its_stage_and_step(suite: Suite, fault: Fault, shelf: Path) -> None:
    assert_caught(fault, judged(bench_of(suite, fault), fault, shelf / fault.name))


@pytest.mark.parametrize(("mode", "variant"), [("carried", "fp32"), ("module", "module")], ids=["carried", "module"])
@pytest.mark.parametrize("name", IN_EVERY_WAY)
def test_a_planted_bug_is_caught_in_every_way(suite: Suite, name: str, mode: Mode, variant: str, shelf: Path) -> None:
    (fault,) = (replace(known, mode=mode, variant=variant) for known in FAULTS if known.name == name)
    assert_caught(fault, judged(bench_of(suite, fault), fault, shelf / name))


@pytest.mark.parametrize("stage", ["cond_step", "cond_prefill", "flowlm_step", "mimi_decoder"])
def test_what_was_never_written_may_be_nan(suite: Suite, stage: str, tmp_path: Path) -> None:
    check = of(stage, "fp32", "forced")
    clean = suite.workbench(check)
    verdict = explained(replace(clean, goldens=Unwritten(clean), cache=Cache(tmp_path)), check)
    assert verdict.passed, verdict


def test_what_relies_on_zeros_is_caught_where_the_host_gives_nan(suite: Suite, tmp_path: Path) -> None:
    assert judged(bench_of(suite, UNCLEAN), UNCLEAN, tmp_path).passed
    assert_caught(UNCLEAN, judged(bench_of(suite, UNCLEAN, Unwritten), UNCLEAN, tmp_path))


def test_a_weight_is_spared_for_a_reason(suite: Suite, tmp_path: Path) -> None:
    spared = replace(UNSPARED, built_as=INT8)
    assert judged(bench_of(suite, spared), spared, tmp_path / "spared").passed
    assert_caught(UNSPARED, judged(bench_of(suite, UNSPARED), UNSPARED, tmp_path / "all"))


def chained(suite: Suite, kind: type[Glue], folder: Path, case: str = "hello") -> Verdict:
    check = replace(CHAIN, case=case)
    return explained(parrot(suite, check, glue(kind), folder), check)


@pytest.mark.parametrize("case", sorted({fault.case for fault in GLUE_FAULTS}))
def test_the_glue_as_it_is_passes_with_a_faultless_runtime(suite: Suite, case: str, tmp_path: Path) -> None:
    assert chained(suite, Glue, tmp_path, case).passed


@pytest.mark.parametrize("fault", GLUE_FAULTS, ids=lambda fault: fault.name)
def test_a_bug_of_the_host_is_caught_where_it_enters_first(suite: Suite, fault: GlueFault, tmp_path: Path) -> None:
    verdict = chained(suite, fault.glue, tmp_path, fault.case)
    said = {found.output: found.message for found in verdict.failures if found.gate == "glue"}
    assert fault.says in said.get(f"{fault.stage}.{fault.spoils}", ""), said
    assert verdict.blame is not None
    assert (verdict.blame.stage, verdict.blame.output) == (fault.stage, fault.spoils)
    assert fault.says in verdict.blame.detail


@dataclass(frozen=True)
class Keeping(Workbench):
    """A host that never clears the states of its artifacts: only what they start with is written."""

    def session(self, stage: Stage, variant: Variant) -> Session:
        session = super().session(stage, variant)
        make_state = session.make_state

        def made() -> Any:
            state: Any = make_state()
            known = set[str]()
            write_state = state.write_state

            def once(name: str, value: np.ndarray) -> None:
                if name not in known:
                    known.add(name)
                    write_state(name, value)

            state.write_state = once
            return state

        session.make_state = made  # type: ignore[method-assign]
        return session


@pytest.mark.parametrize(("kind", "starts_anew"), [(Workbench, True), (Keeping, False)])
def test_a_state_that_outlives_its_utterance_is_caught(
    suite: Suite, kind: type[Workbench], starts_anew: bool, tmp_path: Path
) -> None:
    check = of("flowlm_step", HELD.name, "carried")
    clean = suite.workbench(check)
    parts = {name: getattr(clean, name) for name in clean.__dataclass_fields__}
    verdict = explained(kind(**{**parts, "goldens": First(clean), "cache": Cache(tmp_path)}), check)
    assert verdict.passed == starts_anew, verdict
    assert {found.gate for found in verdict.failures} <= {"reset"}


def resident() -> int:
    """Bytes of this process that are in memory now."""
    import os

    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        pytest.skip("only Linux tells what is resident now, and not just the most that ever was")
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_memory_stays_flat_over_a_thousand_steps(suite: Suite) -> None:
    check = of("flowlm_step", "fp16", "forced")
    bench = suite.workbench(check)
    stage = bench.system.stage(check.stage)
    variant = stage.variant(check.variant)
    golden = bench.goldens.load(bench.system.reference.case(check.case))[stage.name]
    first = next(stepping.crossings(stage, golden)).inputs
    resident()
    with closing(bench.session(stage, variant)) as session:
        cross, given, early = Crosser(stage, variant, session), first, 0
        for step in range(1, 1001):
            outputs = cross(given)
            given = {**first, **{source: outputs[name] for name, source in stage.carries.items()}}
            if given["position0"].item() == 512:
                given = first
            if step == 200:
                early = resident()
        assert resident() - early < 2 * MEBIBYTE
