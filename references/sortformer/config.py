"""Configuration of a Sortformer: its sizes, its ways of streaming, and what they have in common.

The trained model has every part of the published streaming v2 (facts of its configuration), with fewer and narrower
layers, so that it trains in a night and travels with the code.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

FEATURES = 128
SUBSAMPLING = 8
HOP = 160
BLOCK = 48
"""Frames of the spectrogram that the port makes at once."""
BEFORE = 2 * HOP
"""Samples of a block before the middle of its first frame; there are as many behind the last one's."""
SAMPLES = BLOCK * HOP + 3 * HOP
SPEAKERS = 4
FRAMES_PER_SECOND = 12.5
THRESHOLD = 0.5
SILENT_PER_SPEAKER = 3
CERTAIN = 0.25
LATEST = 0.05
QUIET = 0.2
STRONG, WEAK, ENOUGH = 0.75, 1.5, 0.5
"""Shares of a speaker's part of the cache: frames to keep by all means, frames to prefer, single speech to want."""
_NEMO = "nemo.collections.asr."


@dataclass(frozen=True)
class Sizes:
    """`width` and `head_width` are those of the conformer and of the transformer on it."""

    width: int
    conformer_layers: int
    conformer_heads: int
    channels: int
    head_width: int
    transformer_layers: int
    transformer_heads: int


SMALL = Sizes(128, 7, 4, 128, 96, 4, 4)
PUBLISHED = Sizes(512, 17, 8, 256, 192, 18, 8)


@dataclass(frozen=True)
class Streaming:
    """In frames of 80 ms: how much is new at each step, what of its surroundings is seen with it, how much the queue
    holds, and how much of that moves to the speaker cache at once."""

    chunk_len: int
    chunk_right_context: int
    chunk_left_context: int
    fifo_len: int
    spkcache_update_period: int
    spkcache_len: int = 188

    @property
    def window(self) -> int:
        """The frames of the recording that the pre-encoder sees at a step."""
        return self.chunk_left_context + self.chunk_len + self.chunk_right_context

    @property
    def frames(self) -> int:  # unexercised: the shapes of stages need it, the host does not
        """The frames that the head sees at a step: cache, queue and window."""
        return self.spkcache_len + self.fifo_len + self.window

    @property
    def popped(self) -> int:
        """The most that moves from the queue to the cache at once."""
        return self.fifo_len + self.chunk_len


# As the port ships them; of Efficient only the chunk is known.
DEFAULT = Streaming(6, 7, 1, 40, 31)
NVIDIA_LOW = Streaming(6, 7, 1, 188, 144)
NVIDIA_HIGH = Streaming(340, 40, 1, 40, 300)
EFFICIENT = Streaming(25, 7, 1, 40, 31)
# As upstream trains.
UPSTREAM = Streaming(188, 1, 1, 0, 188)


def configuration(sizes: Sizes = SMALL, streaming: Streaming = DEFAULT) -> dict[str, Any]:
    """Return the configuration of NeMo's model class."""
    return {
        "sample_rate": 16_000,
        "pil_weight": 0.5,
        "ats_weight": 0.5,
        "max_num_of_spks": 4,
        "streaming_mode": True,
        "model_defaults": {"fc_d_model": sizes.width, "tf_d_model": sizes.head_width},
        "preprocessor": {
            "_target_": _NEMO + "modules.AudioToMelSpectrogramPreprocessor",
            # The published streaming checkpoints don't normalise; the example in NeMo's repository says otherwise.
            "normalize": "NA",
            "window_size": 0.025,
            "sample_rate": 16_000,
            "window_stride": 0.01,
            "window": "hann",
            "features": 128,
            "n_fft": 512,
            "frame_splicing": 1,
            "dither": 1e-5,
        },
        "sortformer_modules": {
            "_target_": _NEMO + "modules.sortformer_modules.SortformerModules",
            "num_spks": 4,
            "dropout_rate": 0.1,
            "fc_d_model": sizes.width,
            "tf_d_model": sizes.head_width,
            **asdict(streaming),
            "spkcache_sil_frames_per_spk": SILENT_PER_SPEAKER,
            "scores_add_rnd": 0,
            "pred_score_threshold": CERTAIN,
            "max_index": 99999,
            "scores_boost_latest": LATEST,
            "sil_threshold": QUIET,
            "strong_boost_rate": STRONG,
            "weak_boost_rate": WEAK,
            "min_pos_scores_rate": ENOUGH,
            "causal_attn_rate": 0.5,
            "causal_attn_rc": 7,
        },
        "encoder": {
            "_target_": _NEMO + "modules.ConformerEncoder",
            "feat_in": 128,
            "feat_out": -1,
            "n_layers": sizes.conformer_layers,
            "d_model": sizes.width,
            "subsampling": "dw_striding",
            "subsampling_factor": 8,
            "subsampling_conv_channels": sizes.channels,
            "causal_downsampling": False,
            "ff_expansion_factor": 4,
            "self_attention_model": "rel_pos",
            "n_heads": sizes.conformer_heads,
            "att_context_size": [-1, -1],
            "att_context_style": "regular",
            "xscaling": True,
            "untie_biases": True,
            "pos_emb_max_len": 5000,
            "conv_kernel_size": 9,
            "conv_norm_type": "batch_norm",
            "conv_context_size": None,
            "dropout": 0.1,
            "dropout_pre_encoder": 0.1,
            "dropout_emb": 0.0,
            "dropout_att": 0.1,
        },
        "transformer_encoder": {
            "_target_": _NEMO + "modules.transformer.transformer_encoders.TransformerEncoder",
            "num_layers": sizes.transformer_layers,
            "hidden_size": sizes.head_width,
            "inner_size": 4 * sizes.head_width,
            "num_attention_heads": sizes.transformer_heads,
            "attn_score_dropout": 0.1,
            "attn_layer_dropout": 0.1,
            "ffn_dropout": 0.1,
            "hidden_act": "relu",
            "pre_ln": False,
            "pre_ln_final_layer_norm": True,
        },
        "loss": {"_target_": _NEMO + "losses.bce_loss.BCELoss", "weight": None, "reduction": "mean"},
        "lr": 1e-4,
    }
