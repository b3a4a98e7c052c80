"""librosa, imported late because that takes a second, and by one process at a time."""

from __future__ import annotations

import sys
import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock


@cache
def librosa() -> Any:
    """Return the module.

    numba compiles parts of librosa at its first import and at the first search for pitch, and keeps them beside the
    files of librosa. Two processes that do so at once may mix up what they keep, and every later process then crashes.
    """
    place = sha256(sys.prefix.encode()).hexdigest()[:12]
    with FileLock(Path(tempfile.gettempdir()) / f"parity-librosa-{place}.lock", mode=0o666):
        import librosa as module
        import numpy as np

        noise = np.random.default_rng(0).standard_normal(2048)
        module.feature.melspectrogram(y=noise, sr=8_000, n_fft=512)
        module.pyin(noise, fmin=100, fmax=600, sr=8_000, frame_length=512)
    return module
