"""Libraries of others, kept in check: librosa's first import, torch's threads and pages, the noise of all."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock


@cache
def librosa() -> Any:
    """Return librosa, imported late because that takes a second, and by one process at a time.

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


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads within the context."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def large_pages() -> None:
    """Have torch ask for huge pages, from its first large tensor on.

    The kernel clears each page. In pages of 4 kB, a vocoder at its largest sizes takes twice the time.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


@contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings of other packages, and log lines up to warnings, within the context. `python -W` shows them."""
    if sys.warnoptions:
        yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", module=r"parity\.")
            yield
    finally:
        logging.disable(before)
