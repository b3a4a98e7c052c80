"""Upstream's own model, unpatched: built in the configuration of LibriTTS, and filled from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from references.styletts2.importing import models

PARTS = (
    "bert",
    "bert_encoder",
    "predictor",
    "decoder",
    "text_encoder",
    "predictor_encoder",
    "style_encoder",
    "diffusion",
)
"""The parts that inference takes. A checkpoint has more for training: an aligner, a pitch extractor, discriminators."""


def untrained() -> nn.ModuleDict:
    """The parts of the model with the weights that torch's generator gives them."""
    upstream = models()
    from munch import munchify
    from styletts2.Utils.PLBERT.util import CustomAlbert
    from transformers import AlbertConfig

    folder = Path(upstream.__file__).parent
    settings = munchify(_settings(folder / "Configs" / "config_libritts.yml"))
    bert = CustomAlbert(AlbertConfig(**_settings(folder / "Utils" / "PLBERT" / "config.yml")))
    found = upstream.build_model(settings, None, None, bert)
    return nn.ModuleDict({part: found[part] for part in PARTS}).eval()


def build(checkpoint: Path) -> nn.ModuleDict:
    """The model with the weights of a checkpoint in upstream's format: `net`, part by part."""
    model = untrained()
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["net"]
    for part in PARTS:
        model[part].load_state_dict(_bare(state[part]), strict=True)
    return model


def _bare(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights under the names of the part. A published checkpoint was saved from within a wrapper for training."""
    named = {name.removeprefix("module."): value for name, value in state.items()}
    return {name: value for name, value in named.items() if name != "embeddings.position_ids"}


def _settings(path: Path) -> Any:
    return yaml.safe_load(path.read_text())["model_params"]
