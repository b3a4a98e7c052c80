"""librosa in several processes: what numba keeps beside its files has to survive two first imports at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAR = """
import numpy as np
from parity.base.libraries import librosa

tone = np.sin(2 * np.pi * 200 * np.arange(8_000) / 8_000)
pitch, _, _ = librosa().pyin(tone, fmin=65, fmax=600, sr=8_000)
print(round(float(np.nanmedian(pitch))))
"""


def test_two_processes_may_import_it_for_the_first_time_at_once(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[3])
    # What is compiled without optimization is kept in the same files, and made in two thirds of the time.
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "0", "PYTHONPATH": root}

    def heard() -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", HEAR], env=environment, stdout=subprocess.PIPE, text=True)

    first, second = heard(), heard()
    said = [process.communicate()[0].strip() for process in (first, second)]
    third = heard()
    said.append(third.communicate()[0].strip())
    assert said == ["200"] * 3
    assert [process.returncode for process in (first, second, third)] == [0] * 3
    assert list(tmp_path.rglob("*.nbi"))
