"""Recorded truth is read back whole, fresh and proven, or not at all."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save, save_file

from parity.declarations import Case, Seam
from parity.golden import recording
from parity.golden.errors import DamagedGolden, MissingGolden, NotTheSameTruth, StaleGolden, UnusableRecording
from parity.golden.refresh import refresh
from tests.support.golden_system import LARGE, REFERENCE, World, case, quiet

HELLO = REFERENCE.case("hello")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Where the two cases of the tiny system are recorded."""
    world = World(tmp_path)
    refresh(world.store(), say=quiet)
    return world


def test_what_was_recorded_comes_back_in_the_order_of_the_data(world: World) -> None:
    golden = world.store().load(HELLO)
    store = world.store()
    expected = list(REFERENCE.record(store.model, HELLO))
    assert [seam.stage for seam in golden.seams] == ["encoder", "decoder"]
    for seam, truth in zip(golden.seams, expected, strict=True):
        for actual, wanted in ((seam.inputs, truth.inputs), (seam.outputs, truth.outputs)):
            assert list(actual) == list(wanted)
            for name, array in wanted.items():
                assert actual[name].dtype == array.dtype
                assert np.array_equal(actual[name], array)
    assert golden["decoder"].outputs["audio"].shape == (1, LARGE)


def test_small_tensors_lie_in_git_once_and_large_ones_as_sketches(world: World) -> None:
    kept = load_file(world.own / "hello.safetensors")
    assert set(kept) == {
        "whole/encoder/inputs/x",
        "whole/encoder/outputs/hidden",
        "whole/encoder/outputs/durations",
        "sketch/decoder/outputs/audio",
    }
    assert (world.own / "hello.safetensors").stat().st_size < 10_000


def test_a_golden_can_not_be_written_to(world: World) -> None:
    golden = world.store().load(HELLO)
    for array in (golden["encoder"].outputs["hidden"], golden["decoder"].outputs["audio"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


def test_an_unknown_stage_is_an_error_that_names_the_known(world: World) -> None:
    with pytest.raises(KeyError, match="no stage 'vocoder'; it has encoder, decoder"):
        world.store().load(HELLO)["vocoder"]


def test_large_tensors_come_from_this_machines_recording_without_a_run(world: World) -> None:
    golden = world.store(available=False).load(HELLO)
    assert golden["decoder"].outputs["audio"].size == LARGE


def test_on_another_machine_the_reference_runs_once_and_is_proven(world: World) -> None:
    store = world.store(machine="other")
    assert np.array_equal(
        store.load(HELLO)["decoder"].outputs["audio"], world.store().load(HELLO)["decoder"].outputs["audio"]
    )
    world.store(machine="other", available=False).load(HELLO)


def test_another_machines_rounding_is_accepted_and_is_all_from_one_run(world: World) -> None:
    there = world.store(gain=1 + 1e-5, machine="other")
    golden = there.load(HELLO)
    for seam, truth in zip(golden.seams, there.record(HELLO).seams, strict=True):
        for name, array in (*truth.inputs.items(), *truth.outputs.items()):
            assert np.array_equal({**seam.inputs, **seam.outputs}[name], array)
    assert not np.array_equal(
        golden["encoder"].outputs["hidden"], world.store().load(HELLO)["encoder"].outputs["hidden"]
    )


def test_another_truth_is_refused_with_its_stage_and_tensor(world: World) -> None:
    with pytest.raises(NotTheSameTruth, match=r"tiny, case hello: encoder/outputs/hidden, recorded again, relative L2"):
        world.store(gain=1.5, machine="other").load(HELLO)
    with pytest.raises(NotTheSameTruth):
        world.store(gain=1.5, machine="other").load(HELLO)


def test_another_truth_is_not_recorded_again_for_every_check(world: World) -> None:
    store = world.store(gain=1.5, machine="other")
    for expected in (1, 0):
        store.took.clear()
        with pytest.raises(NotTheSameTruth, match="encoder/outputs/hidden"):
            store.load(HELLO)
        assert len(store.took) == expected


def test_a_planted_recording_is_proven_like_any_other(world: World) -> None:
    liar = world.store(gain=1.5, machine="other")
    honest = world.store()
    entry, _ = honest.checked(HELLO)
    liar.keep(entry, lambda folder: recording.write(liar.record(HELLO), folder, 1.0))
    with pytest.raises(NotTheSameTruth, match="encoder/outputs/hidden"):
        world.store(machine="other").load(HELLO)


def test_nothing_recorded_is_an_error_that_says_how_to_record(tmp_path: Path) -> None:
    with pytest.raises(
        MissingGolden, match=r'tiny, case hello: .*Mend: python -m parity golden refresh tiny --reason "…"'
    ):
        World(tmp_path).store().load(HELLO)


def test_a_new_case_is_missing_while_the_others_stand(world: World) -> None:
    new = case("an_hour", 2.0)
    store = world.store(replace(REFERENCE, cases=(*REFERENCE.cases, new)))
    assert store.load(HELLO).case == "hello"
    with pytest.raises(MissingGolden, match="an_hour"):
        store.load(new)


def test_other_weights_make_a_golden_stale(world: World) -> None:
    with pytest.raises(StaleGolden, match=r"stale: weights\.revision: first → second\. Mend: python"):
        world.store(revision="second").load(HELLO)


def test_other_packages_make_a_golden_stale(world: World) -> None:
    with pytest.raises(StaleGolden, match=r"packages\.safetensors is new"):
        world.store(replace(REFERENCE, packages=("numpy", "safetensors"))).load(HELLO)


def test_other_code_makes_a_golden_stale(world: World) -> None:
    def record(model: Any, case: Case) -> Iterator[Seam]:
        yield from REFERENCE.record(model, case)

    with pytest.raises(StaleGolden, match=r"the golden is stale: code\."):
        world.store(replace(REFERENCE, record=record)).load(HELLO)


def test_another_input_of_the_same_name_makes_a_golden_stale(world: World) -> None:
    with pytest.raises(StaleGolden, match="input x of the case changed"):
        world.store().load(case("hello", 1.0001))
    with pytest.raises(StaleGolden, match="input noise of the case is new"):
        world.store().load(replace(HELLO, inputs={**HELLO.inputs, "noise": np.ones(1, np.float32)}))


def test_a_stale_golden_has_no_identity_either(world: World) -> None:
    with pytest.raises(StaleGolden):
        world.store(revision="second").identity(HELLO)


def test_the_identity_is_that_of_the_truth(world: World, tmp_path: Path) -> None:
    store = world.store(available=False)
    assert store.identity(HELLO) == world.store(machine="other").identity(HELLO)
    assert store.identity(HELLO) != store.identity(REFERENCE.case("flight"))
    moved = World(tmp_path / "elsewhere")
    refresh(moved.store(gain=1.5), say=quiet)
    assert moved.store(gain=1.5).identity(HELLO) != store.identity(HELLO)


def test_weights_have_goldens_of_their_own(world: World) -> None:
    hub = world.store(gain=3.0, source="hub")
    with pytest.raises(MissingGolden, match="refresh tiny --weights hub"):
        hub.load(HELLO)
    refresh(hub, say=quiet)
    assert (world.own / "weights-hub" / "hello.safetensors").is_file()
    loaded = world.store(gain=3.0, source="hub").load(HELLO)["encoder"].outputs["hidden"]
    assert not np.array_equal(loaded, world.store().load(HELLO)["encoder"].outputs["hidden"])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def rewritten(path: Path) -> None:
    save_file({name: array + 1 for name, array in load_file(path).items()}, path)


def linked(path: Path) -> None:
    target = path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip, "sha256 differs"),
        (rewritten, "sha256 differs"),
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), r"\d+ bytes for \d+, sha256 differs"),
        (lambda path: os.truncate(path, 1 << 40), "bytes where at most"),
        (Path.unlink, "is missing"),
        (linked, "is not a plain file"),
    ],
    ids=["bit", "values", "cut", "huge", "gone", "link"],
)
def test_a_damaged_file_is_refused(world: World, damage: Any, said: str) -> None:
    damage(world.own / "hello.safetensors")
    with pytest.raises(DamagedGolden, match=rf"hello\.safetensors: .*{said}.*Mend: git checkout"):
        world.store().load(HELLO)
    assert world.store().load(REFERENCE.case("flight")).case == "flight"


def vouch(world: World, data: bytes) -> None:
    """Another file, and a lock that vouches for it: only a look at the tensors can tell."""
    (world.own / "hello.safetensors").write_bytes(data)
    lock = json.loads((world.own / "lock.json").read_text())
    lock["cases"]["hello"]["file"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (world.own / "lock.json").write_text(json.dumps(lock))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t | {"more": np.zeros(3, np.float32)}, "too many or too few: more"),
        (lambda t: {n: a for n, a in t.items() if "hidden" not in n}, "whole/encoder/outputs/hidden"),
        (lambda t: {n: a + 1 if "hidden" in n else a for n, a in t.items()}, "hidden is not the tensor"),
        (lambda t: {n: a.astype("f8") if "audio" in n else a for n, a in t.items()}, "audio is float64"),
        (lambda t: {n: a[:5] if "audio" in n else a for n, a in t.items()}, r"audio has \[5\] samples"),
    ],
    ids=["unexpected", "missing", "values", "dtype", "samples"],
)
def test_a_file_with_other_tensors_is_refused(world: World, change: Any, said: str) -> None:
    vouch(world, save(change(load_file(world.own / "hello.safetensors"))))
    with pytest.raises(DamagedGolden, match=said):
        world.store().load(HELLO)


def test_a_file_that_is_no_safetensors_is_refused_without_a_crash(world: World) -> None:
    vouch(world, b"\xff" * 64)
    with pytest.raises(DamagedGolden, match="can't be read"):
        world.store().load(HELLO)


SEAMS = {
    "no seam": [],
    "no outputs": [Seam("a", {"x": np.ones(2)}, {})],
    "no inputs": [Seam("a", {}, {"y": np.ones(2)})],
    "NaN or infinite": [Seam("a", {"x": np.ones(2)}, {"y": np.array([1.0, np.nan])})],
    "dead stage": [Seam("a", {"x": np.ones(2)}, {"y": np.zeros(100, np.float32)})],
    "no elements": [Seam("a", {"x": np.ones((1, 0))}, {"y": np.arange(3.0)})],
    "dtype": [Seam("a", {"x": np.ones(2, complex)}, {"y": np.arange(3.0)})],
    "is a list": [Seam("a", {"x": [1.0]}, {"y": np.arange(3.0)})],  # type: ignore[dict-item]
}


@pytest.mark.parametrize("said", SEAMS)
def test_what_can_not_serve_as_truth_is_not_recorded(tmp_path: Path, said: str) -> None:
    reference = replace(REFERENCE, record=lambda model, case: iter(SEAMS[said]))
    with pytest.raises(UnusableRecording, match=said):
        refresh(World(tmp_path).store(reference), say=quiet)
    assert not (World(tmp_path).own / "lock.json").exists()


@pytest.mark.parametrize("name", ["../tiny", "", "Tiny", "a/b", "a.b", "-x", "x" * 65])
def test_names_that_could_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="can't name a file"):
        World(tmp_path).store(replace(REFERENCE, name=name))
    with pytest.raises(ValueError, match="can't name a file"):
        World(tmp_path).store(replace(REFERENCE, cases=(case(name),)))


def test_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="case 'hello' is declared twice"):
        World(tmp_path).store(replace(REFERENCE, cases=(HELLO, HELLO)))


def test_a_reference_that_reuses_its_buffers_is_recorded_as_it_was_at_each_seam(tmp_path: Path) -> None:
    def record(model: Any, case: Case) -> Iterator[Seam]:
        state = np.arange(4, dtype=np.float32)
        for _ in range(3):
            before = state.copy()
            state += 1
            yield Seam("step", {"state": before}, {"state_out": state})

    world = World(tmp_path)
    reference = replace(REFERENCE, record=record)
    refresh(world.store(reference), say=quiet)
    golden = world.store(reference).load(HELLO)
    assert [float(seam.outputs["state_out"][0]) for seam in golden.steps("step")] == [1, 2, 3]
    with pytest.raises(KeyError, match="crossed 3 times"):
        golden["step"]
