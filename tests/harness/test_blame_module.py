"""A rewrite that leaves upstream is traced to the submodule, or to what lies after the last that agrees."""

from __future__ import annotations

import re

import torch

from parity.blame import blame_module
from parity.blame.source import ROOT
from parity.convert import call, traceable
from parity.verdict import Blame
from tests.harness import small_stages as small
from tests.harness.small_stages import Modules, line, signal


def of_module(cut: Modules) -> Blame:
    """Hop 1 of a rewrite."""
    stage, upstream, cut_from = small.stage(cut), small.Upstream(), small.Upstream()
    given = {"x": signal()}
    module = traceable(stage, cut_from)
    tensor = torch.from_numpy(given["x"])
    reference = {"y": call(small.Small(), stage, given)["y"]}
    candidate = call(module, stage, given)
    found = blame_module(
        stage, module, cut_from, upstream, lambda: upstream(tensor), given, reference, candidate, ["y"]
    )
    assert (found.fault, found.output) == ("module", "y"), found.detail
    assert str(ROOT) not in str(found)
    return found


def test_a_rewrite_that_errs_between_shared_layers_is_blamed_at_the_layer_that_is_given_something_else() -> None:
    found = of_module(small.CutReversed)
    assert (found.value, found.op_type) == ("inner.second", "Conv1d")
    assert found.looks_like == "permutation of axis 1: reversed"
    assert line("return torch.sigmoid(self.second(hidden.flip(1))) * 0.5").match(found.source)
    assert "what `inner.second` is given differs already" in found.detail
    assert "since `inner.first`, the last shared submodule that agrees" in found.detail


def test_a_rewrite_that_errs_after_all_shared_layers_is_blamed_as_a_whole() -> None:
    found = of_module(small.CutTooLoud)
    assert (found.value, found.looks_like) == ("", "gain 1.5×")
    assert re.match(r"tests/harness/small_stages\.py:\d+ in CutTooLoud\.forward$", found.source)
    assert "after `inner.second`, the last submodule shared with upstream" in found.detail
    assert "H16" in found.detail


def test_a_shared_layer_that_computes_otherwise_is_blamed_itself() -> None:
    def cut(upstream: small.Upstream) -> small.Cut:
        upstream.inner.first.weight.data *= 1.25
        return small.Cut(upstream)

    found = of_module(cut)
    assert (found.value, found.op_index) == ("inner.first", 1)
    assert "`inner.first` itself gives something else on what agrees" in found.detail


def test_a_rewrite_that_shares_nothing_with_upstream_is_told_so() -> None:
    found = of_module(small.WrongFactor)
    assert found.detail == "it shares no submodule with upstream whose values can be compared"


def test_a_recording_that_fails_is_told_and_not_raised() -> None:
    stage, upstream = small.stage(small.Cut), small.Upstream()
    given = {"x": signal()}

    def record() -> None:
        raise RuntimeError("no such case")

    module = traceable(stage, upstream)
    gives = call(module, stage, given)
    found = blame_module(stage, module, upstream, upstream, record, given, {"y": gives["y"] * 2}, gives, ["y"])
    assert found.detail == "blame failed: RuntimeError: no such case"
