import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.compare import metrics
from parity.gate.bounds import loosened
from parity.judge.calibrate import CalibrationError, Measured, calibrate, counted, propose, slack, write
from parity.judge.gates import GateError, Gates, Origin, bound_from, gate, load, parse
from parity.verdict import Check, number

CASES = ("hello", "flight", "millbrook")


def one(metric: str, value: float, output: str, case: str, numerics: str) -> Measured:
    check = Check(
        system="tiny", stage="vocoder", variant="fp16", case=case, mode="forced", runtime="milrun", numerics=numerics
    )
    return Measured(check, output, metric, value)


def measured(metric: str, *values: float, output: str = "x_pre", numerics: str = "declared") -> list[Measured]:
    named = zip(CASES, values, strict=False)
    return [one(metric, value, output, case, numerics) for case, value in named]


def bound(metric: str, *values: float) -> float | None:
    return bound_from(metrics.find(metric), values)


def gates(entry: str) -> Gates:
    return parse(f"[vocoder.fp16.x_pre]\n{entry}", "gates.toml")


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        ("cosine", (0.999995, 0.999999), 0.999985),
        ("cosine", (1.0, 1.0), 0.999999),
        ("relative_l2", (0.0031, 0.0024), 0.0093),
        ("relative_l2", (0.00777, 0.001), 0.024),
        ("relative_l2", (1e-9, 2e-9), 1e-5),
        ("rms_ratio", (0.999, 1.0004), 0.003),
        ("gain_db", (-0.1, 0.05), 0.3),
        ("frames_equal", (1.0, 1.0), 1.0),
        ("frames_equal", (0.99, 1.0), 0.97),
        ("voicing_agreement", (1.0, 1.0), 1.0),
        ("shift", (0.0, 0.0), 0.0),
    ],
)
def test_a_bound_leaves_three_times_the_worst_distance_rounded_outward(
    metric: str, values: tuple[float, ...], expected: float
) -> None:
    assert bound(metric, *values) == expected


@pytest.mark.parametrize(("metric", "value"), [("cosine", 0.8), ("relative_l2", 0.4), ("rms_ratio", 1.5)])
def test_no_bound_is_suggested_that_could_hardly_fail(metric: str, value: float) -> None:
    assert bound(metric, value, value) is None


@settings(max_examples=200)
@given(st.sampled_from(sorted(metrics.METRICS)), st.lists(st.floats(0, 10), min_size=2, max_size=5))
def test_a_suggested_bound_holds_everything_it_was_taken_from(metric: str, distances: list[float]) -> None:
    declared = metrics.find(metric)
    sign = -1 if declared.better == "higher" else 1
    values = [declared.ideal + sign * distance for distance in distances]
    records = [one(metric, value, "c", str(n), "fp32") for n, value in enumerate(values)]
    proposed = propose(records, Gates(()))[0].gates
    worst = float(number(max(values, key=declared.distance)))
    assert len(proposed) == (bound(metric, worst) is not None)
    for made in proposed:
        assert made.room < declared.limit
        assert all(made.check(value).passed for value in values)
        assert isinstance(made.derived_from, Origin)
        assert bound(metric, made.derived_from.worst) == made.bound.limit, made


def test_a_new_gate_says_what_it_was_derived_from() -> None:
    records = [*measured("relative_l2", 0.0031, 0.0024), *measured("relative_l2", 0.002, 0.001, numerics="fp32")]
    (found,) = propose(records, Gates(()))[0].gates
    assert found.derived_from == Origin(worst=0.0031, median=0.0022, cases=2, numerics="declared, fp32")
    assert str(found.derived_from) == "worst 0.0031, median 0.0022 of 2 cases × declared, fp32"


def test_a_bound_tightens_and_keeps_its_reason() -> None:
    current = gates('relative_l2 = { max = 0.1, derived_from = "guess", reason = "8 bits" }')
    (found,) = propose(measured("relative_l2", 0.001, 0.002), current)[0].gates
    assert (found.bound.limit, found.reason) == (0.006, "8 bits")
    assert found.derived_from != "guess"


def test_a_bound_loosens_only_for_a_reason(tmp_path: Path) -> None:
    path, records = tmp_path / "gates.toml", measured("relative_l2", 0.02, 0.03)
    before = gates('relative_l2 = { max = 0.02, derived_from = "m", reason = "8 bits" }')
    write(before, path)
    (line,) = calibrate(records, path)
    assert "≤ 0.02 is broken and stays; worst 0.03 suggests ≤ 0.09, which needs a reason" in line
    assert load(path) == before
    (line,) = calibrate(records, path, "4 bits")
    assert "≤ 0.02 → ≤ 0.09, loosened: 4 bits" in line
    (found,) = load(path).gates
    assert (found.bound.limit, found.reason) == (0.09, "8 bits; 4 bits")
    assert [found.problem for found in loosened(before, load(path))] == [""]


def test_the_reason_that_a_bound_has_does_not_loosen_it() -> None:
    current = gates('relative_l2 = { max = 0.02, derived_from = "m", reason = "8 bits" }')
    assert propose(measured("relative_l2", 0.02, 0.03), current, "8 bits")[0] == current


def test_a_tight_bound_that_holds_with_room_is_left_alone() -> None:
    current = gates('relative_l2 = { max = 0.02, derived_from = "by hand" }')
    assert propose(measured("relative_l2", 0.009, 0.01), current, "another machine")[0] == current


def test_gates_that_were_not_measured_stay_and_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "gates.toml"
    write(gates('cosine = { min = 0.9, derived_from = "m" }'), path)
    lines = calibrate(measured("relative_l2", 0.001, 0.002), path)
    assert [gate.metric for gate in load(path).gates] == ["cosine", "relative_l2"]
    assert any("new, ≤ 0.006" in line for line in lines)
    assert "not measured, and left as they are: 1" in lines


def test_a_retired_gate_is_not_proposed_again() -> None:
    current = gates('cosine = { min = 0.9, derived_from = "m" }\n[retired]\n"vocoder.fp16.x_pre.shift" = "a tone"')
    assert propose(measured("shift", 0.0, 0.0), current)[0] == current


def test_what_is_too_bad_for_a_bound_is_reported_and_not_gated(tmp_path: Path) -> None:
    path = tmp_path / "gates.toml"
    lines = calibrate([*measured("cosine", 0.2, 0.3), *measured("gain_db", 0.1, 0.2)], path)
    assert [gate.metric for gate in load(path).gates] == ["gain_db"]
    assert any("cosine: worst 0.2" in line and "could hardly fail" in line for line in lines)
    with pytest.raises(CalibrationError, match="no gate can be made"):
        calibrate(measured("cosine", 0.2, 0.3), tmp_path / "none.toml")


def test_calibrating_again_moves_nothing(tmp_path: Path) -> None:
    path, records = tmp_path / "gates.toml", [*measured("cosine", 0.9999, 0.99995), *measured("gain_db", 0.1, -0.2)]
    calibrate(records, path)
    text = path.read_bytes()
    assert calibrate(records, path) == ["no bound moved: 4 measurements agree with them"]
    assert path.read_bytes() == text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_stops_the_calibration(tmp_path: Path, value: float) -> None:
    with pytest.raises(CalibrationError, match=rf"x_pre.cosine measured {value} \(case flight, declared\)"):
        calibrate(measured("cosine", 1.0, value), tmp_path / "gates.toml")
    assert not (tmp_path / "gates.toml").exists()


def test_one_measurement_has_no_spread() -> None:
    with pytest.raises(CalibrationError, match="one value has no spread"):
        propose(measured("cosine", 0.9999), Gates(()))
    with pytest.raises(CalibrationError, match="one value has no spread"):
        propose(measured("cosine", 0.9999) * 3, Gates(()))


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(CalibrationError, match="nothing was measured"):
        propose([], Gates(()))


def test_an_unknown_metric_is_an_error() -> None:
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        propose(measured("cosin", 1.0, 1.0), Gates(()))


def test_the_comment_at_the_head_is_kept_and_no_other_is_lost(tmp_path: Path) -> None:
    path, records = tmp_path / "gates.toml", measured("gain_db", 0.1, 0.2)
    path.write_text('# Gates of a system.\n\n[a.b.c]\ncosine = { min = 0.9, derived_from = "m #1" }\n')
    calibrate(records, path)
    assert path.read_text().startswith("# Gates of a system.\n\n[a.b.c]\n")
    path.write_text(path.read_text() + "# chosen by ear\n")
    text = path.read_text()
    with pytest.raises(CalibrationError, match="the comment in line 8 would be lost"):
        calibrate(records, path)
    assert path.read_text() == text


def test_gates_that_would_not_load_again_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "gates.toml"
    twice = gates('cosine = { min = 0.9, derived_from = "m" }').gates * 2
    for bad in (twice, (gate(("a", "b", "c"), metrics.find("cosine"), -1.0, "m"),)):
        with pytest.raises(GateError):
            write(Gates(bad), path)
    assert list(tmp_path.iterdir()) == []


def test_a_bound_far_looser_than_what_is_measured_is_named_with_a_better_one() -> None:
    (line,) = slack(gates('relative_l2 = { max = 0.1, derived_from = "m" }'), measured("relative_l2", 0.002, 0.001))
    assert line == (
        "vocoder.fp16.x_pre.relative_l2: ≤ 0.1 leaves 50 times the room that the worst of 2 measured values takes, "
        "0.002; calibrated it would be ≤ 0.006"
    )


@pytest.mark.parametrize(
    ("entry", "metric", "worst"),
    [
        ('cosine = { min = 0.9, derived_from = "m" }', "cosine", 0.9999),
        ('rms_ratio = { within = 0.1, derived_from = "m" }', "rms_ratio", 0.999),
        ('frames_equal = { min = 0.99, derived_from = "m" }', "frames_equal", 1.0),
    ],
)
def test_slack_is_told_on_the_scale_of_the_metric(entry: str, metric: str, worst: float) -> None:
    assert len(slack(gates(entry), measured(metric, worst, worst))) == 1


@pytest.mark.parametrize(
    ("entry", "metric", "worst"),
    [
        ('relative_l2 = { max = 0.02, derived_from = "m" }', "relative_l2", 0.002),
        ('cosine = { min = 0.9991, derived_from = "m" }', "cosine", 0.9999),
        ('cosine = { min = 0.999999, derived_from = "m" }', "cosine", 1.0),
        ('frames_equal = { min = 1.0, derived_from = "m" }', "frames_equal", 1.0),
        ('relative_l2 = { max = 0.1, derived_from = "m" }', "relative_l2", math.nan),
        ('relative_l2 = { max = 0.1, derived_from = "m" }', "relative_l2", 0.3),
    ],
)
def test_a_bound_near_what_is_measured_is_no_slack(entry: str, metric: str, worst: float) -> None:
    assert slack(gates(entry), measured(metric, worst, worst)) == []


@pytest.mark.parametrize("records", [[], measured("gain_db", 0.1, 0.1)])
def test_no_measurement_of_any_gate_is_an_error(records: list[Measured]) -> None:
    with pytest.raises(ValueError, match="no measurement belongs to any gate"):
        slack(gates('relative_l2 = { max = 0.1, derived_from = "m" }'), records)


def test_fewer_cases_than_a_bound_rests_on_move_nothing() -> None:
    six = 'derived_from = { worst = 0.0031, median = 0.002, cases = 6, numerics = "declared" }'
    current = gates(f"relative_l2 = {{ max = 0.0093, {six} }}")
    fewer = [*measured("relative_l2", 0.001, 0.0009), *measured("max_relative", 0.5, 0.4)]
    proposed, lines = propose(fewer, current)
    assert proposed.by_name() == current.by_name()
    assert lines == ["1 output rests on more cases than were measured, and keeps its bounds: measure --cases all"]
    proposed, lines = propose(measured("relative_l2", 0.02, 0.001), current)
    assert proposed.by_name() == current.by_name()
    assert "is broken and stays" in lines[0]


def test_it_says_how_many_cases_there_were_and_warns_below_five() -> None:
    five = [one("cosine", 0.999, output, str(case), "declared") for output in ("x_pre", "audio") for case in range(5)]
    assert counted(five) == "5 cases measured"
    fewer = [record for record in five if (record.output, record.check.case) != ("audio", "4")]
    assert counted(fewer).startswith("warning: 5 cases measured; 1 of 2 outputs rest on fewer than 5 (the fewest: 4)")
    assert counted([*five, *measured("cosine", 0.9)]).startswith("6 cases measured")
