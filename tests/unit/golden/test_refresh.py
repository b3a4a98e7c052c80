"""A refresh says what moved and by how much, wants a reason, and writes all or nothing."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from parity.declarations import Case, Seam
from parity.golden import case_file, lock
from parity.golden.errors import DamagedGolden, RefreshRefused, StaleGolden
from parity.golden.refresh import ReasonWanted, diff, refresh
from parity.golden.status import status, verify
from tests.support.golden_system import REFERENCE, World, case, quiet

HELLO, FLIGHT = REFERENCE.cases


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    refresh(world.store(), say=quiet, date="2026-01-01")
    return world


def snapshot(world: World) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in world.own.iterdir() if path.is_file()}


def history(world: World) -> list[tuple[str, str, tuple[str, ...]]]:
    found = lock.read(world.own / "lock.json")
    assert found
    return [(entry.date, entry.reason, entry.cases) for entry in found.history]


def test_the_first_recording_needs_no_reason(world: World) -> None:
    assert set(snapshot(world)) == {"lock.json", "hello.safetensors", "flight.safetensors"}
    assert history(world) == [("2026-01-01", "first recording", ("hello", "flight"))]
    assert not world.store().transaction.files()


@pytest.mark.parametrize("again", [False, True])
def test_a_recording_over_cases_whose_lock_is_lost_needs_a_reason(world: World, again: bool) -> None:
    (world.own / "lock.json").unlink()
    before = snapshot(world)
    with pytest.raises(RefreshRefused, match=r"lock\.json: it is missing.*loses the history.*Mend: git checkout -- "):
        refresh(world.store(gain=1.5), reason=" ", say=quiet, again=again)
    assert snapshot(world) == before
    refresh(world.store(gain=1.5), reason="the history was lost", say=quiet, date="2026-02-02")
    assert history(world) == [("2026-02-02", "the history was lost", ("hello", "flight"))]


def test_a_second_recording_of_the_same_bits_writes_nothing(world: World) -> None:
    before = snapshot(world)
    report = refresh(world.store(), reason="for the sake of it", say=quiet)
    assert report.same
    assert not report.written
    assert snapshot(world) == before


def test_recording_elsewhere_gives_the_same_files(world: World, tmp_path: Path) -> None:
    elsewhere = World(tmp_path / "elsewhere")
    refresh(elsewhere.store(), say=quiet, date="2026-01-01")
    assert snapshot(elsewhere) == snapshot(world)


def test_moved_values_are_refused_without_a_reason_and_shown(world: World) -> None:
    before = snapshot(world)
    with pytest.raises(ReasonWanted, match="nothing is written without a reason") as refused:
        refresh(world.store(gain=1.5), reason="  ", say=quiet)
    assert snapshot(world) == before
    assert world.store().load(HELLO)
    hello = refused.value.report.cases[0]
    assert hello.status == "moved"
    assert [str(movement.place) for movement in hello.movements] == ["encoder/outputs/hidden", "decoder/outputs/audio"]


def test_another_machines_rounding_moves_no_recorded_bit(world: World) -> None:
    before = snapshot(world)
    report = refresh(world.store(gain=1 + 1e-6, machine="other"), say=quiet)
    assert report.same_truth
    assert not report.same
    assert "what moved by rounding only stays as it was recorded" in str(report)
    assert snapshot(world) == before
    code = replace(REFERENCE, packages=(*REFERENCE.packages, "pytest"))
    assert refresh(world.store(code, gain=1 + 1e-6, machine="other"), say=quiet, date="2026-02-01").written
    assert {**snapshot(world), "lock.json": b""} == {**before, "lock.json": b""}
    assert history(world)[-1] == ("2026-02-01", "no value moved", ())
    assert world.store(code).load(HELLO)


def test_how_far_a_tensor_moved_is_exact_where_the_recording_is_at_hand(world: World) -> None:
    before = world.store().load(HELLO)["decoder"].outputs["audio"].astype(np.float64)
    moved = diff(world.store(gain=1.5), [HELLO], say=quiet).cases[0].movements[-1]
    after = World(world.folder / "elsewhere")
    refresh(after.store(gain=1.5), say=quiet)
    apart = after.store(gain=1.5).load(HELLO)["decoder"].outputs["audio"] - before
    assert moved.samples == 0
    assert moved.relative_l2 == pytest.approx(np.linalg.norm(apart) / np.linalg.norm(before))
    assert moved.max_abs == pytest.approx(np.abs(apart).max())
    estimate = diff(world.store(gain=1.5, machine="other"), [HELLO], say=quiet).cases[0].movements[-1]
    assert estimate.samples > 1000
    assert estimate.relative_l2 == pytest.approx(moved.relative_l2, rel=0.05)
    assert "samples" in str(estimate)


def test_a_reason_lets_values_move_and_stays_in_the_history(world: World) -> None:
    report = refresh(world.store(gain=1.5), reason="a louder voice", say=quiet, date="2026-02-02")
    assert report.written
    assert history(world)[1:] == [("2026-02-02", "a louder voice", ("hello", "flight"))]
    assert world.store(gain=1.5).load(HELLO)["decoder"].outputs["audio"].max() > 0.7


def test_a_refused_refresh_is_not_recorded_again_once_there_is_a_reason(world: World) -> None:
    with pytest.raises(ReasonWanted):
        refresh(world.store(gain=1.5), say=quiet)
    assert "unfinished refresh" in status(world.store()).notes[0]
    said: list[str] = []
    assert refresh(world.store(available=False), reason="a louder voice", say=said.append).written
    assert said[0] == "hello: taken over from an unfinished refresh (1 of 2) …"


def test_what_a_refused_refresh_recorded_can_be_dropped(world: World) -> None:
    with pytest.raises(ReasonWanted):
        refresh(world.store(gain=1.5), say=quiet)
    assert refresh(world.store(), say=quiet, again=True).same
    assert not status(world.store()).notes


def test_what_an_unfinished_refresh_left_is_not_used_for_other_weights(world: World) -> None:
    with pytest.raises(ReasonWanted):
        refresh(world.store(gain=1.5), say=quiet)
    refresh(world.store(gain=2.0, revision="second"), reason="new weights", say=quiet)
    assert world.store(revision="second").load(HELLO)["decoder"].outputs["audio"].max() > 0.9


@pytest.mark.parametrize("name", ["hello.safetensors", "hello.json"])
def test_what_an_unfinished_refresh_left_damaged_is_recorded_again(world: World, name: str) -> None:
    with pytest.raises(ReasonWanted):
        refresh(world.store(gain=1.5), say=quiet)
    (world.own / ".refresh" / name).write_bytes(b"{}")
    said: list[str] = []
    refresh(world.store(gain=1.5), reason="a louder voice", say=said.append)
    assert said[0] == "hello: recording (1 of 2) …"
    assert world.store().load(HELLO)


def test_new_provenance_with_the_same_bits_needs_no_reason(world: World) -> None:
    store = world.store(revision="second")
    with pytest.raises(StaleGolden):
        store.load(HELLO)
    report = refresh(store, say=quiet)
    assert report.provenance == ("weights.revision: first → second",)
    assert history(world)[-1][1:] == ("no value moved", ())
    assert world.store(revision="second").load(HELLO)


def test_one_case_can_be_refreshed_alone(world: World) -> None:
    before = snapshot(world)
    refresh(world.store(gain=1.5), [HELLO], reason="a louder hello", say=quiet)
    after = snapshot(world)
    assert after["flight.safetensors"] == before["flight.safetensors"]
    assert after["hello.safetensors"] != before["hello.safetensors"]
    assert history(world)[-1][1:] == ("a louder hello", ("hello",))


def test_one_case_alone_can_not_take_over_new_provenance_for_the_others(world: World) -> None:
    with pytest.raises(RefreshRefused, match=r"left behind: weights\.revision.*Mend: refresh all cases together"):
        refresh(world.store(revision="second"), [HELLO], reason="new weights", say=quiet)


def test_one_case_alone_is_not_written_beside_a_damaged_one(world: World) -> None:
    (world.own / "flight.safetensors").write_bytes(b"")
    before = snapshot(world)
    with pytest.raises(DamagedGolden, match="flight"):
        refresh(world.store(gain=1.5), [HELLO], reason="a louder hello", say=quiet)
    assert snapshot(world) == before


def test_a_damaged_file_is_mended_by_a_refresh_of_the_same_bits(world: World) -> None:
    before = snapshot(world)
    (world.own / "hello.safetensors").write_bytes(b"damaged")
    refresh(world.store(), say=quiet)
    assert snapshot(world)["hello.safetensors"] == before["hello.safetensors"]


def test_a_new_case_needs_no_reason_and_a_dropped_one_does(world: World) -> None:
    more = replace(REFERENCE, cases=(case("an_hour", 2.0), *REFERENCE.cases))
    refresh(world.store(more), say=quiet)
    assert history(world)[-1][1:] == ("new cases", ("an_hour",))
    with pytest.raises(ReasonWanted, match="the recorded truth of an_hour would go"):
        refresh(world.store(), say=quiet)
    assert (world.own / "an_hour.safetensors").is_file()
    refresh(world.store(), reason="too long", say=quiet)
    assert not (world.own / "an_hour.safetensors").exists()
    assert status(world.store()).fresh


def test_nothing_to_record_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RefreshRefused, match="declares no case"):
        refresh(World(tmp_path).store(replace(REFERENCE, cases=())), say=quiet)


def test_a_second_refresh_at_the_same_time_is_refused(world: World) -> None:
    def meanwhile(line: str) -> None:
        if "(1 of 2)" in line:
            with pytest.raises(RefreshRefused, match="another refresh is running"):
                refresh(world.store(gain=3.0), reason="me too", say=quiet)

    assert refresh(world.store(gain=1.5), reason="a louder voice", say=meanwhile).written


def test_a_reader_is_not_held_up_by_a_refresh(world: World) -> None:
    audio = world.store().load(HELLO)["decoder"].outputs["audio"]

    def meanwhile(line: str) -> None:
        assert np.array_equal(world.store(available=False).load(HELLO)["decoder"].outputs["audio"], audio)

    refresh(world.store(gain=1.5), reason="a louder voice", say=meanwhile)


def test_more_than_git_may_hold_is_not_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(world)
    monkeypatch.setattr(case_file, "MAX_BYTES", 20_000)
    with pytest.raises(RefreshRefused, match="all that git may"):
        refresh(world.store(gain=1.5), reason="a louder voice", say=quiet)
    assert snapshot(world) == before


def test_a_reference_that_is_not_deterministic_is_called_one(world: World) -> None:
    assert "is the reference deterministic?" in str(diff(world.store(gain=1.5), say=quiet))
    assert "deterministic" not in str(diff(world.store(gain=1 + 1e-6), say=quiet))


def test_diff_shows_what_a_refresh_would_and_writes_nothing(world: World) -> None:
    before = snapshot(world)
    report = diff(world.store(gain=1.5), say=quiet)
    assert [found.status for found in report.cases] == ["moved", "moved"]
    assert snapshot(world) == before
    assert not status(world.store()).notes


def test_shapes_and_places_that_change_are_named(world: World) -> None:
    def record(model: Any, case: Case) -> Iterator[Seam]:
        encoder, decoder = REFERENCE.record(model, case)
        yield replace(encoder, outputs={**encoder.outputs, "hidden": encoder.outputs["hidden"][:, :3]})
        yield replace(decoder, inputs={"more": np.arange(3.0)}, outputs=decoder.outputs)

    report = diff(world.store(replace(REFERENCE, record=record)), [HELLO], say=quiet)
    lines = [str(movement) for movement in report.cases[0].movements]
    assert lines[0] == "encoder/outputs/hidden: float32[1, 3], it was float32[1, 4]"
    assert "decoder/inputs/hidden: is gone" in lines
    assert "decoder/inputs/more: is new" in lines


def test_verify_holds_where_the_bits_are_the_same(world: World) -> None:
    report, faults = verify(world.store(machine="other"), say=quiet)
    assert report.same
    assert faults == []


def test_verify_tells_rounding_from_another_truth(world: World) -> None:
    rounded, _ = verify(world.store(gain=1 + 1e-6), say=quiet)
    moved, _ = verify(world.store(gain=1.1), say=quiet)
    assert (rounded.same, rounded.same_truth) == (False, True)
    assert (moved.same, moved.same_truth) == (False, False)


def test_verify_never_trusts_a_kept_recording(world: World) -> None:
    with pytest.raises(RuntimeError, match="about to run"):
        verify(world.store(available=False), say=quiet)


def test_verify_without_a_golden_does_not_hold(tmp_path: Path) -> None:
    report, faults = verify(World(tmp_path).store(), say=quiet)
    assert not report.same
    assert faults[0].startswith("hello: missing")


def test_status_says_of_each_case_what_it_is_worth(world: World) -> None:
    (world.own / "hello.safetensors").write_bytes(b"damaged")
    more = replace(REFERENCE, cases=(HELLO, case("flight", 0.7), case("an_hour")))
    found = status(world.store(more, available=False))
    assert [entry.state for entry in found.cases] == ["damaged", "stale", "missing"]
    assert "input x of the case changed" in found.cases[1].why
    assert not found.fresh


def test_status_says_where_large_tensors_would_be_recorded_again(world: World) -> None:
    assert "recorded again at first use" in str(status(world.store(machine="other", available=False)))
    assert "recorded again" not in str(status(world.store(available=False)))


@pytest.mark.parametrize("name", ["old.safetensors", "hello.safetensors.bak", "notes.txt", "weights-hub.json"])
def test_a_file_that_no_golden_uses_is_a_fault(world: World, name: str) -> None:
    (world.own / name).write_bytes(b"")
    found = status(world.store())
    assert not found.fresh
    assert name in found.faults[0]
    assert any(name in fault for fault in verify(world.store(), say=quiet)[1])


def test_gates_and_cases_lie_beside_the_goldens(world: World) -> None:
    (world.own / "gates.toml").write_text("")
    refresh(world.store(source="hub"), say=quiet)
    assert status(world.store()).fresh


def test_a_recorded_case_that_nobody_declares_is_a_fault(world: World) -> None:
    found = status(world.store(replace(REFERENCE, cases=(HELLO,))))
    assert found.cases[0].state == "fresh"
    assert "declares no case flight" in found.faults[0]
    assert not found.fresh


def test_a_system_without_cases_is_not_fresh(tmp_path: Path) -> None:
    assert not status(World(tmp_path).store(replace(REFERENCE, cases=()))).fresh


def test_a_tensor_kept_whole_is_bit_for_bit_the_recorded_one(world: World) -> None:
    kept = load_file(world.own / "hello.safetensors")["whole/encoder/outputs/hidden"]
    assert np.array_equal(kept, world.store().load(HELLO)["encoder"].outputs["hidden"])
    assert json.loads((world.own / "lock.json").read_text())["schema"] == 1
