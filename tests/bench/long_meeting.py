"""``python -m tests.bench.long_meeting``: an hour of a meeting through the streaming chain, in bounded memory.

The meeting is the case's recording, time after time, each time as loud as another draw has it. Prints what memory the
process holds as it goes on, RTFx, and DER against who really spoke.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from parity.base.libraries import threads
from parity.declarations import Arrays
from parity.diarization import der, rttm, turns
from parity.plan.checks import SHIPS, chain_sets
from parity.record.suite import Options, Suite
from parity.run.chain import Free
from parity.run.runtime import Crosser
from parity.verdict import Check

PIECE = 16_000
REPORT = 300
PARTS = ("missed", "false_alarm", "confusion")


def resident() -> float:
    """Megabytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def pieces(audio: np.ndarray, seconds: int) -> Iterator[np.ndarray]:
    """The recording over and over, a second at a time."""
    random = np.random.default_rng(11)
    left, held = seconds * PIECE, np.zeros(0, np.float32)
    while left:
        if len(held) < PIECE:
            held = np.concatenate([held, audio * np.float32(10 ** (random.uniform(-6, 3) / 20))])
        piece, held = held[: min(PIECE, left)], held[PIECE:]
        left -= len(piece)
        yield piece


def repeated(known: np.ndarray, length: float, seconds: int) -> np.ndarray:
    """Who speaks when in that."""
    every = [known + np.array([first, first, 0]) for first in np.arange(0, seconds, length)]
    whole = np.concatenate(every)
    whole[:, :2] = np.minimum(whole[:, :2], seconds)
    kept: np.ndarray = whole[whole[:, 1] > whole[:, 0]]
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.long_meeting", description=__doc__)
    parser.add_argument("--system", default="sortformer_v2_high")
    parser.add_argument("--case", default="quartet")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rttm", type=Path, help="where to write who speaks")
    given = parser.parse_args()
    suite = Suite(Options(), "long-meeting")
    bench = suite.workbench(
        Check(
            system=given.system,
            stage="chain",
            variant=SHIPS,
            case=given.case,
            mode="chained",
            runtime="milrun",
            numerics="declared",
        )
    )
    system, seconds = bench.system, 60 * given.minutes
    case, chosen = system.reference.case(given.case), chain_sets(bench.system)[SHIPS]
    crossers = {
        stage.name: Crosser(stage, chosen[stage.name], bench.session(stage, chosen[stage.name]))
        for stage in system.stages
        if not stage.aside
    }

    def execute(name: str, inputs: Arrays) -> dict[str, np.ndarray]:
        return crossers[name](inputs)

    run = Free(system, {}, execute)
    rate = system.decisions["speaking"].rate or 0.0
    spoken, heard, said, began, most = [], 0, 0.0, time.perf_counter(), 0.0
    with threads(1):
        for chunk in system.chain.diarized(run, pieces(case.inputs["audio"], seconds)):  # type: ignore[attr-defined]
            spoken.append(chunk.astype(bool))
            heard += len(chunk)
            most = max(most, resident())
            if heard / rate >= said:
                took = time.perf_counter() - began
                print(f"{heard / rate / 60:5.1f} min heard, {resident():6.0f} MB, {took:6.1f} s", flush=True)
                said += REPORT
    took = time.perf_counter() - began
    mask = np.concatenate(spoken)
    hypothesis = turns.turns(mask, rate)
    truth = repeated(case.inputs["turns"], len(case.inputs["audio"]) / system.reference.sample_rate, seconds)
    print(f"{seconds} s in {took:.1f} s: RTFx {seconds / took:.1f}; at most {most:.0f} MB")
    for collar in (0.0, 0.25):
        found = der.errors(truth, hypothesis, collar, float(seconds))
        parts = ", ".join(f"{part} {found.share(getattr(found, part)):.1%}" for part in PARTS)
        print(f"DER at collar {collar}: {found.rate:.1%} ({parts})")
    if given.rttm:
        rttm.write(given.rttm, {given.case: hypothesis})


if __name__ == "__main__":
    sys.exit(main())
