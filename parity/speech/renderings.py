"""Other renderings of a passage: upstream's own model again, with other rounding. They give the metrics their floor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from parity.base.cache import Cache
from parity.base.fingerprint import code, digest
from parity.declarations import Case
from parity.golden.rounding import rerecorded
from parity.golden.store import GoldenStore

KIND, FILE = "rendering", "renderings.safetensors"


def render(goldens: GoldenStore, cache: Cache, case: Case, output: str) -> list[np.ndarray]:
    """Return one audio output, such as `tail.audio`, of every rendering; they are made once for a golden."""
    parts = {"golden": goldens.identity(case), "scope": goldens.scope, "output": output}
    parts["by"] = digest(code(rerecorded))
    stage, _, name = output.rpartition(".")

    def make(folder: Path) -> None:
        seam = goldens.rerecorded(case)[stage]
        save_file({"000": np.ascontiguousarray(seam.outputs[name], np.float32).reshape(-1)}, folder / FILE)

    found = load_file(cache.get(KIND, digest(parts), make, parts) / FILE)
    return [found[name] for name in sorted(found)]
