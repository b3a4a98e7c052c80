"""One utterance: what espeak-ng says, as 16 kHz samples, and when in it somebody is speaking."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from references.sortformer.voices import Voice

RATE = 16_000
TICK = RATE // 100  # activity, and with it every label, is kept in steps of 10 ms
_ESPEAK_RATE = 22_050
_QUIET = 10 ** (-38 / 20)  # under the loud parts of the utterance, that is silence
_PAUSE = 25  # shorter ones, in ticks, belong to the speech around them
_CLICK = 4


class SpeakingError(Exception):
    """espeak-ng is missing, or didn't say what was asked for."""


def espeak() -> str:
    """The program, or an error that says how to get it."""
    found = shutil.which("espeak-ng")
    if found is None:
        raise SpeakingError("espeak-ng is not installed: no voices for the meetings; apt-get install espeak-ng")
    return found


def version() -> str:
    return _said([espeak(), "--version"]).decode().split("Data at")[0].strip()


def prepared(voice: Voice, directory: Path) -> Path:
    """A data directory for espeak-ng that knows this voice's variant too; the installed one stays as it is.

    One voice to a directory: espeak-ng lists 350 files at most, and what it doesn't find then it replaces, silently,
    by another voice."""
    answer = re.search(r"Data at: (.+)", _said([espeak(), "--version"]).decode())
    if answer is None:
        raise SpeakingError("espeak-ng --version doesn't say where its data is")
    data = directory / "espeak-ng-data"
    own = data / "voices" / "!v"
    own.mkdir(parents=True, exist_ok=True)
    installed = Path(answer[1].strip())
    for parent in (Path(), Path("voices"), Path("voices/!v")):
        for path in (installed / parent).iterdir():
            link = data / parent / path.name
            if not link.exists():
                link.symlink_to(path)
    if voice.definition:
        (own / voice.variant).write_text(voice.definition)
    return directory


def spoken(voice: Voice, text: str, directory: Path) -> NDArray[np.int16]:
    """Return the text spoken by this voice, without the silence around it, at half of full scale."""
    from scipy.signal import resample_poly  # takes half a second

    command = [espeak(), f"--path={directory}", "-v", f"{voice.accent}+{voice.variant}", "-s", str(voice.rate)]
    command += ["-p", str(voice.pitch), "-g", str(voice.gap), "--stdout", text]
    wave = _said(command)
    # Written to a pipe, the header doesn't know how long the sound is.
    data = wave[wave.index(b"data") + 8 :]
    samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32)
    if int.from_bytes(wave[24:28], "little") != _ESPEAK_RATE:
        raise SpeakingError(f"espeak-ng spoke at another rate than {_ESPEAK_RATE} Hz as {voice.name}")
    samples = resample_poly(samples, 320, round(441 * voice.size)).astype(np.float32)
    ticks = np.flatnonzero(activity(samples))
    if len(ticks) == 0:
        raise SpeakingError(f"{voice.name} said nothing: {text}")
    samples = samples[ticks[0] * TICK : (ticks[-1] + 1) * TICK]
    return np.round(samples * (16_384 / np.abs(samples).max())).astype(np.int16)


def activity(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """For each tick, whether somebody speaks: loud enough, short pauses bridged, clicks left out."""
    from scipy.ndimage import binary_closing, binary_opening

    count = -(-len(samples) // TICK)
    padded = np.pad(samples, (0, count * TICK - len(samples)))
    loudness = np.sqrt(np.mean(np.square(padded.reshape(count, TICK), dtype=np.float64), axis=1))
    loud = loudness > _QUIET * np.percentile(loudness, 95)
    wide = np.pad(loud, _PAUSE)
    wide = binary_closing(binary_opening(wide, np.ones(_CLICK)), np.ones(_PAUSE))
    result: NDArray[np.bool_] = wide[_PAUSE:-_PAUSE]
    return result


def _said(command: list[str]) -> bytes:
    done = subprocess.run(command, capture_output=True, timeout=60, env={**os.environ, "LC_ALL": "C.UTF-8"})
    if done.returncode:
        raise SpeakingError(f"espeak-ng failed: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return done.stdout
