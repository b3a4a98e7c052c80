"""Stages in several fixed sizes: what is built, which of it runs, and that padding does not leak."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import milrun
from parity.base.cache import Cache
from parity.build.artifacts import Given
from parity.build.convert import convert, traceable
from parity.judge.package import findings
from parity.verdict import Verdict
from tests.support.bucket_system import (
    APART,
    FP32,
    TOGETHER,
    Halved,
    Leaking,
    Masked,
    Upstream,
    built,
    inputs,
    judged,
    system,
)

WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("buckets"))


def buckets(verdict: Verdict) -> dict[str, str]:
    return {found.output: found.message for found in verdict.findings if found.gate == "bucket"}


@pytest.mark.parametrize(("columns", "bucket"), [(3, 4), (4, 4), (5, 8), (8, 8)])
@pytest.mark.parametrize("stage", ["apart", "together"])
def test_the_smallest_bucket_that_holds_the_input_runs_and_is_named(
    cache: Cache, stage: str, columns: int, bucket: int
) -> None:
    verdict = judged(cache, stage, columns, built(cache))
    assert {found.gate for found in verdict.failures} <= {"gated"}, verdict
    assert {found.gate for found in verdict.findings if found.passed} >= {"shape", "relative_l2", "manifest"}
    assert buckets(verdict) == {stage: f"{columns} in the bucket of {bucket}"}


def test_a_chain_names_the_bucket_of_each_of_its_stages(cache: Cache) -> None:
    told = "5 in the bucket of 8"
    assert buckets(judged(cache, "chain", 5, built(cache))) == {"apart.apart": told, "together.together": told}


def test_an_input_that_no_bucket_holds_is_refused_with_both_sizes(cache: Cache) -> None:
    verdict = judged(cache, "apart", 9, built(cache))
    assert "apart: 9 is more than the largest bucket holds, 8" in verdict.failures[0].message


@pytest.mark.parametrize("stage", ["apart", "together"])
def test_padding_that_leaks_fails_where_there_is_padding(cache: Cache, stage: str) -> None:
    leaking = built(cache, Leaking)
    full, padded = (judged(cache, stage, columns, leaking) for columns in (4, 5))
    assert "relative_l2" not in {found.gate for found in full.failures}
    assert {"relative_l2", "cosine"} <= {found.gate for found in padded.failures}
    assert padded.blame is not None
    assert (padded.blame.stage, padded.blame.output, padded.blame.looks_like) == (stage, "y", "padding leaks")
    assert padded.blame.detail.startswith("5 in the bucket of 8: ")


@pytest.mark.parametrize("stage", ["apart", "together"])
def test_an_output_of_another_size_is_not_cut_to_the_one_that_is_wanted(cache: Cache, stage: str) -> None:
    verdict = judged(cache, stage, 3, built(cache, Halved))
    assert "shape" in {found.gate for found in verdict.failures}, verdict


def test_buckets_share_their_weights_and_count_them_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    artifacts = built(cache)
    small, large = (artifacts.get(APART.at(bucket), FP32) for bucket in APART.buckets)
    assert small.identity != large.identity
    assert (small.package / WEIGHTS).samefile(large.package / WEIGHTS)
    stored = [item.bytes for item in cache.items() if item.kind == "artifact"]
    assert sum(stored) < 1.5 * sum(path.stat().st_size for path in small.package.rglob("*") if path.is_file())


def test_a_stage_with_buckets_is_ready_with_its_first(tmp_path: Path) -> None:
    artifacts = built(Cache(tmp_path / "cache"))
    assert not artifacts.ready(APART, FP32)
    assert artifacts.get(APART, FP32).stage.bucket == 4
    assert artifacts.ready(APART, FP32)


@pytest.mark.parametrize(("trace_at", "traced"), [({}, 8), ({"columns": 3}, 3)])
def test_a_bucket_is_traced_at_its_own_size_or_at_the_declared_one(
    tmp_path: Path, trace_at: dict[str, int], traced: int
) -> None:
    seen = []

    class Seeing(Masked):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.shape[2])
            return super().forward(x)

    model, stage = Upstream(), replace(APART, trace_at=trace_at)
    package = tmp_path / "p.mlpackage"
    convert(stage.at(8), FP32, traceable(replace(stage, module=Seeing), model), package, {})
    assert {int(size) for size in seen} == {traced}
    given = inputs(8)
    with torch.no_grad():
        expected = Masked(model)(torch.from_numpy(given["x"])).numpy()
    np.testing.assert_allclose(milrun.load(package).predict(given)["y"], expected, atol=1e-5)


def test_one_artifact_takes_all_enumerated_sizes(cache: Cache) -> None:
    artifacts = built(cache)
    packages = {artifacts.get(TOGETHER.at(bucket), FP32).package for bucket in TOGETHER.buckets}
    assert packages == {artifacts.get(TOGETHER, FP32).package}


def test_a_package_of_a_range_is_not_one_of_enumerated_sizes(cache: Cache) -> None:
    package = built(cache).get(TOGETHER, FP32).package
    size = TOGETHER.inputs["x"].shape[2]
    assert not isinstance(size, int)
    ranged = replace(TOGETHER, inputs={"x": replace(TOGETHER.inputs["x"], shape=(1, 64, replace(size, buckets=())))})
    assert {found.gate for found in findings(package, ranged, FP32) if not found.passed} == {"manifest"}


def test_packages_of_two_buckets_that_were_exchanged_are_told(cache: Cache, tmp_path: Path) -> None:
    artifacts = built(cache)
    for bucket, other in ((4, 8), (8, 4)):
        package = artifacts.get(APART.at(other), FP32).package
        shutil.copytree(package, tmp_path / f"apart_{bucket}-fp32.mlpackage")
    given = Given(system(), artifacts.weights, tmp_path)
    verdict = judged(cache, "apart", 3, given)
    assert {"manifest", "runs"} <= {found.gate for found in verdict.failures}, verdict
    assert verdict.blame is not None
    assert verdict.blame.detail.startswith(
        "it is the package of the bucket of 8, in the place of that of 4; input `x` "
    )
