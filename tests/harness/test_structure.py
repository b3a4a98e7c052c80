"""Whether a package is compressed as its variant says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from parity.artifacts import Built
from parity.cache import Cache
from parity.declarations import Stage, Variant, real
from parity.structure import compression
from parity.weights import choose
from tests.harness import stepping_system as small

PLAIN = Variant("fp16", "float16", ships=True)
PALETTE = Variant("fp16-pal4", "float16", palettize=4)
INT8 = Variant("int8", "float16", quantize=True)
SPARING = Variant("int8-sparing", "float16", quantize=True, spared=("out",))


class Wide(nn.Module):
    """Weights that are worth compressing: the palettizer leaves small ones alone."""

    def __init__(self, upstream: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.key, self.out = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.key(x)))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    cache = Cache(tmp_path_factory.mktemp("structure"))
    stage = Stage("wide", Wide, {"x": real(1, 64)}, {"y": real(1, 64)}, (PLAIN, PALETTE, INT8, SPARING))
    artifacts = Built(small.system(), choose(small.REFERENCE, "seeded", cache), cache)
    return {variant.name: artifacts.get(stage, variant).package for variant in stage.variants}


@pytest.mark.parametrize("variant", [PLAIN, PALETTE, INT8, SPARING], ids=lambda variant: variant.name)
def test_what_is_built_is_what_its_label_says(built: dict[str, Path], variant: Variant) -> None:
    assert compression(built[variant.name], variant).passed


@pytest.mark.parametrize(
    ("package", "label", "said"),
    [
        ("fp16", PALETTE, "not palettized, as the variant says"),
        ("fp16", INT8, "not quantized, as the variant says"),
        ("fp16-pal4", PLAIN, "palettized, and the variant is not to be"),
        ("int8", PLAIN, "quantized, and the variant is not to be"),
        ("fp16-pal4", INT8, "palettized, and the variant is not to be"),
        ("int8", SPARING, "quantized, and the variant spares it"),
    ],
)
def test_a_wrong_label_is_told(built: dict[str, Path], package: str, label: Variant, said: str) -> None:
    found = compression(built[package], label)
    assert not found.passed
    assert said in found.message
