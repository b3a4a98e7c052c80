"""Upstream's model classes, without the package's own front door, in the configuration of a size."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import types
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from references.qwen3_tts import sizes
from references.qwen3_tts.sizes import Decoder, Size, Transformer

_PACKAGES = ("qwen_tts", "qwen_tts.core", "qwen_tts.core.models", "qwen_tts.core.tokenizer_12hz", "qwen_tts.inference")
_LOADER = "qwen_tts.inference.qwen3_tts_tokenizer"


@dataclass(frozen=True)
class Upstream:
    """The language model, and the decoder of its codes."""

    model: Any
    decoder: Any


def module(name: str) -> Any:
    """Return a module of the package.

    The front doors of the package and of its folders import the loader of another tokenizer, and all that it wants.
    They stay shut, and the loader's name, which only `from_pretrained` uses, stands for nothing.
    """
    for package in _PACKAGES:
        if package not in sys.modules:
            sys.modules[package] = _shut(package)
    if _LOADER not in sys.modules:
        sys.modules[_LOADER] = types.ModuleType(_LOADER)
        sys.modules[_LOADER].Qwen3TTSTokenizer = None  # type: ignore[attr-defined]
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"qwen_tts.core.{name}")


def _shut(package: str) -> types.ModuleType:
    spec = importlib.util.find_spec("qwen_tts") if package == "qwen_tts" else None
    parent, _, last = package.rpartition(".")
    places = sys.modules[parent].__path__ if parent else (spec.submodule_search_locations or [] if spec else [])
    if not places:
        raise ModuleNotFoundError("qwen-tts is not installed; `make .venv/.ready` installs what the lock names")
    shut = types.ModuleType(package)
    shut.__path__ = [str(Path(place) / last) for place in places] if parent else list(places)
    return shut


def build(size: Size, checkpoint: Path) -> Upstream:
    """Return upstream's models with the weights of a file, of which none may be missing or left over."""
    weights = load_file(checkpoint)
    upstream = blank(size)
    for prefix, model in (("model.", upstream.model), ("decoder.", upstream.decoder)):
        part = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        model.load_state_dict(part, strict=True)
    return upstream


def blank(size: Size) -> Upstream:
    """Return the models with weights of no meaning."""
    configuration = module("models.configuration_qwen3_tts").Qwen3TTSConfig(
        talker_config=talker(size),
        tts_model_type="custom_voice",
        tts_pad_token_id=sizes.TTS_PAD,
        tts_bos_token_id=sizes.TTS_BOS,
        tts_eos_token_id=sizes.TTS_EOS,
        im_start_token_id=sizes.IM_START,
        im_end_token_id=sizes.IM_END,
    )
    speech = module("tokenizer_12hz.configuration_qwen3_tts_tokenizer_v2").Qwen3TTSTokenizerV2DecoderConfig(
        **decoder(size.decoder)
    )
    for each in (configuration, configuration.talker_config, configuration.talker_config.code_predictor_config, speech):
        each._attn_implementation = "eager"
    state = torch.get_rng_state()
    model = module("models.modeling_qwen3_tts").Qwen3TTSForConditionalGeneration(configuration)
    decoding = module("tokenizer_12hz.modeling_qwen3_tts_tokenizer_v2").Qwen3TTSTokenizerV2Decoder(speech)
    torch.set_rng_state(state)
    return Upstream(model.eval(), decoding.eval())


def talker(size: Size) -> dict[str, Any]:
    sections = {"mrope_section": list(size.talker.sections), "interleaved": True}
    return {
        **_transformer(size.talker),
        "rope_scaling": {**sections, "rope_type": "default", "type": "default"},
        "vocab_size": sizes.VOCABULARY,
        "text_vocab_size": sizes.TEXT_VOCABULARY,
        "text_hidden_size": size.text,
        "num_code_groups": sizes.GROUPS,
        "codec_pad_id": sizes.CODEC_PAD,
        "codec_bos_id": sizes.CODEC_BOS,
        "codec_eos_token_id": sizes.CODEC_EOS,
        "codec_think_id": sizes.THINK,
        "codec_nothink_id": sizes.NOTHINK,
        "codec_think_bos_id": sizes.THINK_BOS,
        "codec_think_eos_id": sizes.THINK_EOS,
        "codec_language_id": dict(sizes.LANGUAGES),
        "spk_id": {},
        "spk_is_dialect": {},
        "code_predictor_config": {
            **_transformer(size.predictor),
            "vocab_size": sizes.CODES,
            "num_code_groups": sizes.GROUPS,
        },
    }


def _transformer(size: Transformer) -> dict[str, Any]:
    return {
        "hidden_size": size.width,
        "intermediate_size": size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.shared,
        "head_dim": size.head,
        "rope_theta": size.theta,
    }


def decoder(size: Decoder) -> dict[str, Any]:
    return {
        "codebook_dim": size.codebook,
        "codebook_size": sizes.CODES,
        "num_quantizers": sizes.GROUPS,
        "latent_dim": size.latent,
        "decoder_dim": size.channels,
        "hidden_size": size.width,
        "intermediate_size": size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "head_dim": size.head,
        "sliding_window": size.window,
    }
