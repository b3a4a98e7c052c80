"""A stage that is a pipeline of others: of what it is built, how it runs, and that it is still made of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.models.utils import load_spec

import milrun
from parity.base.cache import Cache
from parity.base.paths import Project
from parity.build.artifacts import ArtifactError, Built, Given, pieces, told_by
from parity.build.convert import ConversionError, join
from parity.declarations import Case, Seam, Stage, Variant
from parity.judge.gates import Gates
from parity.judge.package import findings
from parity.judge.workbench import Workbench
from parity.record import suite
from parity.record.suite import Options, Suite
from parity.run.choice import runtime
from parity.verdict import Check
from tests.support import stepping_system
from tests.support.pipeline_system import (
    FP16,
    FP32,
    HEAD,
    JOINED,
    MASK,
    PAL4,
    PAL6,
    PRE,
    REFERENCE,
    WHOLE,
    WIDE,
    built,
    inputs,
    load,
    record,
    seed_otherwise,
    system,
)

MODEL = "Data/com.apple.CoreML/model.mlmodel"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("joined"))


def failed(artifacts: Built, package: Path, variant: Variant, stage: Stage = WHOLE) -> dict[str, str]:
    found = findings(package, stage, variant, pieces(artifacts.system, artifacts, stage, variant))
    return {one.gate: one.message for one in found if not one.passed}


@pytest.mark.parametrize("variant", WHOLE.variants, ids=lambda variant: variant.name)
def test_a_pipeline_is_made_of_its_parts_and_passes_every_gate(cache: Cache, variant: Variant) -> None:
    artifacts = built(cache)
    package = artifacts.get(WHOLE, variant).package
    gates = [
        found.gate for found in findings(package, WHOLE, variant, pieces(artifacts.system, artifacts, WHOLE, variant))
    ]
    assert gates == ["alias", "unread", "manifest", "compression", "hazard", "parts"]
    assert failed(artifacts, package, variant) == {}
    assert told_by(package)["parity.stage"] == "whole"
    assert told_by(package)["parity.variant"] == variant.name


def test_each_part_gives_the_variant_of_that_name_or_its_only_one(cache: Cache) -> None:
    found = pieces(JOINED, built(cache), WHOLE, PAL6)
    assert [(piece.stage.name, piece.variant.name) for piece in found] == [("pre", "fp16"), ("head", "fp16-pal6")]
    assert pieces(JOINED, built(cache), HEAD, PAL6) == []


@pytest.mark.parametrize("variant", WHOLE.variants, ids=lambda variant: variant.name)
def test_a_pipeline_runs_as_its_parts_do_one_after_another(cache: Cache, variant: Variant) -> None:
    artifacts = built(cache)
    model = milrun.load(artifacts.get(WHOLE, variant).package)
    assert isinstance(model, milrun.Pipeline)
    assert list(model.parts) == ["pre", "head"]
    assert (list(model.inputs), list(model.outputs)) == (["x", "mask"], ["y", "kept"])
    given = {name: value.astype(np.float16) for name, value in inputs().items()}
    pre, head = (milrun.load(piece.package) for piece in pieces(artifacts.system, artifacts, WHOLE, variant))
    between = pre.predict(given)
    expected = {"kept": between["kept"], **head.predict({**between, "mask": given["mask"]})}
    for name, value in model.predict(given).items():
        np.testing.assert_array_equal(value, expected[name])
    (golden, *_) = record(load(artifacts.weights.checkpoint()), REFERENCE.cases[0])
    np.testing.assert_allclose(expected["kept"], golden.outputs["kept"], atol=5e-3)


def test_make_pipeline_says_the_same_but_for_what_it_leaves_out(cache: Cache) -> None:
    """It drops an output that a later model takes; names of models and the order are ours."""
    artifacts = built(cache)
    models = [
        ct.models.MLModel(str(p.package), skip_model_load=True)
        for p in pieces(artifacts.system, artifacts, WHOLE, PAL6)
    ]
    theirs = ct.utils.make_pipeline(*models).get_spec()
    ours = load_spec(str(artifacts.get(WHOLE, PAL6).package))
    assert [one.SerializeToString(deterministic=True) for one in ours.pipeline.models] == [
        one.SerializeToString(deterministic=True) for one in theirs.pipeline.models
    ]
    assert list(ours.description.input) == list(theirs.description.input)
    assert [feature.name for feature in theirs.description.output] == ["y"]
    assert ours.specificationVersion == theirs.specificationVersion


def test_a_pipeline_is_judged_with_its_parts(cache: Cache) -> None:
    class Recorded:
        def load(self, case: Case) -> dict[str, Seam]:
            return {seam.stage: seam for seam in record(load(artifacts.weights.checkpoint()), case)}

        def identity(self, case: Case) -> str:
            return case.name

    artifacts = built(cache)
    bench = Workbench(artifacts.system, artifacts.weights, Recorded(), artifacts, runtime("milrun"), Gates(()), cache)
    verdict = bench.run(
        Check(
            system="joined",
            stage="whole",
            variant="fp16-pal6",
            case="one",
            mode="forced",
            runtime="milrun",
            numerics="declared",
        )
    )
    assert {found.gate for found in verdict.findings if found.passed} >= {"parts", "alias", "manifest", "compression"}
    assert {found.gate for found in verdict.failures} == {"gated"}


def mutant(folder: Path, package: Path, edit: Callable[[Any], None]) -> Path:
    shutil.copytree(package, folder / "mutant.mlpackage")
    spec = load_spec(str(package))
    edit(spec)
    (folder / "mutant.mlpackage" / MODEL).write_bytes(spec.SerializeToString())
    return folder / "mutant.mlpackage"


def joined(folder: Path, packages: Mapping[str, Path], stage: Stage = WHOLE) -> Path:
    join(stage, packages, folder / "joined.mlpackage", {})
    return folder / "joined.mlpackage"


def test_a_pipeline_with_the_head_of_another_variant_is_told(cache: Cache, tmp_path: Path) -> None:
    artifacts = built(cache)
    pre, head = (artifacts.get(PRE, FP16).package, artifacts.get(HEAD, PAL4).package)
    said = failed(artifacts, joined(tmp_path, {"pre": pre, "head": head}), PAL6)
    assert set(said) == {"parts", "compression"}
    assert "model 1 of the pipeline is not head fp16-pal6: it calls itself head fp16-pal4, and op `" in said["parts"]
    assert "(constexpr_lut_to_dense) is the first that differs" in said["parts"]
    assert "model 1 of the pipeline, 1 of 1 palettes are not of 6 bits" in said["compression"]


def test_a_head_that_is_not_compressed_is_told_and_the_part_that_need_not_be_is_not(
    cache: Cache, tmp_path: Path
) -> None:
    artifacts = built(cache)
    packages = {"pre": artifacts.get(PRE, FP16).package, "head": artifacts.get(HEAD, FP16).package}
    said = failed(artifacts, joined(tmp_path, packages), PAL6)["compression"]
    assert "model 1 of the pipeline, 1 of 1 weights not palettized, as the variant says" in said
    assert "model 0" not in said


def test_a_pipeline_whose_label_no_part_keeps_is_told(cache: Cache) -> None:
    head = replace(HEAD, variants=(replace(FP16, name="fp16-pal6"),))
    artifacts = built(cache, system(head=head))
    said = failed(artifacts, artifacts.get(WHOLE, PAL6).package, PAL6)
    assert said["compression"].startswith("the pipeline is to palettize, and no part of it is")


def test_a_pipeline_with_a_stale_head_is_told(cache: Cache, tmp_path: Path) -> None:
    """Of the same program with other weights, as where the head was built again and the pipeline was not."""
    old = built(cache, system(seed=seed_otherwise))
    packages = {"pre": built(cache).get(PRE, FP16).package, "head": old.get(HEAD, FP16).package}
    said = failed(built(cache), joined(tmp_path, packages), FP16)
    assert set(said) == {"parts"}
    assert "model 1 of the pipeline is not head fp16: it calls itself head fp16, and op `" in said["parts"]
    assert "weight_to_fp16` (const) is the first that differs" in said["parts"]


def test_parts_in_the_wrong_order_are_told(cache: Cache, tmp_path: Path) -> None:
    artifacts = built(cache)

    def turn(spec: Any) -> None:
        first = type(spec)()
        first.CopyFrom(spec.pipeline.models[0])
        spec.pipeline.models[0].CopyFrom(spec.pipeline.models[1])
        spec.pipeline.models[1].CopyFrom(first)

    said = failed(artifacts, mutant(tmp_path, artifacts.get(WHOLE, FP16).package, turn), FP16)["parts"]
    assert "model 0 of the pipeline is not pre fp16, but head fp16" in said
    assert "model 1 of the pipeline is not head fp16, but pre fp16" in said


def test_a_part_that_is_missing_and_a_package_that_is_no_pipeline_are_told(cache: Cache, tmp_path: Path) -> None:
    artifacts = built(cache)

    def drop(spec: Any) -> None:
        del spec.pipeline.models[1]

    cut = mutant(tmp_path, artifacts.get(WHOLE, FP16).package, drop)
    said = failed(artifacts, cut, FP16)["parts"]
    assert "it is a pipeline of 1 models, declared are 2 parts: pre fp16, head fp16" in said
    assert "it is no pipeline" in failed(artifacts, artifacts.get(HEAD, FP16).package, FP16)["parts"]
    alone = replace(WHOLE, parts=())
    said = failed(artifacts, artifacts.get(WHOLE, FP16).package, FP16, alone)["parts"]
    assert "it is a pipeline of 2 models, declared are no parts. Mend" in said


def test_metadata_and_descriptions_make_no_other_part(cache: Cache, tmp_path: Path) -> None:
    artifacts = built(cache)

    def rename(spec: Any) -> None:
        spec.pipeline.models[1].description.metadata.shortDescription = "a head"
        spec.pipeline.models[1].description.input[0].shortDescription = "what the first part made"
        del spec.pipeline.names[:]

    assert failed(artifacts, mutant(tmp_path, artifacts.get(WHOLE, FP16).package, rename), FP16) == {}


def test_an_input_that_goes_around_the_pipeline_is_told(cache: Cache, tmp_path: Path) -> None:
    artifacts = built(cache)

    def hand_out(spec: Any) -> None:
        spec.description.output.add().CopyFrom(spec.description.input[0])

    said = failed(artifacts, mutant(tmp_path, artifacts.get(WHOLE, FP16).package, hand_out), FP16)
    assert "the pipeline's input `x` is an output of it as well" in said["alias"]
    assert "output `x`, float16 (1, 4 to 40, 64), is not declared" in said["manifest"]


def test_an_alias_within_a_model_of_a_pipeline_is_told(cache: Cache, tmp_path: Path) -> None:
    artifacts = built(cache)

    def hand_out(spec: Any) -> None:
        (block,) = spec.pipeline.models[1].mlProgram.functions["main"].block_specializations.values()
        block.outputs.append("hidden")

    said = failed(artifacts, mutant(tmp_path, artifacts.get(WHOLE, FP16).package, hand_out), FP16)
    assert "model 1 of the pipeline, function `main`: output `hidden` is the input `hidden` itself" in said["alias"]


def test_integer_weights_in_a_part_are_kept_off_the_pipelines_gpu(cache: Cache) -> None:
    int8 = Variant("int8", "float16", quantize=True, compute_units="CPU_AND_NE")
    whole = replace(WHOLE, variants=(FP16, replace(int8, compute_units=None)))
    artifacts = built(cache, system(whole, head=replace(HEAD, variants=(FP16, int8))))
    package = artifacts.get(whole, whole.variant("int8")).package
    assert set(failed(artifacts, package, whole.variant("int8"), whole)) == {"hazard"}
    assert failed(artifacts, package, int8, whole) == {}


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"inputs": {"x": WIDE}}, "pre takes mask, which no part before it gives"),
        ({"inputs": {"x": WIDE, "mask": MASK, "hint": MASK}}, "no part has the input hint"),
        ({"outputs": {"y": WIDE, "score": WIDE}}, "no part has the output score"),
        ({"parts": ("head", "pre")}, "head takes hidden, which no part before it gives"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(cache: Cache, declared: dict[str, Any], said: str) -> None:
    whole = replace(WHOLE, **declared)
    with pytest.raises(ConversionError, match=said):
        built(cache, system(whole)).get(whole, FP16)


def test_two_parts_that_give_the_same_name_are_refused(cache: Cache) -> None:
    again = replace(PRE, name="again")
    whole = replace(WHOLE, parts=("pre", "again"))
    with pytest.raises(ConversionError, match="again gives hidden, which there is before it: rename it"):
        built(cache, replace(system(whole), stages=(whole, PRE, again))).get(whole, FP16)


def test_parts_of_another_precision_are_refused(cache: Cache) -> None:
    pre = replace(PRE, variants=(replace(FP32, ships=True),))
    with pytest.raises(ConversionError, match=r"head takes (kept|hidden) as float16 .*, and is given float32"):
        built(cache, system(pre=pre)).get(WHOLE, FP16)


def test_a_part_with_states_is_refused(tmp_path: Path) -> None:
    held = Variant("held", "float16", holds=True)
    step = stepping_system.stage(variants=(FP16, held))
    artifacts = built(Cache(tmp_path), replace(stepping_system.system(), stages=(step,)))
    with pytest.raises(ConversionError, match="step has states, which a pipeline can't have"):
        join(step, {"step": artifacts.get(step, held).package}, tmp_path / "joined.mlpackage", {})


def test_parts_that_are_pipelines_or_lack_the_variant_are_refused(cache: Cache) -> None:
    outer = replace(WHOLE, name="outer", parts=("whole", "head"))
    with pytest.raises(ArtifactError, match="whole is a pipeline itself"):
        built(cache).get(outer, FP16)
    with pytest.raises(ValueError, match="head has no variant 'fp32'"):
        built(cache).get(WHOLE, FP32)


def test_the_key_of_a_pipeline_hangs_on_its_parts(cache: Cache) -> None:
    known = built(cache).key(WHOLE, FP16)
    assert built(cache, system(seed=seed_otherwise)).key(WHOLE, FP16) != known
    assert built(cache, system(head=replace(HEAD, compute_units="CPU_ONLY"))).key(WHOLE, FP16) != known
    assert built(cache).key(replace(WHOLE, parts=("head", "pre")), FP16) != known
    assert built(cache).key(WHOLE, PAL6) != known


def test_given_packages_are_compared_with_the_parts_beside_them(cache: Cache, tmp_path: Path) -> None:
    artifacts = built(cache)
    for stage, variant in ((WHOLE, PAL6), (PRE, FP16), (HEAD, PAL6)):
        shutil.copytree(artifacts.get(stage, variant).package, tmp_path / f"{stage.name}-{variant.name}.mlpackage")
    given = Given(artifacts.system, artifacts.weights, tmp_path)
    before, parts = given.key(WHOLE, PAL6), pieces(JOINED, given, WHOLE, PAL6)
    whole = given.get(WHOLE, PAL6).package
    assert [found.gate for found in findings(whole, WHOLE, PAL6, parts) if not found.passed] == []
    shutil.rmtree(tmp_path / "head-fp16-pal6.mlpackage")
    shutil.copytree(artifacts.get(HEAD, PAL4).package, tmp_path / "head-fp16-pal6.mlpackage")
    assert given.key(WHOLE, PAL6) != before


def test_given_packages_are_known_by_what_they_are_declared_as(cache: Cache, tmp_path: Path) -> None:
    """Or what was found of a package under one label would be taken for what is to be found under another."""
    for variant in (PAL4, PAL6):
        shutil.copytree(built(cache).get(HEAD, PAL6).package, tmp_path / f"head-{variant.name}.mlpackage")
    given = Given(JOINED, built(cache).weights, tmp_path)
    assert given.key(HEAD, PAL4) != given.key(HEAD, PAL6)


def check_of_the_whole(name: str) -> Check:
    return Check(
        system=name,
        stage="whole",
        variant="fp16-pal6",
        case="one",
        mode="forced",
        runtime="milrun",
        numerics="declared",
    )


def test_artifacts_that_two_systems_share_are_wanted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "systems", lambda: {"joined": system(), "again": system()})
    run = Suite(Options(runtime="milrun"), "run", Project(tmp_path))
    both = [check_of_the_whole("joined"), check_of_the_whole("again")]
    assert run.wanted(both) == run.wanted(both[:1])


def test_the_parts_of_a_pipeline_are_wanted_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "systems", lambda: {"joined": system()})
    run = Suite(Options(runtime="milrun"), "run", Project(tmp_path))
    check = check_of_the_whole("joined")
    assert run.wanted([check]) == [
        ("joined", "head", "fp16-pal6"),
        ("joined", "pre", "fp16"),
        ("joined", "whole", "fp16-pal6"),
    ]
    run.workbench(check).artifacts.get(WHOLE, PAL6)
    assert run.wanted([check]) == []
