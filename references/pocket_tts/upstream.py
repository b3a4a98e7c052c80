"""The upstream package, imported so that it leaves the process as it was, and its models."""

from __future__ import annotations

import importlib
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from references.pocket_tts import words
from references.pocket_tts.passages import VOCABULARY
from references.pocket_tts.sizes import STEPS, TEMPERATURE, Size


def module(name: str = "pocket_tts") -> Any:
    """A module of the package. Importing it sets torch to one thread, for the whole process; this sets it back."""
    threads = torch.get_num_threads()
    try:
        found = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; `make .venv/.ready` installs what the lock names") from error
    finally:
        torch.set_num_threads(threads)
    logging.getLogger("pocket_tts").setLevel(logging.ERROR)
    return found


def build(size: Size, checkpoint: Path) -> Any:
    """The upstream's TTSModel with the weights of a safetensors file, read by its own strict loader."""
    return _load(size, str(checkpoint.resolve()))


def blank(size: Size) -> Any:
    """The model with weights of no meaning: it tells what there is to seed."""
    return _load(size, None)


def _load(size: Size, weights: str | None) -> Any:
    package = module()
    described = yaml.safe_load((module("pocket_tts.utils.config").CONFIGS_DIR / f"{size.config}.yaml").read_text())
    described["weights_path"] = weights
    described["weights_path_without_voice_cloning"] = None
    described["flow_lm"]["flow"]["type"] = "lsd"
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, config = Path(folder) / "tokenizer.json", Path(folder) / f"{size.config}.yaml"
        words.write(VOCABULARY, tokenizer)
        described["flow_lm"]["lookup_table"].update(tokenizer="tokenizers", tokenizer_path=str(tokenizer))
        config.write_text(yaml.safe_dump(described))
        model = package.TTSModel.load_model(
            config=config, temp=TEMPERATURE, sampler_decode_steps=STEPS, eos_threshold=size.eos_threshold
        )
    return model.eval()


def tokenizer(held: np.ndarray) -> Any:
    """The upstream's own tokenizer of a published file: sentencepiece's, or a tokenizer.json."""
    content = held.tobytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("tokenizer.json" if content.startswith(b"{") else "tokenizer.model")
        path.write_bytes(content)
        return module("pocket_tts.modules.text_conditioner").build_tokenizer(words.ENTRIES, str(path))
