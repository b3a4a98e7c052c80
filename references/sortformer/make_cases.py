"""python -m references.sortformer.make_cases: makes the recordings of the cases again, out of the held-out voices.

Neither voices nor sentences nor seeds were heard in training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile

from parity.diarization import rttm
from parity.diarization.turns import turns
from references.sortformer.bank import open_bank
from references.sortformer.cases import MEETINGS, ROOM
from references.sortformer.evaluate import HELD_OUT
from references.sortformer.meetings import meeting
from references.sortformer.speaking import RATE, TICK


def write(bank_at: Path) -> None:
    bank = open_bank(HELD_OUT, bank_at)
    ROOM.mkdir(exist_ok=True)
    for name, (speakers, seconds, seed) in MEETINGS.items():
        held = meeting(bank, [7, seed, speakers], seconds, speakers)
        soundfile.write(ROOM / f"{name}.flac", np.round(held.samples * 32767).astype(np.int16), RATE)
        rttm.write(ROOM / f"{name}.rttm", {name: turns(held.active, RATE / TICK)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m references.sortformer.make_cases", description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path(".parity/sortformer"), help="for the bank")
    write(parser.parse_args().directory)
