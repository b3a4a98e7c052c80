"""The gates on a package alone: each passes on what is built, and fails on what is built wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.models.utils import load_spec
from coremltools.optimize import coreml
from torch import nn

from parity.base.cache import Cache
from parity.build.artifacts import Built, uncompressed
from parity.declarations import ComputeUnits, Dim, Stage, Variant, f32, real
from parity.judge import compression
from parity.judge.package import findings
from parity.plan.weights import choose
from parity.run.program import Weight
from parity.verdict import Finding
from tests.support import stepping_system as small

FRAMES = Dim("frames", 4, 200)
PLAIN, SINGLE = Variant("fp16", "float16", ships=True), Variant("fp32", "float32")
PALETTES = {bits: Variant(f"fp16-pal{bits}", "float16", palettize=bits) for bits in (2, 4, 6, 8)}
INT8 = Variant("int8", "float16", quantize=True, compute_units="CPU_AND_NE")
SPARING = replace(INT8, name="int8-sparing", spared=("out",))
LARGE = replace(INT8, name="int8-large", fewest=1025)
SHIFTED = replace(INT8, name="int8-shifted", zero_points=True)
GROUPED = Variant("int4", "float16", group=32, target="iOS18", compute_units="CPU_AND_NE")
ROWS = replace(GROUPED, name="int4-rows", group=64)
PRUNED = Variant("pruned", "float16", prune=0.08)
VARIANTS = (PLAIN, SINGLE, *PALETTES.values(), INT8, SPARING, LARGE, SHIFTED, PRUNED)
MODEL = "Data/com.apple.CoreML/model.mlmodel"
GATES = {"alias", "unread", "manifest", "compression", "hazard"}


class Wide(nn.Module):
    """Weights that are worth compressing: the palettizer leaves small ones alone."""

    def __init__(self, upstream: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.key, self.out, self.small = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 8)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.tanh(self.key(x))
        return self.out(hidden) * 2, self.small(hidden) * 2


class Passing(Wide):
    """Hands one of its inputs out again, in a way that is folded away."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.out(x), x + 0.0


def stage(module: Any = Wide, target: str = "iOS17", second: int = 8) -> Stage:
    x, y, z = real(1, FRAMES, 64), real(1, FRAMES, 64), real(1, FRAMES, second)
    return Stage("wide", module, {"x": x}, {"y": y, "z": z}, VARIANTS, trace_at={"frames": 16}, target=target)


WIDE = stage()
Build = Callable[..., Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    cache = Cache(tmp_path_factory.mktemp("structure"))
    artifacts = Built(small.system(), choose(small.REFERENCE, "seeded", cache), cache)
    return lambda variant, stage=WIDE: artifacts.get(stage, variant).package


def judged(package: Path, variant: Variant, stage: Stage = WIDE) -> dict[str, Finding]:
    return {found.gate: found for found in findings(package, stage, variant)}


def failed(package: Path, variant: Variant, stage: Stage = WIDE) -> dict[str, str]:
    return {gate: found.message for gate, found in judged(package, variant, stage).items() if not found.passed}


def edited(package: Path, folder: Path, edit: Callable[[Any], None]) -> Path:
    """The package again, with something in its program changed by hand."""
    shutil.copytree(package, folder / package.name)
    spec = load_spec(str(package))
    edit(spec)
    (folder / package.name / MODEL).write_bytes(spec.SerializeToString())
    return folder / package.name


def block(spec: Any) -> Any:
    (found,) = spec.mlProgram.functions["main"].block_specializations.values()
    return found


@pytest.mark.parametrize("target", ["iOS17", "iOS18"])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_what_is_built_is_what_its_label_says(build: Build, variant: Variant, target: str) -> None:
    assert set(judged(build(variant, stage(target=target)), variant)) == GATES
    assert failed(build(variant, stage(target=target)), variant) == {}


@pytest.mark.parametrize("target", ["iOS17", "iOS18"])
@pytest.mark.parametrize(
    ("package", "label", "said"),
    [
        (PLAIN, PALETTES[4], "2 of 2 weights not palettized, as the variant says, the first `key_weight_to_fp16`"),
        (PLAIN, INT8, "3 of 3 weights not quantized, as the variant says, the first `key_weight_to_fp16` fp16[64, 64]"),
        (PALETTES[4], PLAIN, "`key_weight_to_fp16_palettized` and 1 more are palettized, and the variant is not to be"),
        (PALETTES[4], PALETTES[6], "`key_weight_to_fp16_palettized`: 16 entries where 64 are expected"),
        (PALETTES[2], PALETTES[6], "4 entries where 64 are expected"),
        (PALETTES[8], PALETTES[6], "2 of 2 palettes are not of 6 bits, as the variant says"),
        (INT8, PLAIN, "`key_weight_to_fp16_quantized` and 2 more are quantized, and the variant is not to be"),
        (PALETTES[4], INT8, "palettized, and the variant is not to be"),
        (INT8, SPARING, "`out_weight_to_fp16_quantized` is quantized, and the variant spares it"),
        (PLAIN, PRUNED, "not pruned, as the variant says: no weight is sparse"),
        (PRUNED, PLAIN, "`key_weight_to_fp16_sparsified` and 1 more are sparse, and the variant is not to be pruned"),
        (LARGE, INT8, "1 of 3 weights not quantized, as the variant says, the first `small_weight_to_fp16`"),
        (SPARING, INT8, "1 of 3 weights not quantized, as the variant says, the first `out_weight_to_fp16`"),
    ],
    ids=lambda value: value.name if isinstance(value, Variant) else "",
)
def test_a_wrong_label_is_told(build: Build, package: Variant, label: Variant, said: str, target: str) -> None:
    found = failed(build(package, stage(target=target)), label)
    assert set(found) <= {"compression", "hazard"}
    assert said in found["compression"]


@pytest.mark.parametrize(
    ("package", "label", "said"),
    [
        (
            PLAIN,
            GROUPED,
            "3 of 3 weights not quantized, as the variant says, the first `key_weight_to_fp16` fp16[64, 64]",
        ),
        (GROUPED, PLAIN, "`key_weight_to_fp16_quantized` and 2 more are quantized, and the variant is not to be"),
        (
            ROWS,
            GROUPED,
            "3 of 3 weights are not int4 in groups of 32, as the variant says, the first `key_weight_to_fp16",
        ),
        (ROWS, GROUPED, "_quantized`: int4 in groups of 64"),
        (INT8, GROUPED, "3 of 3 weights are not int4 in groups of 32"),
        (GROUPED, INT8, "`key_weight_to_fp16_quantized` and 2 more are of 4 bits, and the variant says 8"),
    ],
)
def test_weights_in_other_groups_are_told(build: Build, package: Variant, label: Variant, said: str) -> None:
    grouped = replace(WIDE, variants=(*VARIANTS, GROUPED, ROWS))
    assert failed(build(package, grouped), package, grouped) == {}
    assert said in failed(build(package, grouped), label, grouped)["compression"]


def test_weights_in_groups_are_refused_for_an_older_target() -> None:
    with pytest.raises(ValueError, match="stage wide: int4 has weights in groups, and iOS17 does not know them"):
        replace(WIDE, variants=(PLAIN, replace(GROUPED, target="")))


def test_a_weight_in_groups_that_loses_more_than_rounding_does_is_named(build: Build, tmp_path: Path) -> None:
    grouped = replace(WIDE, variants=(*VARIANTS, GROUPED))
    package = build(GROUPED, grouped)

    def rounded(path: Path) -> Finding:
        found = findings(path, grouped, GROUPED, module=lambda: Wide(None))
        return next(finding for finding in found if finding.gate == "rounding")

    assert rounded(package).passed
    assert "3 weights; " in rounded(package).message
    harmed = tmp_path / "m.mlpackage"
    shutil.copytree(package, harmed)
    weights = harmed / "Data/com.apple.CoreML/weights/weight.bin"
    content = bytearray(weights.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 512] = content[middle + 512 : middle + 1024]
    weights.write_bytes(content)
    assert "in groups of 32, loses" in rounded(harmed).message
    assert not rounded(harmed).passed


def test_a_weight_whose_scales_are_no_numbers_loses_more_than_rounding_does() -> None:
    numbers, scales = np.ones((2, 4), np.int8), np.full((2, 1), np.nan, np.float32)
    held = Weight("weight", (2, 4), "int4", 4, numbers=numbers, scales=scales)
    found = compression.rounding([held], {"w": np.ones((2, 4), np.float32)})
    assert not found.passed
    assert "weight `w`, 2×4 int4 in groups of 4, loses nan" in found.message


def test_one_layer_that_stays_as_it_was_is_told(build: Build, tmp_path: Path) -> None:
    """As where one layer is left out by its name, or falls through a pattern."""
    six_bits = coreml.OpPalettizerConfig(nbits=6)
    config = coreml.OptimizationConfig(global_config=six_bits, op_name_configs={"out_weight_to_fp16": None})
    model = ct.models.MLModel(str(build(PLAIN)), skip_model_load=True)
    coreml.palettize_weights(model, config).save(str(tmp_path / "m.mlpackage"))
    said = failed(tmp_path / "m.mlpackage", PALETTES[6])["compression"]
    assert "1 of 2 weights not palettized, as the variant says, the first `out_weight_to_fp16` fp16[64, 64] of" in said


def test_an_input_that_is_handed_out_is_told(build: Build) -> None:
    passing = stage(Passing, second=64)
    said = failed(build(PLAIN, passing), PLAIN, passing)
    assert set(said) == {"alias"}
    assert (
        "function `main`: output `z` is the input `x` itself, through an identity. Mend: leave the output out"
        in said["alias"]
    )


@pytest.mark.parametrize("how", ["folded", "dead"])
def test_an_input_that_no_output_depends_on_is_told(build: Build, tmp_path: Path, how: str) -> None:
    """As with a mask whose addition somebody commented out; the op that is left makes something nobody takes."""

    def disconnect(spec: Any) -> None:
        operations = block(spec).operations
        reads = [
            op for op in operations if any(one.name == "x" for key in op.inputs for one in op.inputs[key].arguments)
        ]
        other = operations[-1].outputs[0].name
        if how == "dead":
            again = type(operations[0])()
            again.CopyFrom(reads[0])
            again.outputs[0].name = "nobodys"
            operations.append(again)
        for key in reads[0].inputs:
            for one in reads[0].inputs[key].arguments:
                one.name = other if one.name == "x" else one.name

    found = failed(edited(build(PLAIN), tmp_path, disconnect), PLAIN)
    assert set(found) == {"unread"}
    assert "function `main`: no output depends on the input `x`. Mend: let the graph use the input" in found["unread"]


def test_an_input_that_is_handed_out_under_its_own_name_is_told(build: Build, tmp_path: Path) -> None:
    def hand_out(spec: Any) -> None:
        block(spec).outputs.append("x")
        spec.description.output.add().CopyFrom(spec.description.input[0])

    said = failed(edited(build(PLAIN), tmp_path, hand_out), PLAIN)
    assert "output `x` is the input `x` itself. Mend" in said["alias"]
    assert "output `x`, float16 (1, 4 to 200, 64), is not declared" in said["manifest"]


def test_one_identity_behind_another_hides_no_alias(build: Build, tmp_path: Path) -> None:
    passing = stage(Passing, second=64)

    def twice(spec: Any) -> None:
        operations = block(spec).operations
        place = next(i for i, op in enumerate(operations) if op.type == "identity")
        again = type(operations[0])()
        again.CopyFrom(operations[place])
        operations[place].outputs[0].name = "between"
        again.inputs["x"].arguments[0].name = "between"
        operations.append(again)

    said = failed(edited(build(PLAIN, passing), tmp_path, twice), PLAIN, passing)
    assert "output `z` is the input `x` itself, through an identity" in said["alias"]


def test_the_package_of_another_variant_is_told_by_what_it_takes_and_gives(build: Build) -> None:
    said = failed(build(SINGLE), PLAIN)["manifest"]
    assert "input `x` is float32 (1, 4 to 200, 64), declared is float16 (1, 4 to 200, 64)" in said
    assert "output `y` is float32 (1, ?, 64), declared is float16 (1, 4 to 200, 64)" in said
    assert set(failed(build(PLAIN), SINGLE)) == {"manifest"}


def test_the_package_of_another_size_is_told_by_its_shapes(build: Build) -> None:
    said = failed(build(PLAIN), PLAIN, stage(second=16))["manifest"]
    assert "output `z` is float16 (1, ?, 8), declared is float16 (1, 4 to 200, 16). Mend: is it the package of" in said


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"inputs": {"x": real(1, 4, 64)}}, "input `x` is float16 (1, 4 to 200, 64), declared is float16 (1, 4, 64)"),
        ({"inputs": {"x": real(1, Dim("n", 4, 99), 64)}}, "declared is float16 (1, 4 to 99, 64)"),
        ({"inputs": {"x": f32(1, FRAMES, 64)}}, "input `x` is float16 (1, 4 to 200, 64), declared is float32"),
        ({"inputs": {"w": real(1)}}, "input `w`, declared as float16 (1), is missing; input `x`, float16 (1, 4 to 200"),
        ({"outputs": {"y": real(1, FRAMES, 64)}}, "output `z`, float16 "),
        ({"outputs": {"y": real(1, 64), "z": real(1, FRAMES, 8)}}, "output `y` is float16 (1, ?, 64), declared is"),
    ],
)
def test_what_is_declared_otherwise_is_told(build: Build, declared: dict[str, Any], said: str) -> None:
    found = failed(build(PLAIN), PLAIN, replace(stage(), **declared))
    assert set(found) == {"manifest"}
    assert said in found["manifest"]


def test_states_are_a_part_of_what_is_declared(tmp_path: Path) -> None:
    held = Variant("held", "float16", holds=True, ships=True)
    cache, step = Cache(tmp_path), small.stage(variants=(held, PLAIN))
    built = Built(small.system(), choose(small.REFERENCE, "seeded", cache), cache)
    packages = {variant.name: built.get(step, variant).package for variant in step.variants}
    assert failed(packages["held"], held, step) == failed(packages["fp16"], PLAIN, step) == {}
    assert (
        "state `cache0`, declared as float16 (1, 12, 4), is missing" in failed(packages["fp16"], held, step)["manifest"]
    )
    assert (
        "input `cache0`, declared as float16 (1, 12, 4), is missing"
        in failed(packages["held"], PLAIN, step)["manifest"]
    )


@pytest.mark.parametrize("target", ["iOS17", "iOS18"])
@pytest.mark.parametrize("units", ["ALL", "CPU_AND_GPU", "CPU_AND_NE", "CPU_ONLY"])
def test_integer_weights_are_kept_off_the_gpu(build: Build, units: ComputeUnits, target: str) -> None:
    found = failed(build(INT8, stage(target=target)), replace(INT8, compute_units=units))
    assert set(found) == ({"hazard"} if units in ("ALL", "CPU_AND_GPU") else set())
    if found:
        assert "`key_weight_to_fp16_quantized`" in found["hazard"]
        assert f"one of 3 weights of integers, is to run on {units}: the GPU's MPSGraph fails" in found["hazard"]
    assert failed(build(PALETTES[4]), replace(PALETTES[4], compute_units=units)) == {}


def test_a_variant_runs_where_it_says_or_where_its_stage_does(build: Build) -> None:
    elsewhere = replace(stage(), compute_units="CPU_ONLY")
    assert (elsewhere.units(INT8), elsewhere.units(PLAIN)) == ("CPU_AND_NE", "CPU_ONLY")
    assert set(failed(build(INT8), replace(INT8, compute_units=None))) == {"hazard"}


def test_units_of_its_own_make_no_other_package_to_compress(build: Build) -> None:
    """What a variant is made from is the one that is checked itself, wherever either is to run."""
    assert uncompressed(WIDE, INT8) == PLAIN
