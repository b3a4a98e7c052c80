"""A rewrite that leaves upstream is traced to the submodule, or to what lies after the last that agrees."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from parity.base.paths import project
from parity.blame.failure import Failure
from parity.blame.module.search import Rewrite, blame_module, blame_unheard
from parity.build.convert import call, traceable
from parity.verdict import Blame
from tests.support import small_cuts as cuts
from tests.support import small_stages as small
from tests.support.small_stages import Modules, line, signal


def of_module(
    cut: Modules, model: Callable[[], nn.Module] = cuts.Upstream, right: Callable[[], nn.Module] = small.Small
) -> Blame:
    """Hop 1 of a rewrite of a model, of which it should be the `right` part."""
    torch.manual_seed(0)
    cut_from = model()
    upstream = copy.deepcopy(cut_from)
    stage, given = small.stage(cut), {"x": signal()}
    module = traceable(stage, cut_from)
    tensor = torch.from_numpy(given["x"])
    reference = {"y": call(upstream if right is model else right(), stage, given)["y"]}
    candidate = call(module, stage, given)
    failure = Failure(stage=stage, inputs=given, reference=reference, candidate=candidate, outputs=["y"])
    found = blame_module(Rewrite(failure, module, cut_from, upstream, lambda: upstream(tensor)))
    assert (found.fault, found.output) == ("module", "y"), found.detail
    assert str(project().root) not in str(found)
    return found


def of_weights(
    rewrite: Modules,
    right: Modules = cuts.Filled,
    model: Callable[[], Any] = cuts.Upstream,
    heard: Callable[[np.ndarray], list[np.ndarray]] = lambda x: [x],
    given: np.ndarray | None = None,
) -> Blame:
    """Hop 1 of a rewrite that is made of upstream's weights. Upstream is run on all that `heard` makes of the input."""
    x = signal() if given is None else given
    stage, upstream, state = small.stage(rewrite), model(), dict(model().state_dict())
    module = traceable(stage, state)
    reference, candidate = (call(made, stage, {"x": x}) for made in (traceable(small.stage(right), state), module))

    def record() -> None:
        with torch.no_grad():
            for value in heard(x):
                upstream(torch.from_numpy(value))

    failure = Failure(stage=stage, inputs={"x": x}, reference=reference, candidate=candidate, outputs=["y"])
    found = blame_module(Rewrite(failure, module, state, upstream, record))
    assert (found.fault, found.output) == ("module", "y"), found.detail
    return found


def test_a_rewrite_that_errs_between_shared_layers_is_blamed_at_the_layer_that_is_given_something_else() -> None:
    found = of_module(cuts.CutReversed)
    assert (found.value, found.op_type) == ("inner.second", "Conv1d")
    assert found.looks_like == "permutation of axis 1: reversed"
    assert line("return torch.sigmoid(self.second(hidden.flip(1))) * 0.5").match(found.source)
    assert "what `inner.second` is given differs already" in found.detail
    assert "since `inner.first`, the last shared submodule that agrees" in found.detail


def test_a_rewrite_that_errs_after_all_shared_layers_is_blamed_as_a_whole() -> None:
    found = of_module(cuts.CutTooLoud)
    assert (found.value, found.looks_like) == ("", "gain 1.5×")
    assert line("return torch.sigmoid(self.second(hidden)) * 0.75").match(found.source)
    assert "after `inner.second`, the last submodule shared with upstream on the way to it" in found.detail
    assert "H16" in found.detail


def test_where_nothing_is_shared_the_statement_is_named_that_leaves_upstream() -> None:
    found = of_module(cuts.ChainOfMeans, cuts.UpstreamChain, cuts.UpstreamChain)
    assert re.fullmatch(r"tests/support/small_cuts\.py:\d+ in summed: return total \* 0\.9", found.source), found
    assert re.search(
        r"it shares no submodule with upstream whose values can be compared; upstream computes the same values up to "
        r"tests/support/small_cuts\.py:\d+ in summed: total = torch\.cumsum\(square, 1\); the output is made at "
        r"tests/support/small_cuts\.py:\d+ in forward: return level\.transpose\(1, 2\) \* 0\.5",
        found.detail,
    ), found


def test_an_output_that_upstream_computes_elsewhere_is_told_as_such() -> None:
    found = of_module(cuts.ChainOfSquares, cuts.UpstreamChain, cuts.UpstreamChain)
    assert line("return torch.cumsum(torch.sin(x * 3) ** 2, 2)").match(found.source)
    assert "upstream computes the same values, but gives others here" in found.detail


def test_the_last_shared_layer_is_on_the_way_of_the_value_and_not_one_that_sees_only_the_style() -> None:
    found = of_module(cuts.CutStyledTooLoud, cuts.UpstreamStyled, cuts.UpstreamStyled)
    assert "after `inner.second`, the last submodule shared with upstream on the way to it" in found.detail
    assert line("loud = half * gain[:, :, None] * 1.5").match(found.source)


def test_a_scripted_upstream_is_compared_by_its_values() -> None:
    def script() -> nn.Module:
        return torch.jit.script(cuts.UpstreamChain())

    found = of_module(cuts.ChainOfMeans, script, script)
    assert found.source.endswith("in summed: return total * 0.9")
    scripted = of_weights(cuts.FilledReversed, model=lambda: torch.jit.script(cuts.Upstream()))
    assert line("return torch.sigmoid(self.end(hidden.flip(1))) * 0.5").match(scripted.source)


def test_a_shared_layer_that_computes_otherwise_is_blamed_itself() -> None:
    def cut(upstream: cuts.Upstream) -> cuts.Cut:
        upstream.inner.first.weight.data *= 1.25
        return cuts.Cut(upstream)

    found = of_module(cut)
    assert (found.value, found.op_index) == ("inner.first", 1)
    assert "`inner.first` itself gives something else on what agrees" in found.detail


def test_a_rewrite_that_shares_nothing_with_upstream_is_told_so() -> None:
    found = of_module(small.Reciprocal)
    shared, computed = found.detail.split("; ")
    assert shared == "it shares no submodule with upstream whose values can be compared"
    assert computed == "upstream computes no such value of the inputs"


def test_layers_are_known_by_their_weights_where_none_was_taken_over() -> None:
    found = of_weights(cuts.FilledReversed)
    assert (found.value, found.op_type, found.op_index, found.op_count) == ("inner.second", "Conv1d", 2, 2)
    assert found.looks_like == "permutation of axis 1: reversed"
    assert line("return torch.sigmoid(self.end(hidden.flip(1))) * 0.5").match(found.source)
    assert re.search(
        r"since `inner\.first`, the last shared submodule that agrees \(tests/support/small_cuts\.py:\d+ in forward: "
        r"hidden = torch\.tanh\(self\.begin\(x\)\)\)",
        found.detail,
    )


def test_layers_with_the_same_weights_are_told_apart_by_nothing_but_their_values() -> None:
    found = of_weights(cuts.FilledReversed, model=cuts.UpstreamTwins)
    assert found.value == ""
    assert line("return torch.sigmoid(self.end(hidden.flip(1))) * 0.5").match(found.source)
    assert re.fullmatch(
        r"it shares no submodule with upstream whose values can be compared; upstream computes the same values up to "
        r"tests/support/small_cuts\.py:\d+ in forward: hidden = torch\.tanh\(self\.begin\(x\)\)",
        found.detail,
    )


def steps(x: np.ndarray) -> list[np.ndarray]:
    """Others, parts of the same, and others that are nearer to a quarter of it."""
    other = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    return [other, x[:, :, :10], x, np.concatenate([x, x], 2), other * 0.25, x[:, :, :20]]


@pytest.mark.parametrize(
    ("rewrite", "value", "looks"),
    [
        (cuts.FilledReversed, "inner.second", "permutation of axis 1: reversed"),
        (cuts.FilledQuiet, "inner.first", "gain 0.25×"),
    ],
)
def test_of_many_steps_the_one_that_was_given_the_same_is_compared(rewrite: Any, value: str, looks: str) -> None:
    found = of_weights(rewrite, heard=steps)
    assert (found.value, found.looks_like) == (value, looks)


def padded(frames: int) -> np.ndarray:
    return np.concatenate([signal(cuts.VALID), np.zeros((1, small.CHANNELS, frames - cuts.VALID), np.float32)], 2)


def valid(x: np.ndarray) -> list[np.ndarray]:
    return [x[:, :, : cuts.VALID]]


def test_a_padded_rewrite_is_compared_as_far_as_upstream_goes() -> None:
    found = of_weights(cuts.PaddedReversed, cuts.Padded, heard=valid, given=padded(60))
    assert (found.value, found.looks_like) == ("inner.second", "permutation of axis 1: reversed")
    assert "since `inner.first`, the last shared submodule that agrees" in found.detail


def test_padding_that_leaks_into_a_layer_is_told() -> None:
    found = of_weights(cuts.Leaking, cuts.Padded, heard=valid, given=padded(60))
    assert found.value == "inner.second"
    assert "what it is given agrees as far as upstream's goes, and what is behind that leaks in" in found.detail
    assert found.looks_like.startswith("local at 40 of 41 along axis 2")


def test_what_a_norm_evens_out_is_blamed_where_it_goes_in() -> None:
    found = of_weights(cuts.EvenTooLoud, cuts.Even, cuts.UpstreamEven)
    assert (found.value, found.looks_like) == ("even", "gain 4×")
    assert "it gives the same still, and `inner.first` is the first that does not" in found.detail


def test_where_upstream_cannot_run_it_says_what_would_tell_more() -> None:
    state, given = dict(cuts.Upstream().state_dict()), {"x": signal()}
    for rewrite, said, end in (
        (cuts.Filled, "install it", "return torch.sigmoid(self.end(torch.tanh(self.begin(x)))) * 0.5"),
        (small.Reciprocal, "it shares no submodule with upstream", "return 1 / small"),
    ):
        stage = small.stage(rewrite)
        module = traceable(stage, state)
        gives = call(module, stage, given)
        reference = {"y": gives["y"] * 2}
        failure = Failure(stage=stage, inputs=given, reference=reference, candidate=gives, outputs=["y"])
        found = blame_unheard(failure, module, "install it")
        assert found.detail.startswith(said)
        assert line(end).match(found.source)
        assert found.looks_like == "gain 0.5×"


def test_a_recording_that_fails_is_told_and_not_raised() -> None:
    stage, upstream = small.stage(cuts.Cut), cuts.Upstream()
    given = {"x": signal()}

    def record() -> None:
        raise RuntimeError("no such case")

    module = traceable(stage, upstream)
    gives = call(module, stage, given)
    failure = Failure(stage=stage, inputs=given, reference={"y": gives["y"] * 2}, candidate=gives, outputs=["y"])
    rewrite = Rewrite(failure, module, upstream, upstream, record)
    found = failure.searched(lambda: blame_module(rewrite))
    assert found.detail == "blame itself failed: RuntimeError: no such case"
