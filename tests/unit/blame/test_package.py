"""A failure is traced to its op, its place in the source and its kind, for each fault that a port has had."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milrun
from parity.base.cache import Cache
from parity.base.paths import project
from parity.blame.failure import Failure
from parity.blame.package.runs import Runs
from parity.blame.package.search import blame_package
from parity.build.convert import call, compress, convert, traceable
from parity.build.palettes import Palettes
from parity.declarations import Arrays, Stage, Variant
from parity.verdict import Blame
from tests.milrun.editing import block_of, edit
from tests.support import small_stages as small
from tests.support.small_stages import FP16, FP32, PAL4, Modules, line, signal

Blamed = Callable[..., Blame]


@pytest.fixture
def blamed(tmp_path: Path) -> Blamed:
    """Blames the package of one module for not being that of another."""

    def find(
        right: Modules, wrong: Modules | None = None, x: np.ndarray | None = None, variant: Variant = FP32
    ) -> Blame:
        given = {"x": signal() if x is None else x}
        stage, package = small.stage(right), tmp_path / "small.mlpackage"
        convert(stage, variant, traceable(small.stage(wrong or right), None), package, {})
        if variant.compressed:
            plain, package = package, tmp_path / "palettized.mlpackage"
            compress(variant, plain, package, {}, Palettes(Cache(tmp_path / "cache")))
        module = traceable(stage, None)
        candidate = milrun.load(package).predict(given)

        def uncompressed() -> Path:
            convert(stage, variant, module, tmp_path / "right.mlpackage", {})
            return tmp_path / "right.mlpackage"

        return blame(stage, variant, package, given, call(module, stage, given), candidate, uncompressed=uncompressed)

    return find


def blame(
    stage: Stage,
    variant: Variant,
    package: Path,
    inputs: Arrays,
    reference: Arrays,
    candidate: Arrays,
    output: str = "y",
    numerics: str = "declared",
    uncompressed: Callable[[], Path] | None = None,
    module_holds: bool = False,
) -> Blame:
    runs = Runs(
        failure=Failure(stage=stage, inputs=inputs, reference=reference, candidate=candidate, outputs=[output]),
        variant=variant,
        package=package,
        uncompressed=uncompressed or (lambda: package),
        module=traceable(stage, None),
        module_holds=lambda: module_holds,
        numerics=numerics,
    )
    found = blame_package(runs)
    assert found.stage == "small"
    assert str(project().root) not in str(found), "a path of this machine tells nobody else anything"
    return found


def test_x_modulo_1_is_named_with_its_line_and_the_mend(blamed: Blamed) -> None:
    found = blamed(small.Turns)
    assert (found.fault, found.op_type, found.looks_like) == ("graph", "sub", "zero")
    assert line("part = turns % 1").match(found.source)
    assert "H01" in found.detail
    assert "x - torch.floor(x)" in found.detail


def test_a_value_is_named_by_the_line_that_computes_it_and_not_by_one_that_lays_it_out(blamed: Blamed) -> None:
    found = blamed(small.Laid, small.LaidByModulo)
    assert found.source.endswith("in part: return x - torch.floor(x)")


def test_atan2_is_named_where_its_angle_is_off_by_pi(blamed: Blamed) -> None:
    found = blamed(small.Angle)
    assert found.fault == "graph"
    assert re.match(r"phase off by π in \d", found.looks_like)
    assert line("angle = torch.atan2(up, right)").match(found.source)
    assert "H03" in found.detail
    assert "atan2 became" in found.detail


def test_the_epsilon_of_a_reciprocal_is_named_with_its_line(blamed: Blamed) -> None:
    found = blamed(small.Reciprocal)
    assert found.fault == "graph"
    assert line("return 1 / small").match(found.source)
    assert "H19" in found.detail


def test_the_epsilon_of_a_reciprocal_that_the_converter_computed_is_named_too(blamed: Blamed) -> None:
    found = blamed(small.Snake)
    assert line("bent = (self.alpha + 1e-9).reciprocal() * wave").match(found.source)
    assert "known hazard H19 (the reciprocal epsilon" in found.detail


def test_a_gain_in_weights_is_named_with_the_parameter(blamed: Blamed) -> None:
    found = blamed(small.Small, small.TooLoud)
    assert (found.fault, found.op_type, found.looks_like) == ("weights", "conv", "gain 1.05×")
    assert line("return torch.sigmoid(self.second(hidden)) * 0.5").match(found.source)
    assert "`second.weight`: relative L2 0.05, they are not the module's: gain 1.05×" in found.detail


def test_weights_that_are_swapped_in_the_package_are_named_with_their_channels(blamed: Blamed) -> None:
    found = blamed(small.Small, small.ChannelsSwapped)
    assert (found.fault, found.op_type) == ("weights", "conv")
    assert "`second.weight`: relative L2 0." in found.detail
    assert "they are not the module's: permutation of axis 0: 3 is 5, 5 is 3" in found.detail


def test_weights_of_another_layer_are_named_with_both_layers(blamed: Blamed) -> None:
    found = blamed(small.Small, small.LayersSwapped)
    assert found.fault == "weights"
    assert re.search(r"`first\.weight`: relative L2 [\d.]+, it holds the values of `second\.weight`", found.detail)
    assert re.search(r"`second\.weight`: relative L2 [\d.]+, it holds the values of `first\.weight`", found.detail)


def test_an_op_that_takes_as_many_arguments_by_other_names_is_another_graph(tmp_path: Path) -> None:
    stage, given = small.stage(small.Centered), {"x": signal()}
    module, plain, package = traceable(stage, None), tmp_path / "right.mlpackage", tmp_path / "wrong.mlpackage"
    convert(stage, FP32, module, plain, {})
    compress(PAL4, plain, package, {}, Palettes(Cache(tmp_path / "cache")))

    def rename(spec: Any) -> None:
        (norm,) = (op for op in block_of(spec).operations if op.type == "layer_norm")
        norm.inputs["beta"].CopyFrom(norm.inputs.pop("gamma"))

    edit(package, rename)
    candidate, reference = milrun.load(package).predict(given), call(module, stage, given)
    blame(stage, PAL4, package, given, reference, candidate, uncompressed=lambda: plain)


def test_the_gates_of_an_lstm_in_another_order_are_told(blamed: Blamed) -> None:
    found = blamed(small.Recurrent, small.GatesSwapped)
    assert (found.fault, found.op_type) == ("weights", "lstm")
    assert "permutation of its 4 gates along axis 0: 0, 1, 3, 2" in found.looks_like + found.detail
    assert line("heard, _ = self.lstm(x.transpose(1, 2))").match(found.source)


def test_a_wrong_constant_is_named_by_the_op_that_multiplies_with_it(blamed: Blamed) -> None:
    found = blamed(small.Small, small.WrongFactor)
    assert (found.fault, found.value, found.op_type, found.looks_like) == ("graph", "y", "mul", "gain 1.1×")
    assert (found.op_index, found.op_count) == (5, 5)
    assert found.detail == "it computes with 0.55 where the module has 0.5"
    assert line("return torch.sigmoid(self.second(hidden)) * 0.5").match(found.source)


def test_what_a_normalisation_takes_away_is_not_blamed(blamed: Blamed) -> None:
    found = blamed(small.Normalized, small.NormalizedWrongFactor)
    assert (found.value, found.op_type, found.looks_like) == ("y", "mul", "gain 1.2×")


def test_a_shift_by_one_frame_is_named_though_the_package_counts_its_values_otherwise(blamed: Blamed) -> None:
    found = blamed(small.Small, small.OneFrameLate, x=signal(1000))
    assert found.fault == "graph"
    assert found.looks_like.startswith("shift by +1")
    assert line("hidden = torch.tanh(self.first(x))").match(found.source)


def test_nan_is_named_where_it_comes_up(blamed: Blamed) -> None:
    found = blamed(small.Small, small.NotANumber)
    assert found.fault == "graph"
    assert found.looks_like.startswith("nan in ")
    assert line("hidden = torch.tanh(self.first(x))").match(found.source)


def test_palettization_to_4_bits_is_told_from_a_wrong_graph_with_the_tensors_that_lose_most(blamed: Blamed) -> None:
    found = blamed(small.Small, variant=PAL4)
    assert (found.fault, found.op_type) == ("weights", "conv")
    assert re.search(r"`(first|second)\.weight`: 4 bits, 16 distinct values, relative L2 0\.", found.detail)
    assert "the same graph with the module's own weights is" in found.detail
    assert "H13" in found.detail


def test_quantization_to_integers_is_told_with_its_bits(blamed: Blamed) -> None:
    found = blamed(small.Small, variant=Variant("fp16-int8", "float16", quantize=True))
    assert found.fault == "weights"
    assert re.search(r"`(first|second)\.weight`: 8 bits, \d+ distinct values, relative L2 0\.", found.detail)


def test_a_wrong_graph_is_told_from_palettization(blamed: Blamed) -> None:
    found = blamed(small.Small, small.WrongFactor, variant=Variant("fp32-pal8", "float32", palettize=8))
    assert (found.fault, found.op_type, found.looks_like) == ("graph", "mul", "gain 1.1×")


def test_wrong_weights_are_told_from_palettized_ones(blamed: Blamed) -> None:
    found = blamed(small.Small, small.TooLoud, variant=Variant("fp32-pal8", "float32", palettize=8))
    assert found.looks_like.startswith("gain 1.05×")
    assert re.search(r"`second\.weight`: 8 bits, \d+ distinct values, relative L2 0\.05, they are not", found.detail)
    assert "H13" not in found.detail


def test_a_phase_accumulated_in_half_precision_is_named_at_its_sine(blamed: Blamed) -> None:
    found = blamed(small.Phase, x=np.abs(signal(1500)), variant=FP16)
    assert (found.fault, found.op_type) == ("precision", "sin")
    assert line("wave = torch.sin(phase)").match(found.source)
    assert "H08" in found.detail
    assert "has steps of" in blamed(small.Phase, x=np.abs(signal(4000)), variant=FP16).detail


def test_an_overflow_of_half_precision_is_named_where_it_happens(blamed: Blamed) -> None:
    found = blamed(small.Power, x=signal() * 2, variant=FP16)
    assert (found.fault, found.op_type, found.value) == ("precision", "mul", "power_cast_fp16")
    assert found.looks_like.startswith("saturated")
    assert line("power = loud * loud").match(found.source)
    assert "H17" in found.detail


def test_whole_numbers_past_2048_in_half_precision_are_named(blamed: Blamed) -> None:
    found = blamed(small.Counting, x=np.ones((1, small.CHANNELS, 3000), np.float32), variant=FP16)
    assert found.fault == "precision"
    assert "holds whole numbers up to 3000" in found.detail
    assert "H10" in found.detail


def test_half_precision_of_an_input_is_named_by_the_input(blamed: Blamed) -> None:
    found = blamed(small.Steep, x=signal() * 4, variant=FP16)
    assert (found.fault, found.value, found.op_type) == ("precision", "x", "")
    assert "in half precision is enough" in found.detail


def test_a_size_frozen_by_tracing_is_named_with_both_sizes(blamed: Blamed) -> None:
    found = blamed(small.Frozen)
    assert (found.fault, found.looks_like, found.op_type) == ("graph", "gain 0.4×", "mul")
    assert line("return torch.tanh(x) * int(x.shape[2])").match(found.source)
    assert "tracing froze 16 where these inputs give 40" in found.detail
    assert "H18" in found.detail


def test_noise_baked_at_trace_time_is_named(blamed: Blamed) -> None:
    found = blamed(small.Baked)
    assert found.fault == "graph"
    assert line("noise = torch.tensor(drawn, dtype=torch.float32)").match(found.source)
    assert "tracing froze the numbers of a tensor of shape (1, 32, 1)" in found.detail


def test_a_package_that_these_inputs_break_is_told_with_its_op_and_what_tracing_froze(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="parity")  # NeMo, where it is imported, allows errors only
    stage, package, given = small.stage(small.FrozenShape), tmp_path / "small.mlpackage", {"x": signal()}
    module = traceable(stage, None)
    convert(stage, FP32, module, package, {})
    reference = call(module, stage, given)
    found = blame(stage, FP32, package, given, reference, {"y": 2 * reference["y"]})
    assert found.fault == "graph"
    assert line("return torch.tanh(x).reshape(1, CHANNELS, int(x.shape[2]))").match(found.source)
    assert "failed" in found.detail
    assert "tracing froze 16 where these inputs give 40" in found.detail
    assert any(record.exc_info for record in caplog.records), "the traceback is in the log"


@pytest.mark.parametrize("numerics", ["fp32", "ane"])
def test_a_failure_in_other_numerics_is_searched_in_them(tmp_path: Path, numerics: str) -> None:
    stage, package, given = small.stage(small.Turns), tmp_path / "small.mlpackage", {"x": signal()}
    module = traceable(stage, None)
    convert(stage, FP16, module, package, {})
    candidate = milrun.load(package, numerics=numerics).predict(given)
    found = blame(stage, FP16, package, given, call(module, stage, given), candidate, numerics=numerics)
    assert (found.fault, found.op_type) == ("graph", "sub")
    assert "H01" in found.detail


@pytest.fixture
def two_outputs(tmp_path: Path) -> tuple[Stage, Path, Arrays, Arrays]:
    """A stage, its sound package, inputs, and what both give."""
    stage, package, given = small.stage(small.FirstOnly, "y", "z"), tmp_path / "small.mlpackage", {"x": signal()}
    module = traceable(stage, None)
    convert(stage, FP32, module, package, {})
    return stage, package, given, call(module, stage, given)


def test_a_dropped_output_is_missing(two_outputs: tuple[Stage, Path, Arrays, Arrays]) -> None:
    stage, package, given, reference = two_outputs
    found = blame(stage, FP32, package, given, reference, {"y": reference["y"]}, "z")
    assert (found.fault, found.output, found.looks_like) == ("graph", "z", "missing")
    assert found.detail == "the package gives `y`"
    assert line("hidden = torch.tanh(self.first(x))").match(found.source)


def test_a_renamed_output_is_told_from_a_missing_one(two_outputs: tuple[Stage, Path, Arrays, Arrays]) -> None:
    stage, package, given, reference = two_outputs
    found = blame(stage, FP32, package, given, reference, {"y": reference["y"], "var_7": reference["z"]}, "z")
    assert found.looks_like == "renamed to var_7"
    stranger = {"y": reference["y"], "var_7": 2 * reference["z"]}
    assert blame(stage, FP32, package, given, reference, stranger, "z").looks_like == "missing"
    extra = {**reference, "var_7": reference["z"]}
    assert blame(stage, FP32, package, given, reference, extra, "var_7").looks_like == "unexpected"


def test_a_wrong_shape_and_a_wrong_dtype_are_told(two_outputs: tuple[Stage, Path, Arrays, Arrays]) -> None:
    stage, package, given, reference = two_outputs
    short = {**reference, "y": reference["y"][:, :, :-1]}
    assert blame(stage, FP32, package, given, reference, short).looks_like == "shape (1, 32, 39) instead of (1, 32, 40)"
    half = {**reference, "y": reference["y"].astype(np.float16)}
    assert blame(stage, FP32, package, given, reference, half).looks_like == "dtype float16 instead of float32"


def test_a_sound_package_leaves_the_runtime_to_blame(two_outputs: tuple[Stage, Path, Arrays, Arrays]) -> None:
    stage, package, given, reference = two_outputs
    found = blame(stage, FP32, package, given, reference, {**reference, "y": -reference["y"]})
    assert (found.fault, found.looks_like) == ("unknown", "sign flipped")
    assert "the runtime or the device is to blame" in found.detail


def test_a_module_that_is_wrong_already_is_blamed_before_its_package(
    two_outputs: tuple[Stage, Path, Arrays, Arrays],
) -> None:
    stage, package, given, gives = two_outputs
    found = blame(stage, FP32, package, given, {**gives, "y": gives["y"] / 1.5}, gives)
    assert (found.fault, found.looks_like) == ("module", "gain 1.5×")
    assert "hop 1" in found.detail


def test_a_module_that_is_within_its_bounds_is_not_accused(two_outputs: tuple[Stage, Path, Arrays, Arrays]) -> None:
    stage, package, given, gives = two_outputs
    found = blame(stage, FP32, package, given, {**gives, "y": gives["y"] / 1.5}, gives, module_holds=True)
    assert found.fault != "module"


def test_a_search_that_fails_is_logged_and_told_and_not_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage, given = small.stage(small.Small), {"x": signal()}
    wrong = {"y": 2 * call(traceable(stage, None), stage, given)["y"]}
    reference = {"y": wrong["y"] / 2}
    gone = tmp_path / "gone.mlpackage"
    runs = Runs(
        failure=Failure(stage=stage, inputs=given, reference=reference, candidate=wrong, outputs=["y"]),
        variant=FP32,
        package=gone,
        uncompressed=lambda: gone,
        module=traceable(stage, None),
        module_holds=lambda: True,
        numerics="declared",
    )
    found = runs.failure.searched(lambda: blame_package(runs))
    assert (found.fault, found.looks_like) == ("unknown", "gain 2×")
    assert found.detail.startswith("blame itself failed: ")
    assert any(record.exc_info for record in caplog.records), "the traceback is in the log"
