"""The stored baseline: read strictly, of one machine only, and never replaced in passing."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.bench import baseline
from parity.bench.baseline import BaselineError, Machine, entry
from tests.support.bench_system import World

MACHINE: Machine = {
    "system": "Linux",
    "model": "",
    "processor": "A processor",
    "cores": 2,
    "threads": 1,
    "runtime": "milrun",
    "numerics": "declared",
    "compute_units": "declared",
}
ENTRY = entry("× eager", {"frames": 12}, [1.2, 1.25, 1.23456789], "2026-11-20")


def recorded(folder: Path) -> str:
    baseline.record(folder, MACHINE, {"tiny-chain-ships-hello": ENTRY}, ["tiny-chain-ships-hello"], "")
    return baseline.path_of(folder, MACHINE).read_text()


def test_a_baseline_is_read_as_it_was_recorded(tmp_path: Path) -> None:
    recorded(tmp_path)
    found = baseline.find(tmp_path, MACHINE)
    assert found is not None
    assert found.machine == MACHINE
    assert found.benchmark == {"tiny-chain-ships-hello": ENTRY}
    assert found.benchmark["tiny-chain-ships-hello"].median == 1.235


def test_p95_is_near_the_worst() -> None:
    assert entry("ms", {}, [float(value) for value in range(1, 22)], "2026-11-20").p95 == 20.0


def test_a_baseline_keeps_some_of_many_samples() -> None:
    few, many = ([1.0 + number / 1000 for number in range(count)] for count in (40, 321))
    assert entry("ms", {}, few, "2026-11-20").samples == few
    kept = entry("ms", {}, many, "2026-11-20").samples
    assert len(kept) == 36
    assert kept[0] == many[0]
    assert kept[-1] > many[-10]


def test_another_machine_has_no_baseline(tmp_path: Path) -> None:
    recorded(tmp_path)
    for changed in ({"processor": "Another"}, {"cores": 8}, {"numerics": "fp32"}, {"threads": 2}):
        other = {**MACHINE, **changed}
        assert baseline.find(tmp_path, other) is None


def test_a_baseline_under_another_machines_name_is_refused(tmp_path: Path) -> None:
    recorded(tmp_path)
    other = {**MACHINE, "cores": 8}
    baseline.path_of(tmp_path, MACHINE).rename(baseline.path_of(tmp_path, other))
    with pytest.raises(BaselineError, match=r"another machine than its name says \(cores differ\)"):
        baseline.find(tmp_path, other)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("median = 1.235", "median = 2.5", "it was edited"),
        ("p95 = ", "p95 = 1", "it was edited"),
        ("1.25", "nan", "a finite number is expected"),
        ("1.25", "-1.25", "greater than 0"),
        ("samples = [1.2, 1.25, 1.235]", "samples = []", "something is expected"),
        ("samples = ", "sample = ", "unknown key 'sample'; did you mean 'samples'"),
        ('unit = "× eager"', 'unit = "s"', "unknown unit 's'"),
        ("{ frames = 12 }", "{ frames = 1.5 }", "a whole number is expected"),
        ("[machine]", "[machines]", "unknown key 'machines'; did you mean 'machine'"),
    ],
)
def test_a_damaged_baseline_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = recorded(tmp_path)
    assert old in text
    with pytest.raises(BaselineError, match=said):
        baseline.parse(text.replace(old, new, 1), "bench.toml")


def test_an_empty_baseline_is_refused() -> None:
    with pytest.raises(BaselineError, match="no bound at all"):
        baseline.parse("", "bench.toml")
    with pytest.raises(BaselineError, match="has no benchmark"):
        baseline.parse('[machine]\nsystem = "Linux"', "bench.toml")


def test_a_baseline_is_replaced_only_for_a_reason(tmp_path: Path) -> None:
    before, name = recorded(tmp_path), "tiny-chain-ships-hello"
    slower = {name: entry("× eager", {"frames": 12}, [2.4, 2.5, 2.6], "2026-11-20")}
    with pytest.raises(BaselineError, match="say why it changes, with --bench-reason"):
        baseline.record(tmp_path, MACHINE, slower, [name], " ")
    assert baseline.path_of(tmp_path, MACHINE).read_text() == before
    assert baseline.record(tmp_path, MACHINE, slower, [name], "fusion is off") == [f"{name}: 1.235 → 2.5 × eager"]
    found = baseline.find(tmp_path, MACHINE)
    assert found is not None
    assert found.benchmark[name].reason == "fusion is off"


def test_recording_a_part_keeps_the_rest_and_takes_out_what_is_gone(tmp_path: Path) -> None:
    names = ["kept", "gone", "new"]
    baseline.record(tmp_path, MACHINE, {"kept": ENTRY, "gone": ENTRY}, names, "")
    said = baseline.record(tmp_path, MACHINE, {"new": ENTRY}, ["kept", "new"], "")
    found = baseline.find(tmp_path, MACHINE)
    assert found is not None
    assert sorted(found.benchmark) == ["kept", "new"]
    assert said == ["new: new, 1.235 × eager", "gone: gone, nothing measures it any more"]


def test_nothing_measured_records_nothing(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="nothing was measured"):
        baseline.record(tmp_path, MACHINE, {}, ["kept"], "because")
    assert list(tmp_path.iterdir()) == []


def test_this_machine_is_told_by_what_makes_times_comparable(tmp_path: Path) -> None:
    bench = World(tmp_path).bench()
    assert set(bench.machine) == set(MACHINE)
    assert bench.machine["processor"]
    assert int(bench.machine["cores"]) >= 1
