"""``python -m tests.published``: the table of published packages.

``--frames 4096``, the upper end of CREPE's flexible shape, takes half an hour and 11 GB for the full model.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import milrun
from tests.published.packages import PACKAGES, Array, Published, distance, frames

_ROUNDS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=512, help="the most frames that CREPE is run on")
    most = parser.parse_args().frames
    torch.set_num_threads(1)
    print("| package | input | fp32, weights rounded | fp32, as trained | declared | time, fp32 / other form |")
    print("| --- | --- | --- | --- | --- | --- |")
    for published in PACKAGES:
        if missing := published.missing():
            print(f"| {published.name} | not installed: {', '.join(missing)} | | | | |")
            continue
        signals = {name: make() for name, make in published.signals.items()}
        if published.input == "frames":
            signals[f"{most} frames"] = frames(most)
        for name, x in signals.items():
            print(_row(published, name, x), flush=True)


def _row(published: Published, name: str, x: Array) -> str:
    rounded, trained = published.other(True), published.other(False)
    models = {numerics: milrun.load(published.package(), numerics=numerics) for numerics in ("fp32", "declared")}
    inputs = {published.input: x}
    outputs = {numerics: model.predict(inputs) for numerics, model in models.items()}
    expected = trained(x)
    distances = (
        distance(outputs["fp32"], rounded(x)),
        distance(outputs["fp32"], expected),
        distance(outputs["declared"], expected),
    )
    rounds = _ROUNDS if x.size < 1 << 20 else 1
    pairs = [(_seconds(lambda: models["fp32"].predict(inputs)), _seconds(lambda: trained(x))) for _ in range(rounds)]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    cells = (published.name, name, *(f"{value:.1e}" for value in distances), f"{ratio:.2f}")
    return f"| {' | '.join(cells)} |"


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
