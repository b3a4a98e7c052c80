"""A slip in a rewrite that has only weights in common with upstream is blamed on the layer that it reaches first."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from parity.base import lockfile
from parity.base.torch_threads import threads
from parity.record.suite import Suite
from parity.report.terminal import explain
from tests.faults import sortformer_layers as layers
from tests.faults.planting import judged
from tests.faults.sortformer_table import CASE, STREAMING, SYSTEM
from tests.faults.table import Fault, module

NEMO = lockfile.installed("nemo-toolkit")


@dataclass(frozen=True)
class Slip:
    """`reaches` is upstream's name of the first layer that is given something else, or gives it."""

    name: str
    stage: str
    module: Callable[[Any], Any]
    reaches: str
    said: str
    line: str
    looks: str = ""

    @property
    def fault(self) -> Fault:
        return Fault(
            self.name,
            self.stage,
            "module",
            module(self.module),
            ("relative_l2",),
            mode="module",
            system=SYSTEM.name,
            case=CASE,
        )


def head(name: str, slip: type[layers.Head], reaches: str, last: str, line: str, looks: str = "") -> Slip:
    said = f"since `{last}`, the last shared submodule that agrees" if last else f"what `{reaches}` is given differs"
    return Slip(name, "head", partial(slip, frames=STREAMING.frames), reaches, said, line, looks)


SLIPS = (
    head(
        "a half of a feed-forward forgotten",
        layers.WholeHead,
        "encoder.layers.3.norm_self_att",
        "encoder.layers.3.feed_forward1.linear2",
        "x = x + self.attention(self.norm_attention(x), unseen)",
    ),
    head(
        "no scale before the first layer",
        layers.UnscaledHead,
        "encoder.layers.0.norm_feed_forward1",
        "",
        "x = x + 0.5 * self.feed_in(self.norm_feed_in(x))",
        "gain 0.08839×",
    ),
    head(
        "distances off by one",
        layers.ShiftedHead,
        "encoder.layers.2.self_attn.linear_out",
        "encoder.layers.2.self_attn.linear_v",
        "return self.out((weights @ value.transpose(1, 2)).transpose(1, 2).flatten(2))",
    ),
    head(
        "a gate for a value",
        layers.SwappedHead,
        "encoder.layers.1.conv.depthwise_conv",
        "encoder.layers.1.conv.pointwise_conv1",
        "return self.pointwise_out(F.silu(self.norm(self.depthwise(x)))).transpose(1, 2)",
    ),
    head(
        "scores too sharp",
        layers.SharpHead,
        "transformer_encoder.layers.0.first_sub_layer.out_projection",
        "transformer_encoder.layers.0.first_sub_layer.value_net",
        "return self.out(((scores + unseen).softmax(-1) @ value).transpose(1, 2).flatten(2))",
    ),
    Slip(
        "no mask between stages",
        "pre_encoder",
        partial(layers.LeakingPreEncoder, streaming=STREAMING),
        "encoder.pre_encode.conv.2",
        "what it is given agrees as far as upstream's goes, and what is behind that leaks in",
        "return F.relu(self.pointwise(self.depthwise(x)))",
    ),
)


@pytest.mark.skipif(not NEMO, reason="NeMo is not installed: make extra-sortformer")
@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.name)
def test_a_slip_is_blamed_on_the_first_layer_that_it_reaches(suite: Suite, slip: Slip, tmp_path: Path) -> None:
    with threads(1):
        verdict = judged(suite.workbench(slip.fault.check), slip.fault, tmp_path)
    found = verdict.blame
    assert found is not None
    assert (found.value, found.fault) == (slip.reaches, "module"), explain(verdict)
    assert slip.said in found.detail, found
    assert found.source.endswith(slip.line), found
    assert slip.looks in found.looks_like, found


def test_where_upstream_is_not_installed_it_says_what_would_tell_more(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lockfile, "installed", lambda name: name != "nemo-toolkit")
    with threads(1):
        verdict = judged(suite.workbench(SLIPS[0].fault.check), SLIPS[0].fault, tmp_path)
    found = verdict.blame
    assert found is not None
    assert "which layer it begins in can be told where nemo-toolkit is installed: make extra-sortformer" in found.detail
    assert re.search(r"in forward: speaker_preds = torch\.sigmoid", found.source), "the statement that makes the output"
