"""The graphs of Qwen3-TTS where no case goes: codes that training never used, late positions, other temperatures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper

from converters.qwen3_tts.attention import Rotary
from converters.qwen3_tts.decoder import Decoder
from converters.qwen3_tts.predictor import CodeGenerator
from converters.qwen3_tts.sampling import Sampling
from references.qwen3_tts.sizes import CODES, GROUPS, SMALL, TOP_K
from references.qwen3_tts.upstream import blank

DEAD = 7


@pytest.fixture(scope="module")
def upstream() -> Any:
    torch.manual_seed(0)
    return blank(SMALL)


@torch.inference_mode()
def test_a_code_that_training_never_used_sounds_as_upstream_has_it(upstream: Any) -> None:
    """Its usage is zero, and upstream divides by no less than a small number."""
    decoder = upstream.decoder
    for part in (decoder.quantizer.rvq_first, decoder.quantizer.rvq_rest):
        for layer in part.vq.layers:
            layer._codebook.embedding_sum.normal_(std=1e-6)
            layer._codebook.cluster_usage.fill_(1e-6)
            layer._codebook.cluster_usage[DEAD] = 0
    codes = torch.full((1, 3, GROUPS), DEAD)
    found = Decoder(upstream, frames=3).eval()(codes)
    assert found.isfinite().all()
    torch.testing.assert_close(found, decoder(codes.transpose(1, 2)).reshape(-1), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_the_angles_of_every_position_are_upstreams(upstream: Any) -> None:
    """No case fills the caches of the talker."""
    talker = upstream.model.talker.model
    positions = torch.arange(SMALL.capacity, dtype=torch.int32)
    theirs = talker.rotary_emb(torch.zeros(1), positions.long().expand(3, 1, -1))
    for ours, expected in zip(Rotary(talker.rotary_emb, SMALL.capacity).at(positions), theirs, strict=True):
        for section in expected:
            torch.testing.assert_close(ours[:, 0], section[0])


@pytest.mark.parametrize("temperature", [0.3, 0.9, 1.7])
def test_other_temperatures_choose_as_upstream_does(temperature: float) -> None:
    """All cases that draw do so at upstream's default."""
    scores = torch.randn(1, CODES, generator=torch.Generator().manual_seed(1)) * 3
    known = TopKLogitsWarper(TOP_K)(None, TemperatureLogitsWarper(temperature)(None, scores))
    best = known[0].argsort(descending=True)[:TOP_K]
    ends = known[0, best].softmax(-1).double().cumsum(-1)
    graph: Any = SimpleNamespace(place=lambda *given: CodeGenerator.place(graph, *given))
    for at in (0, 1, 4, 20):
        uniform = float(ends[at] - ends[0] / 4 if at == 0 else (ends[at - 1] + ends[at]) / 2)
        assert Sampling(temperature).code(scores[0].numpy(), uniform) == best[at]
        found = CodeGenerator.sampled(graph, scores, torch.tensor([temperature]), torch.tensor([np.float32(uniform)]))
        assert found.item() == best[at]
