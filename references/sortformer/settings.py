"""Settings in an archive: the size of its model, and whether the port computes such a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from references.sortformer.config import PUBLISHED, Sizes, Streaming, configuration

Settings = Mapping[str, Any]
_SIZES = {
    "width": "encoder.d_model",
    "conformer_layers": "encoder.n_layers",
    "conformer_heads": "encoder.n_heads",
    "channels": "encoder.subsampling_conv_channels",
    "head_width": "transformer_encoder.hidden_size",
    "transformer_layers": "transformer_encoder.num_layers",
    "transformer_heads": "transformer_encoder.num_attention_heads",
}
# What only training draws on, and what each way of streaming sets.
_FREE = {
    "pil_weight",
    "ats_weight",
    "lr",
    "streaming_mode",
    "preprocessor.dither",
    "sortformer_modules.scores_add_rnd",
    "sortformer_modules.causal_attn_rate",
    "sortformer_modules.causal_attn_rc",
    *(f"sortformer_modules.{name}" for name in Streaming.__dataclass_fields__),
}


class SettingsError(ValueError):
    """A model that is not the one that was ported."""


def sizes_of(settings: Settings) -> Sizes:
    return Sizes(**{field: _size(settings, name) for field, name in _SIZES.items()})


def ported(settings: Settings, source: str) -> dict[str, Any]:
    """The settings that NeMo's class is built from, if they are those of a model as the port computes it.

    Nothing else of the archive's settings is taken: those of training name data, and what is named "_target_" is run.
    """
    ours = configuration(sizes_of(settings))
    taken = {name: settings.get(name, value) for name, value in ours.items() if name != "loss"} | {"loss": ours["loss"]}
    expected, found = dict(_leaves(ours)), dict(_leaves(taken))
    wrong = [
        f"{name} is {value!r}, not {expected.get(name)!r}"
        for name, value in found.items()
        if (_decides(name) and value != expected.get(name, value)) or (_runs(name) and name not in expected)
    ]
    if wrong:
        raise SettingsError(f"{source} is of another model than the one that was ported: {'; '.join(wrong)}")
    return taken


def _size(settings: Settings, name: str) -> int:
    section, _, key = name.partition(".")
    part = settings.get(section)
    value = part.get(key) if isinstance(part, Mapping) else None
    largest = 4 * getattr(PUBLISHED, next(field for field, known in _SIZES.items() if known == name))
    if not isinstance(value, int) or not 0 < value <= largest:
        raise SettingsError(f"{name} is {value!r} where a size up to {largest} is expected: this is no Sortformer")
    return value


def _leaves(settings: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(settings, Mapping):
        parts = list(settings.items())
    elif isinstance(settings, list):
        parts = list(enumerate(settings))
    else:
        yield name, settings
        return
    for key, value in parts:
        yield from _leaves(value, f"{name}.{key}" if name else str(key))


def _decides(name: str) -> bool:
    return name not in _FREE and "dropout" not in name and not name.startswith("loss.")


def _runs(name: str) -> bool:
    """Hydra takes names that begin so for what to call and how."""
    return name.rpartition(".")[2].startswith("_")
