"""A passage rendered again by the same upstream model: other kernels, and inputs a few ulp off. What the goldens
measure the spread of rounding with gives the speech metrics their floor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from parity.base.fingerprint import code, digest
from parity.declarations import Case
from parity.golden.recording import Recording
from parity.golden.rounding import spread
from parity.golden.store import GoldenStore
from parity.judge.workbench import Workbench

KIND, FILE = "rendering", "renderings.safetensors"


def render(bench: Workbench, case: Case, output: str) -> list[np.ndarray]:
    """One output of every rendering, which are made once for a golden."""
    store = bench.goldens
    assert isinstance(store, GoldenStore), "renderings are made by what recorded the goldens"
    parts = {"golden": store.identity(case), "output": output, "by": digest(code(rendered, spread))}

    def make(folder: Path) -> None:
        found = [spoken(recording, output) for recording in rendered(store, case)]
        save_file({f"{i:03}": audio for i, audio in enumerate(found)}, folder / FILE)

    found = load_file(bench.cache.get(KIND, digest(parts), make, parts) / FILE)
    return [found[name] for name in sorted(found)]


def rendered(store: GoldenStore, case: Case) -> list[Recording]:
    """What `spread` has recorded on its way: it looks at how far apart they are, we listen to them."""
    made: list[Recording] = []

    def record(nudged: Case) -> Recording:
        made.append(store.record(nudged))
        return made[-1]

    entry, _ = store.checked(case)
    spread(case, store.recorded(entry) or store.record(case), record)
    return made


def spoken(recording: Recording, output: str) -> np.ndarray:
    """One audio output, all of its frames in a row."""
    stage, _, name = output.rpartition(".")
    parts = [
        np.asarray(held.array, np.float32).reshape(-1)
        for place, held in recording.places()
        if place.seam == stage and place.side == "outputs" and place.name == name
    ]
    if not parts:
        raise KeyError(f"the recording has no output {output}: its reference yields no such seam")
    return np.concatenate(parts)
