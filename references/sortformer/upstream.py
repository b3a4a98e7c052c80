"""NeMo's own model, unpatched: imported, built, and filled from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from references.sortformer.config import Streaming, configuration
from references.sortformer.importing import nemo


def untrained() -> Any:
    """The small model with the weights that torch's generator gives it."""
    return _made(configuration())


def build(settings: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> Any:
    """The model that these settings describe with these weights, in fp32, ready to diarize."""
    model = _made(settings)
    load(model, weights)
    # Dither is noise for training.
    model.preprocessor.featurizer.dither = 0.0
    return model.eval()


def _made(settings: Mapping[str, Any]) -> Any:
    model = nemo()
    from omegaconf import OmegaConf

    return model(cfg=OmegaConf.create(dict(settings)))


def load(model: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Strictly: nothing missing, nothing left over."""
    kept = {
        name: value.float() if value.is_floating_point() else value
        for name, value in {**constants(model), **weights}.items()
    }
    model.load_state_dict(kept, strict=True)


def save(weights: dict[str, torch.Tensor], model: Any, path: Path) -> None:
    """The weights in half precision, except what a batch norm has counted, which may be large; written in one piece."""
    left_out = constants(model)
    kept = {
        name: (value.half() if value.is_floating_point() and "running_" not in name else value).cpu().contiguous()
        for name, value in weights.items()
        if name not in left_out
    }
    partial = path.with_suffix(".partial")
    save_file(kept, partial)
    partial.replace(path)


def constants(model: Any) -> dict[str, torch.Tensor]:
    """Return the parts of the state that the configuration gives: the mel filters and the window."""
    return {name: value for name, value in model.state_dict().items() if name.startswith("preprocessor.")}


def stream(model: Any, streaming: Streaming) -> None:
    """From now on the model streams like this."""
    for name, value in asdict(streaming).items():
        setattr(model.sortformer_modules, name, value)
    model.sortformer_modules._check_streaming_parameters()
