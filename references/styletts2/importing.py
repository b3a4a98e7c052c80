"""Upstream's model classes, imported on a CPU build of torch as well."""

from __future__ import annotations

import sys
import warnings
from types import ModuleType
from typing import Any

_EXTENSION = "torchaudio._extension"


def models() -> Any:
    """The module that builds the model. The package's own front door wants a phonemizer, which nothing here needs."""
    _import_torchaudio()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import styletts2.models
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{error.name} is not installed. Install it: make extra-styletts2") from error
    return styletts2.models


def sampling() -> Any:
    """The module of the diffusion sampler."""
    models()
    from styletts2.Modules.diffusion import sampler

    return sampler


def _import_torchaudio() -> None:
    """Upstream's aligner wants it, and nothing here uses it: where its native part was built for another torch, a
    stand-in takes that part's place. The installation stays as it is."""
    if "torchaudio" in sys.modules:
        return
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        module: Any = ModuleType(_EXTENSION)
        module._IS_TORCHAUDIO_EXT_AVAILABLE = module._IS_ALIGN_AVAILABLE = False
        module.fail_if_no_align = lambda function: function
        sys.modules[_EXTENSION] = module
        import torchaudio  # noqa: F401
