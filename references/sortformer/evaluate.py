"""python -m references.sortformer.evaluate: how well a checkpoint tells held-out voices apart, offline and streaming.

The meetings are of voices, families of voices and sentences that training never had; their seeds are fixed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parity.diarization.der import Errors, errors
from parity.diarization.turns import turns
from references.sortformer import provenance, upstream
from references.sortformer.bank import Bank, Contents, open_bank
from references.sortformer.checkpoint import TRAINED, Source
from references.sortformer.config import (
    DEFAULT,
    EFFICIENT,
    NVIDIA_HIGH,
    NVIDIA_LOW,
    SPEAKERS,
    THRESHOLD,
    UPSTREAM,
    Streaming,
)
from references.sortformer.labels import Mask, ticks
from references.sortformer.meetings import Meeting, meeting

HELD_OUT = Contents("held_out", speakers=56, utterances=14, seed=7)
MODES: dict[str, Streaming | None] = {
    "offline": None,
    "default": DEFAULT,
    "nvidia_low": NVIDIA_LOW,
    "nvidia_high": NVIDIA_HIGH,
    "efficient": EFFICIENT,
    "upstream": UPSTREAM,
}
COLLARS = (0.0, 0.25)
TICKS = 100.0


def meetings(bank: Bank, each: int, seconds: float) -> Iterator[tuple[int, Meeting]]:
    """So many meetings of one speaker, of two, of three, of four; with the number of speakers."""
    for speakers in range(1, SPEAKERS + 1):
        for number in range(each):
            yield speakers, meeting(bank, [7, 13, speakers, number], seconds, speakers)


@torch.no_grad()
def diarized(model: Any, samples: np.ndarray[Any, np.dtype[np.float32]], streaming: Streaming | None) -> Mask:
    """Return who speaks at each tick, by the model's own forward pass."""
    model.streaming_mode = streaming is not None
    if streaming is not None:
        upstream.stream(model, streaming)
    device = next(model.parameters()).device
    audio = torch.from_numpy(samples)[None].to(device)
    # NeMo shows its progress there, asked or not.
    with contextlib.redirect_stderr(io.StringIO()):
        found = model(audio_signal=audio, audio_signal_length=torch.tensor([audio.shape[1]], device=device))
    result: Mask = (found[0] > THRESHOLD).cpu().numpy()
    return result


def evaluate(model: Any, bank: Bank, modes: list[str], each: int, seconds: float) -> dict[str, Any]:
    """DER and its parts by mode and collar, and DER by the number of speakers."""
    found: dict[str, dict[float, list[tuple[int, Errors]]]] = {
        mode: {collar: [] for collar in COLLARS} for mode in modes
    }
    for speakers, held in meetings(bank, each, seconds):
        for mode in modes:
            heard = ticks(diarized(model, held.samples, MODES[mode]), len(held.active))
            for collar in COLLARS:
                ours, theirs = turns(held.active, TICKS), turns(heard, TICKS)
                found[mode][collar].append((speakers, errors(ours, theirs, collar, len(heard) / TICKS)))
    return {mode: {str(collar): _summary(results) for collar, results in found[mode].items()} for mode in modes}


def _summary(results: list[tuple[int, Errors]]) -> dict[str, Any]:
    whole = _total(one for _, one in results)
    by_speakers = {
        str(count): round(_total(one for speakers, one in results if speakers == count).rate, 4)
        for count in sorted({speakers for speakers, _ in results})
    }
    return {
        "der": round(whole.rate, 4),
        "missed": round(whole.missed / whole.speech, 4),
        "false_alarm": round(whole.false_alarm / whole.speech, 4),
        "confusion": round(whole.confusion / whole.speech, 4),
        "by_speakers": by_speakers,
    }


def _total(every: Iterable[Errors]) -> Errors:
    return sum(every, Errors(0.0, 0.0, 0.0, 0.0))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m references.sortformer.evaluate", description=__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=TRAINED)
    parser.add_argument("--directory", type=Path, default=Path(".parity/sortformer"), help="for the bank")
    parser.add_argument("--modes", default="offline,default,nvidia_high", help=f"of {', '.join(MODES)}")
    parser.add_argument("--each", type=int, default=6, help="meetings for every number of speakers")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that speak")
    parser.add_argument("--write", action="store_true", help="the result into the provenance beside the checkpoint")
    given = parser.parse_args()
    began = time.monotonic()
    bank = open_bank(HELD_OUT, given.directory, given.processes)
    model = Source(given.checkpoint).nemo.to(given.device)
    found = evaluate(model, bank, given.modes.split(","), given.each, given.seconds)
    print(json.dumps(found, indent=1))
    if given.write:
        facts = {"seconds": given.seconds, "meetings": SPEAKERS * given.each, "voices": bank.digest(), "der": found}
        provenance.write(given.checkpoint, {"held_out": facts})
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
