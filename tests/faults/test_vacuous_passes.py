"""The ways of `vacuous.py` to let a wrong artifact pass, each refused. A name begins with the number of its way."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity.compare import contract
from parity.compare.modes import Comparison
from parity.declarations import f32
from parity.judge import gates
from tests.faults import plural
from tests.faults.vacuous import HERE, VACUOUS
from tests.support import report_samples as samples
from tests.support.project import CONVERTED, GATES, REFERENCES, Project
from tests.support.project import HERE as PROJECT
from tests.support.runs import Run, artifacts, checked, gathered
from tests.support.signals import measure

pytestmark = pytest.mark.skipif("sys.platform == 'darwin'", reason="asks for Core ML where there is none")

CHECKS = 21
BROKEN = ("torch.tanh(self.conv(x))", "1.05 * torch.tanh(self.conv(x))")
SKIPPED = 'pytest.mark.skip(reason="later")'
FP32 = {"y": "float32"}


@pytest.fixture(scope="module")
def several(warm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The system of several stages, with goldens and gates. To be copied, never changed."""
    project = Project.bare(tmp_path_factory.mktemp("plural") / "project", warm_python, plural.SYSTEM)
    project.done("golden", "refresh", "plural", "--reason", "first recording")
    assert not checked(project).green
    project.done("parity", "calibrate", "plural")
    return project


@pytest.fixture(scope="module")
def mutated(several: Project, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in which every stage has its own fault, where it passed before."""
    project = several.copy(tmp_path_factory.mktemp("mutated") / "project")
    assert checked(project).green
    for old, new in plural.MUTANTS:
        project.edit(plural.CONVERTED, old, new)
    run = checked(project)
    assert not run.green
    return run


def forced(stage: str, case: str = "hello") -> str:
    return f"plural-{stage}-fp32-{case}-forced"


def test_each_way_has_its_tests() -> None:
    numbered = {name[:7] for name in globals()}
    for number, (way, _, refused) in VACUOUS.items():
        assert HERE not in refused or f"test_{number:02d}" in numbered, way
        assert all((PROJECT / "tests" / path).exists() for path in refused), way


def test_01_without_core_ml_asking_for_it_is_an_error_and_no_pass(project: Project) -> None:
    run = checked(project, "--runtime", "coreml")
    assert run.code
    assert run.record is None
    assert "use --runtime milrun" in run.said


def test_01_without_core_ml_the_package_itself_is_executed(project: Project) -> None:
    given = gathered(project, "given")
    assert checked(project, f"--artifacts={given}").green
    weights = project.path(given) / "front-fp32.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    data = bytearray(weights.read_bytes())
    numbers = np.frombuffer(data, np.float32, offset=128, count=8)
    data[128:160] = (1.05 * numbers).astype(np.float32).tobytes()
    weights.write_bytes(data)
    run = checked(project, f"--artifacts={given}")
    assert not run.green
    assert ("hidden", "relative_l2") in run.broken("tiny-front-fp32-hello-forced")
    assert not run.broken("tiny-front-fp16-hello-forced")


def test_02_a_tolerance_that_hardly_anything_breaks_is_refused(project: Project) -> None:
    lines = [
        "relative_l2 = { max = 5, derived_from = 'a guess' }" if line.startswith("relative_l2") else line
        for line in project.read(GATES).splitlines()
    ]
    project.write(GATES, "\n".join(lines))
    run = checked(project)
    assert not run.green
    assert "can hardly fail" in run.said
    assert "INTERNALERROR" not in run.said


def test_02_a_bound_that_was_set_by_hand_without_a_reason_is_refused(project: Project) -> None:
    project.change_gate("front.fp16.hidden", "cosine", "min = 0.999999,", "min = 0.9999,")
    run = checked(project)
    assert not run.green
    assert "front.fp16.hidden.cosine: ≥ 0.9999 does not follow from its derived_from" in run.said
    project.change_gate("front.fp16.hidden", "cosine", " } }", ' }, reason = "a wider kernel" }')
    assert checked(project).green


def test_03_every_output_is_compared_and_not_only_the_first(mutated: Run) -> None:
    assert {output for output, _ in mutated.broken(forced("pair"))} == {"second"}


def test_04_inputs_that_are_drawn_anew_each_time_are_no_truth(project: Project) -> None:
    project.edit(REFERENCES, "x = np.sin(np.arange(4 * frames, dtype=np.float32))", "x = drawn(4 * frames)")
    drawn = "def drawn(size):\n    return np.random.default_rng().standard_normal(size).astype(np.float32)\n\n\n"
    project.edit(REFERENCES, "def case(", f"{drawn}def case(")
    project.done("golden", "refresh", "tiny", "--reason", "drawn")
    run = checked(project)
    assert not run.green
    assert "input x of the case changed" in run.problems


def test_05_no_check_is_no_pass(project: Project) -> None:
    run = checked(project, "-k", "nothing-has-this-name")
    assert run.code
    assert run.record is None


def test_05_no_system_is_no_pass(project: Project) -> None:
    project.remove(CONVERTED)
    run = checked(project)
    assert run.code
    assert run.record is None
    assert "there is nothing to judge" in run.said


def test_05_no_short_case_is_no_pass(project: Project) -> None:
    project.edit(REFERENCES, "short=True", "short=False")
    run = checked(project)
    assert run.code
    assert run.record is None
    assert "declares no short case" in run.said


def test_05_nothing_compared_and_nothing_judged_are_no_pass() -> None:
    assert not samples.check("stage", "fp32", "case").verdict(()).passed
    assert not replace(samples.clean(), verdicts=(), expected=()).passed
    with pytest.raises(ValueError, match="without a gate"):
        gates.judge((), {"cosine": 1.0})


def test_06_a_missing_output_fails_though_others_are_there(several: Project, tmp_path: Path) -> None:
    project = several.copy(tmp_path / "project")
    whole = project.read(plural.CONVERTED)
    project.edit(plural.CONVERTED, "return torch.sin(x), torch.cos(x)", "return torch.sin(x)")
    project.edit(plural.CONVERTED, ", second=real(1, 4, FRAMES)", "")
    given = gathered(project, "given")
    assert ("second", "declared") in checked(project, "-k", "pair-fp32").broken(forced("pair"))
    project.write(plural.CONVERTED, whole)
    run = checked(project, f"--artifacts={given}")
    assert not run.green
    assert run.broken(forced("pair")) == {("second", "present"), ("interface", "manifest")}
    assert ("pair.second", "present") in run.broken("plural-chain-ships-hello")


def test_06_one_broken_gate_is_enough() -> None:
    judged = gates.parse(
        """
        [stage.fp32.y]
        max_abs = { max = 0.1, derived_from = "a test" }
        relative_l2 = { max = 0.01, derived_from = "a test" }
        """,
        "gates.toml",
    ).tables["stage", "fp32", "y"]
    assert [found.passed for found in gates.judge(judged, {"max_abs": 0.01, "relative_l2": 0.5})] == [True, False]


def test_07_a_quiet_tensor_of_another_shape_is_seen(mutated: Run) -> None:
    assert np.allclose(1e-4 * np.sin(np.arange(9)), 1e-4 * np.cos(np.arange(9)), 1e-2, 1e-2)
    assert {("hush", "cosine"), ("hush", "relative_l2")} <= mutated.broken(forced("quiet"))


def test_08_a_gain_and_an_offset_are_seen_though_the_shape_agrees(mutated: Run) -> None:
    broken = mutated.broken(forced("loud"))
    assert {("wave", "relative_l2"), ("wave", "rms_ratio")} <= broken
    assert ("wave", "cosine") not in broken
    assert ("level", "relative_l2") in mutated.broken(forced("raised"))


def test_08_gates_that_see_no_gain_are_no_gates(project: Project) -> None:
    kept = [line for line in project.read(GATES).splitlines() if line.startswith(("[", "cosine")) or not line]
    project.write(GATES, "\n".join(kept) + "\n")
    run = checked(project, "-k", "not gates")
    assert not run.green
    assert "cosine can't see gain" in run.problems


def test_09_a_conversion_that_fails_is_no_success(project: Project) -> None:
    project.edit(CONVERTED, BROKEN[0], "torch.special.bessel_j0(self.conv(x))")
    run = checked(project)
    assert not run.green
    assert ("front", "runs") in run.broken("tiny-front-fp32-hello-forced")
    assert len(run.verdicts) == CHECKS
    assert not run.broken("tiny-back-fp32")


def test_10_an_output_of_indices_is_compared(mutated: Run) -> None:
    assert ("best", "frames_equal") in mutated.broken(forced("choice"))


def test_11_a_package_of_other_code_is_not_taken_for_it_by_its_name(project: Project) -> None:
    before = artifacts(project)
    project.edit(CONVERTED, *BROKEN)
    run = checked(project)
    assert not run.green
    assert ("hidden", "rms_ratio") in run.broken("tiny-front-fp16-hello-forced")
    assert len(artifacts(project) - before) == 2
    project.edit(CONVERTED, BROKEN[1], BROKEN[0])
    after = artifacts(project)
    assert checked(project).green
    assert artifacts(project) == after


def test_12_no_flag_is_needed_for_anything_to_be_compared(project: Project) -> None:
    project.edit(CONVERTED, *BROKEN)
    run = checked(project, mark="")
    assert not run.green
    assert len(run.verdicts) == CHECKS
    assert run.record
    assert not run.record.partial


def test_12_without_gates_nothing_passes(project: Project) -> None:
    project.remove(GATES)
    run = checked(project)
    assert not run.green
    assert not any(verdict.passed for verdict in run.verdicts.values() if verdict.check.mode != "exercised")


def test_13_not_a_number_equals_nothing_and_another_dtype_is_another_thing() -> None:
    declared, poisoned = {"y": f32(3)}, {"y": np.array([1, 2, np.nan], np.float32)}
    found = contract.check(Comparison(declared, poisoned, poisoned, FP32))
    assert {finding.gate for finding in found if not finding.passed} == {"golden", "finite"}
    truth = {"y": np.arange(3, dtype=np.float32)}
    for dtype in (np.float64, np.float16, np.int32):
        found = contract.check(Comparison(declared, {"y": truth["y"].astype(dtype)}, truth, FP32))
        assert [finding.gate for finding in found if not finding.passed] == ["dtype"]


def test_13_a_reference_that_gives_no_numbers_is_not_recorded(project: Project) -> None:
    project.edit(REFERENCES, "hidden, y = model(x)", "hidden, y = model(x / 0)")
    refused = project.run("golden", "refresh", "tiny", "--reason", "x / 0")
    assert refused.code
    assert "NaN or infinite" in refused.said


@pytest.mark.parametrize("lost", ["golden/tiny/hello.safetensors", "golden/tiny/lock.json"])
def test_15_a_missing_golden_is_a_failure(lost: str, project: Project) -> None:
    project.remove(lost)
    run = checked(project)
    assert not run.green
    assert not [id for id, verdict in run.verdicts.items() if "hello" in id and verdict.passed]


@pytest.mark.parametrize(
    "gate",
    [
        "gain_db = { within = 20, derived_from = 'a guess' }",
        "cosine = { min = -0.5, derived_from = 'a guess' }",
        "rms_ratio = { within = 1, derived_from = 'a guess' }",
        "log_mel_distance = { max = 60, derived_from = 'a guess' }",
        "relative_l2 = { max = inf, derived_from = 'a guess' }",
    ],
)
def test_16_a_bound_that_can_hardly_fail_is_refused(gate: str) -> None:
    with pytest.raises(gates.GateError, match=r"can hardly fail|bounds nothing"):
        gates.parse(f"[stage.fp32.audio]\n{gate}\n", "gates.toml")


def test_17_compute_units_that_were_asked_for_are_no_placement(project: Project) -> None:
    run = checked(project, "--compute-units", "CPU_AND_NE")
    assert run.green
    assert run.record
    assert any("placement" in line for line in run.record.not_run_here)
    assert "not run here:\n  device placement" in run.said
    assert "PASSED: graph pass (milrun, declared)" in run.said
    judged = {finding.gate for verdict in run.verdicts.values() for finding in verdict.findings}
    assert not [gate for gate in judged if "placement" in gate or "unit" in gate]


@pytest.mark.parametrize("decibels", [22.3, 73.5])
def test_18_what_is_measured_does_not_depend_on_the_first_axis(decibels: float) -> None:
    random = np.random.default_rng(1)
    truth, noise = random.standard_normal((2, 1, 256, 512))
    noise *= 10 ** (-decibels / 20) * math.sqrt(float((truth**2).sum()) / float((noise**2).sum()))
    noise -= truth * float((noise * truth).sum()) / float((truth**2).sum())
    share = math.sqrt(sum(float(one) ** 2 for one in noise.flat) / sum(float(one) ** 2 for one in truth.flat))
    expected = {
        "relative_l2": share,
        "cosine": 1 / math.sqrt(1 + share**2),
        "rms_ratio": math.sqrt(1 + share**2),
        "max_abs": max(abs(float(one)) for one in noise.flat),
    }
    for shape in [(1, 256, 512), (256, 512), (512, 256, 1), (131072,)]:
        for name, value in expected.items():
            measured = measure(name, truth.reshape(shape), (truth + noise).reshape(shape), 24_000)
            assert measured == pytest.approx(value, rel=1e-6), (name, shape)


def test_19_every_case_is_compared_and_not_only_the_first(mutated: Run) -> None:
    assert not mutated.broken(forced("long", "hello"))
    assert ("tail", "relative_l2") in mutated.broken(forced("long", "goodbye"))


def gate_deleted(project: Project) -> None:
    blocks = project.read(GATES).split("\n\n")
    project.write(GATES, "\n\n".join(block for block in blocks if not block.startswith("[front.fp16.hidden]")))


def checks_skipped(project: Project) -> None:
    project.mark(SKIPPED, "CheckItem")


def gates_unseen(project: Project) -> None:
    project.mark(SKIPPED, "GatesItem")


def expected_to_fail(project: Project) -> None:
    project.edit(CONVERTED, *BROKEN)
    project.mark("pytest.mark.xfail(strict=False)")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (gate_deleted, "1 output without a gate, such as front.fp16.hidden"),
        (checks_skipped, "expected, but skipped: later"),
        (gates_unseen, "skipped: later"),
        (expected_to_fail, "relative_l2"),
    ],
)
def test_20_a_check_that_is_switched_off_is_no_pass(damage: object, says: str, project: Project) -> None:
    assert callable(damage)
    damage(project)
    run = checked(project)
    assert not run.green
    assert says in run.problems


def test_20_a_part_that_passed_is_never_called_the_whole(project: Project) -> None:
    run = checked(project, "-k", "front")
    assert run.green
    assert run.record
    assert run.record.partial
    assert "PARTIAL run, not the full verdict" in run.said
