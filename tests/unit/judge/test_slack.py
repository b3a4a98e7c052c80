import math

import pytest

from parity.judge.calibrate import Measured
from parity.judge.gates import Gates, parse
from parity.judge.slack import slack


def gates(entry: str) -> Gates:
    return parse(f"[vocoder.fp16.x_pre]\n{entry}", "gates.toml")


def measured(metric: str, *values: float) -> list[Measured]:
    return [Measured("vocoder", "fp16", "x_pre", metric, value, str(case), "fp32") for case, value in enumerate(values)]


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


def test_the_ratio_that_counts_as_slack_can_be_chosen() -> None:
    entry, values = 'relative_l2 = { max = 0.02, derived_from = "m" }', measured("relative_l2", 0.002, 0.002)
    assert len(slack(gates(entry), values, ratio=5)) == 1


@pytest.mark.parametrize("records", [[], measured("gain_db", 0.1, 0.1)])
def test_no_measurement_of_any_gate_is_an_error(records: list[Measured]) -> None:
    with pytest.raises(ValueError, match="no measurement belongs to any gate"):
        slack(gates('relative_l2 = { max = 0.1, derived_from = "m" }'), records)
