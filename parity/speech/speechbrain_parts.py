"""speechbrain's parts of the speaker encoder, imported without what their packages do beside that."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

EXTENSION = "torchaudio._extension"


def parts() -> tuple[Any, Any, Any]:
    """Return the classes of the features, of their normalisation and of the network."""
    _import_torchaudio()
    from speechbrain.lobes.features import Fbank
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
    from speechbrain.processing.features import InputNormalization
    from speechbrain.utils.importutils import LazyModule

    # Under its old names speechbrain keeps modules that load half of it as soon as anything looks at them, which
    # whatever walks sys.modules does.
    for name, module in list(sys.modules.items()):
        if name.startswith("speechbrain.") and isinstance(module, LazyModule):
            del sys.modules[name]
    return Fbank, InputNormalization, ECAPA_TDNN


def _import_torchaudio() -> None:
    """Import torchaudio, with a stand-in for its native part if that was built for another torch.

    Only its Python code is used. The installation stays unchanged.
    """
    if "torchaudio" in sys.modules:
        return
    try:
        import torchaudio
    except (OSError, RuntimeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules[EXTENSION] = _stand_in()
        import torchaudio  # noqa: F401


def _stand_in() -> ModuleType:
    module: Any = ModuleType(EXTENSION)
    module._IS_TORCHAUDIO_EXT_AVAILABLE = module._IS_ALIGN_AVAILABLE = False
    module.fail_if_no_align = lambda function: function
    return module
