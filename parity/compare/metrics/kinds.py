"""Which metrics compare which kind of tensor. Each set sees every fault that matters for its kind."""

from __future__ import annotations

from collections.abc import Mapping

from parity.declarations import Kind

_SHAPE_AND_SCALE = ("cosine", "relative_l2", "rms_ratio", "max_relative")

_AUDIO = (
    *_SHAPE_AND_SCALE,
    "gain_db",
    "dc_offset",
    "shift",
    "phase_error",
    "log_mel_distance",
    "mel_correlation",
    "high_band_power",
    "length_ratio",
)

_SPEAKERS = ("threshold_agreement", "speaker_overlap")

_DIARIZATION = (
    *_SPEAKERS,
    "speaker_count",
    "overlap_frames",
    "der",
    "der_collar",
    "missed",
    "false_alarm",
    "confusion",
    "der_delta",
    "der_delta_collar",
)

KINDS: Mapping[Kind, tuple[str, ...]] = {
    "features": (*_SHAPE_AND_SCALE, "envelope_distance"),
    "durations": ("relative_l2", "rms_ratio", "max_abs", "frames_equal"),
    "pitch": (*_SHAPE_AND_SCALE, "f0_correlation", "voicing_agreement"),
    "audio": _AUDIO,
    "stream": (*_AUDIO, "click"),
    "cache": ("cosine", "relative_l2", "rms_ratio", "max_abs"),
    "counter": ("equal",),
    "margin": ("relative_l2", "max_abs", "signs_equal", "margin_used"),
    "speakers": ("cosine", "relative_l2", "rms_ratio", "max_abs", "argmax_agreement", *_SPEAKERS),
    "diarization": _DIARIZATION,
    # Not how many slots are equal: where one frame more is kept, all slots behind it hold another one.
    "kept": ("frames_kept",),
}
