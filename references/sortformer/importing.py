"""NeMo, imported with what it needs, on a CPU build of torch as well."""

from __future__ import annotations

import os
import sys
import warnings
from types import ModuleType
from typing import Any

_EXTENSION = "torchaudio._extension"


def nemo() -> Any:
    """The class of the model. The import takes seconds; NeMo's progress bars and its advice are kept quiet."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    _import_torchaudio()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nemo.collections.asr.models import SortformerEncLabelModel
        from nemo.utils import logging

    logging.setLevel(logging.ERROR)
    return SortformerEncLabelModel


def _import_torchaudio() -> None:
    """NeMo's data loaders want it, and nothing here uses it: where its native part was built for another torch, a
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
