"""Executor of Core ML model packages: runs the serialized ML program op by op, on any machine.

Example:
    >>> import milrun
    >>> model = milrun.load("Vocoder.mlpackage")
    >>> outputs = model.predict({"asr": asr, "style": style})
"""

from __future__ import annotations

from milrun.bridge import install
from milrun.errors import ModelError
from milrun.loading import Pipeline, load
from milrun.model import Model, State
from milrun.plan import Tap

__all__ = ["Model", "ModelError", "Pipeline", "State", "Tap", "__version__", "install", "load"]
__version__ = "0.1.0"
