"""The frames of `cp_generate` in few bits beside its module's answers: bugs that outputs of few bits could hide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from converters.qwen3_tts import SYSTEMS
from converters.qwen3_tts.predictor import CodeGenerator, CodeReplay
from parity.base.libraries import installed
from parity.build.program import quantized
from references.qwen3_tts.sizes import GROUPS, SMALL
from references.qwen3_tts.upstream import blank
from tests.faults.qwen3_mutants import GreedyOnly, other_scales

pytestmark = pytest.mark.skipif(
    not installed("executorch"), reason="executorch is not installed: make extra-executorch"
)
STAGE = SYSTEMS[0].stage("cp_generate")
FEW = STAGE.variant("pte-8da4w")
BOUND = 0.88
"""The share of codes that golden/qwen3_tts_small/gates.toml wants."""


class Untempered(CodeGenerator):
    def sampled(self, scores: Tensor, temperature: Tensor, uniform: Tensor) -> Tensor:
        return super().sampled(scores, torch.ones_like(temperature), uniform)


def one_place(module: Any) -> None:
    for turn in module.turns:
        turn.cosine.copy_(module.turns[0].cosine)
        turn.sine.copy_(module.turns[0].sine)


def other_heads(module: Any) -> None:
    heads = [turn.head.clone() for turn in module.turns]
    for turn, head in zip(module.turns, heads[1:] + heads[:1], strict=True):
        turn.head.copy_(head)


@pytest.fixture(scope="module")
def upstream() -> Any:
    torch.manual_seed(0)
    return blank(SMALL)


def agreement(upstream: Any, built: nn.Module) -> float:
    """Return the share of codes that the module in few bits chooses as well, after those before them."""
    answer = quantized(CodeReplay(upstream).eval(), STAGE, FEW)
    draw = torch.Generator().manual_seed(1)
    rows = [torch.randn(2, 1, 1, SMALL.talker.width, generator=draw) for _ in range(4)]
    equal = []
    for hidden, embed in rows:
        given = hidden, embed, torch.tensor([0.1]), torch.rand(GROUPS - 1, generator=draw)
        with torch.inference_mode():
            codes, total = built(*given)
            asked, expected = answer(*given, codes, total)
        equal.append((codes == asked).float().mean().item())
        torch.testing.assert_close(total, expected)
    return sum(equal) / len(equal)


def test_a_sound_artifact_agrees_with_its_module(upstream: Any) -> None:
    assert agreement(upstream, quantized(CodeGenerator(upstream).eval(), STAGE, FEW)) == 1.0


@pytest.mark.parametrize("module", [GreedyOnly, Untempered])
def test_another_sampling_breaks_the_bound(upstream: Any, module: Callable[[Any], nn.Module]) -> None:
    assert agreement(upstream, quantized(module(upstream).eval(), STAGE, FEW)) < BOUND


@pytest.mark.parametrize("change", [one_place, other_heads, other_scales])
def test_another_graph_breaks_the_bound(upstream: Any, change: Callable[[Any], None]) -> None:
    module = quantized(CodeGenerator(upstream).eval(), STAGE, FEW)
    change(module)
    assert agreement(upstream, module) < BOUND


def test_other_groups_break_the_bound(upstream: Any) -> None:
    assert agreement(upstream, quantized(CodeGenerator(upstream).eval(), STAGE, replace(FEW, group=64))) < BOUND
