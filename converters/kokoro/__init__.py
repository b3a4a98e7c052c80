"""Kokoro in seven Core ML graphs, cut as laishere/kokoro-coreml ships it: what differs from upstream is what tracing or
Core ML forbids, nothing else."""

from __future__ import annotations

from converters.kokoro.glue import speak
from converters.kokoro.stages import INNER, STAGES
from parity.declarations import System
from references.kokoro import REFERENCE

SYSTEM = System(REFERENCE, STAGES, speak, inner=INNER)
