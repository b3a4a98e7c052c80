"""What an output must keep to before its values are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from parity.compare.contract import GATES
from parity.compare.contract import check as check_group
from parity.compare.modes import Comparison
from parity.declarations import Dim, Tensor, Variant, f32, i32, real
from parity.verdict import Finding

FRAMES = Dim("frames", 1, 2000)
DECLARED = {"x_pre": real(1, 4, 120 * FRAMES + 1), "F0": f32(1, 2 * FRAMES), "count": i32(1)}
HALF, FULL = Variant("fp16", "float16"), Variant("fp32", "float32")
Arrays = dict[str, np.ndarray]


def golden(frames: int = 3) -> Arrays:
    values = np.random.default_rng(0)
    return {
        "x_pre": values.standard_normal((1, 4, 120 * frames + 1)).astype(np.float32),
        "F0": values.uniform(80, 300, (1, 2 * frames)).astype(np.float32),
        "count": np.array([frames], np.int32),
    }


def actual(frames: int = 3) -> Arrays:
    given = golden(frames)
    return {**given, "x_pre": given["x_pre"].astype(np.float16)}


def dtypes(variant: Variant) -> dict[str, str]:
    return {name: tensor.dtype_in(variant) for name, tensor in DECLARED.items()}


def check(
    declared: Mapping[str, Tensor], given: Mapping[str, np.ndarray], known: Arrays, expected: Mapping[str, str]
) -> list[Finding]:
    return check_group(Comparison(declared, given, known, expected))


def failures(
    given: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray] | None = None, variant: Variant = HALF
) -> list[Finding]:
    findings = check(DECLARED, given, golden() if reference is None else reference, dtypes(variant))
    return [finding for finding in findings if not finding.passed]


def only_failure(given: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray] | None = None) -> Finding:
    found = failures(given, reference)
    assert len(found) == 1, [finding.line() for finding in found]
    return found[0]


def test_what_keeps_to_the_declaration_passes_every_gate_of_every_output() -> None:
    findings = check(DECLARED, actual(), golden(), dtypes(HALF))
    assert all(finding.passed for finding in findings)
    looked_at = {(finding.output, finding.gate) for finding in findings}
    assert looked_at == {(name, gate) for name in DECLARED for gate in GATES if gate != "declared"}
    assert all(finding.line() for finding in findings)


def test_a_stage_without_outputs_is_refused() -> None:
    with pytest.raises(ValueError, match="no output is declared"):
        check({}, {}, {}, {})


def test_a_missing_output_fails_and_says_what_there_is() -> None:
    given = actual()
    del given["F0"]
    assert only_failure(given).line() == "F0: missing: the artifact gave x_pre, count"


def test_no_outputs_at_all_fail_for_each_that_is_declared() -> None:
    assert [(found.output, found.gate) for found in failures({})] == [(name, "present") for name in DECLARED]


def test_a_renamed_output_is_missing_and_undeclared_and_recognized() -> None:
    given = actual()
    given["var_42"] = given.pop("x_pre")
    missing, undeclared = failures(given)
    assert (missing.output, missing.gate) == ("x_pre", "present")
    assert (undeclared.output, undeclared.gate) == ("var_42", "declared")
    assert undeclared.message.endswith("is it 'x_pre', renamed?")


def test_an_unexpected_output_fails() -> None:
    found = only_failure({**actual(), "anchor": np.ones(1, np.float16)})
    assert (found.output, found.gate, found.message) == ("anchor", "declared", "given, but not declared")


def test_an_output_that_the_golden_has_and_nobody_declares_fails() -> None:
    found = only_failure(actual(), {**golden(), "N": np.ones(3)})
    assert (found.output, found.gate) == ("N", "declared")
    assert "nothing would compare it" in found.message


def test_an_output_that_is_no_array_fails() -> None:
    given: dict[str, object] = {**actual(), "count": 3}
    found = [found for found in check(DECLARED, given, golden(), dtypes(HALF)) if not found.passed]  # type: ignore[arg-type]
    assert [(one.gate, one.message) for one in found] == [("present", "is of type int, not an array")]


def test_a_dtype_other_than_the_variants_fails() -> None:
    found = only_failure({**actual(), "x_pre": golden()["x_pre"]})
    assert found.gate == "dtype"
    assert found.message == "dtype float32 where float16 is expected"


def test_the_dtypes_to_expect_can_be_those_of_the_runtime() -> None:
    expected = {"x_pre": "float32", "F0": "float32", "count": "int32"}
    findings = check(DECLARED, golden(), golden(), expected)
    assert all(finding.passed for finding in findings)
    wrong = [finding for finding in check(DECLARED, actual(), golden(), expected) if not finding.passed]
    assert [(finding.output, finding.gate) for finding in wrong] == [("x_pre", "dtype")]


def test_real_is_the_precision_of_the_variant() -> None:
    assert not failures(golden(), variant=FULL)
    assert [found.gate for found in failures(actual(), variant=FULL)] == ["dtype"]


def test_a_dimension_frozen_at_another_size_fails_though_it_keeps_to_the_declaration() -> None:
    frozen = {**actual(), "x_pre": actual(2)["x_pre"]}
    found = only_failure(frozen)
    assert found.gate == "shape"
    assert found.message == (
        "shape (1, 4, 241) where the reference has (1, 4, 361): axis 2 is 241 where 120·frames+1 is 361"
    )


def test_all_outputs_frozen_alike_fail_each() -> None:
    assert [(found.output, found.gate) for found in failures(actual(2))] == [("x_pre", "shape"), ("F0", "shape")]


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((4, 361), "rank 2 where 3 is declared"),
        ((1, 5, 361), "axis 1 is 5 where 4 is declared"),
        ((1, 4, 360), "axis 2 is 360 where 120·frames+1 is 361"),
        ((), "rank 0 where 3 is declared"),
    ],
)
def test_a_shape_that_does_not_fit_the_declaration_fails(shape: tuple[int, ...], says: str) -> None:
    values = np.random.default_rng(0).standard_normal(shape)
    found = only_failure({**actual(), "x_pre": np.asarray(values, np.float16)})
    assert found.gate == "shape"
    assert says in found.message


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_values_that_are_not_finite_fail_with_their_number_and_the_first_place(poison: float) -> None:
    given = actual()
    given["x_pre"][0, 2, 360] = poison
    given["x_pre"][0, 3, 7] = math.nan
    found = only_failure(given)
    assert found.gate == "finite"
    assert "2 of 1444 values are not finite" in found.message
    assert found.message.endswith("the first at (0, 2, 360)")
    assert ("1 NaN, 1 infinite" in found.message) == math.isinf(poison)


@pytest.mark.parametrize("value", [0, 0.5])
def test_a_constant_output_fails_where_the_reference_varies(value: float) -> None:
    given = actual()
    given["x_pre"][:] = value
    found = only_failure(given)
    assert found.gate == "varies"
    assert found.message == f"all 1444 values are {value:g}: the reference varies"


def test_a_constant_output_passes_where_the_reference_is_as_constant() -> None:
    reference, given = golden(), actual()
    reference["x_pre"][:] = given["x_pre"][:] = 2
    findings = check(DECLARED, given, reference, dtypes(HALF))
    assert all(finding.passed for finding in findings)
    assert "constant, as the reference is" in [finding.message for finding in findings]


def test_zeros_fail_where_the_reference_is_another_constant() -> None:
    reference, given = golden(), actual()
    reference["x_pre"][:], given["x_pre"][:] = 2, 0
    assert only_failure(given, reference).message == "zero where the reference is 2"


def test_a_single_value_may_be_anything_but_zero_in_place_of_something() -> None:
    assert not failures({**actual(), "count": np.array([7], np.int32)})
    found = only_failure({**actual(), "count": np.array([0], np.int32)})
    assert (found.gate, found.message) == ("varies", "zero where the reference is 3")
    assert not failures({**actual(), "count": np.array([0], np.int32)}, {**golden(), "count": np.array([0], np.int32)})


def test_an_empty_output_fails() -> None:
    found = {one.gate for one in failures({**actual(), "x_pre": np.zeros((1, 4, 0), np.float16)})}
    assert found == {"shape", "varies"}


def test_a_golden_without_the_output_fails() -> None:
    reference = golden()
    del reference["F0"]
    found = only_failure(actual(), reference)
    assert (found.output, found.gate) == ("F0", "golden")
    assert "no such output" in found.message


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros((1, 4, 0)), "is empty"),
        (np.full((1, 4, 361), math.nan), "1444 of 1444 values are not finite"),
        (np.ones((1, 4, 360)), "doesn't fit the declaration: axis 2 is 360"),
    ],
)
def test_a_golden_that_nothing_can_be_compared_with_fails(values: np.ndarray, says: str) -> None:
    found = next(one for one in failures(actual(), {**golden(), "x_pre": values}) if one.gate == "golden")
    assert found.output == "x_pre"
    assert says in found.message


def test_outputs_that_are_not_numbers_fail() -> None:
    declared = {"text": Tensor("float32", (1,))}
    given, reference = {"text": np.array(["a"])}, {"text": np.ones(1, np.float32)}
    findings = check(declared, given, reference, {"text": "float32"})
    assert {found.gate for found in findings if not found.passed} == {"dtype", "finite"}
