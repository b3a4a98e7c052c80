"""Groups of tensor kinds that many metrics share. `parity.declarations.Kind` lists the kinds."""

from __future__ import annotations

from parity.declarations import AUDIBLE, Kind

AUDIO = AUDIBLE
SHAPE: tuple[Kind, ...] = ("features", "pitch", *AUDIO)
"""Kinds of which all values count alike: a curve, a waveform, an activation."""
SCALE: tuple[Kind, ...] = (*SHAPE, "cache", "speakers")
ABSOLUTE: tuple[Kind, ...] = ("durations", "cache", "margin", "speakers")
"""Kinds of which one single value decides."""
ACTIVITY: tuple[Kind, ...] = ("speakers", "diarization")
DIARIZATION: tuple[Kind, ...] = ("diarization",)
