"""The reset of an artifact: after a run it has to start anew, as a fresh load does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from parity.declarations import Seam, Stage
from parity.run import stepping
from parity.run.stage import Crosser
from parity.verdict import Finding

FEW = 3
"""The number of steps that are made again."""


def resets(stage: Stage, golden: Seam, used: Crosser, fresh: Crosser) -> Iterator[Finding]:
    """Check that an utterance does not depend on the one before it.

    Args:
        stage: A stage that runs step by step.
        golden: The recorded steps.
        used: An artifact that has made all its steps.
        fresh: The same artifact, just loaded.
    """
    first, second = (_beginning(stage, golden, cross) for cross in (used, fresh))
    for name in stage.outputs:
        pairs = [(one.get(name), other.get(name)) for one, other in zip(first, second, strict=True)]
        differ = [step for step, (one, other) in enumerate(pairs) if not _same(one, other)]
        said = f"step {differ[0]} gives another value after a reset than in a fresh load" if differ else "starts anew"
        yield Finding(name, "reset", not differ, message=said)


def _beginning(stage: Stage, golden: Seam, cross: Crosser) -> list[dict[str, np.ndarray]]:
    made = []
    carried: dict[str, np.ndarray] = {}
    for crossing in islice(stepping.crossings(stage, golden), FEW):
        outputs = cross({**crossing.inputs, **carried})
        carried = {source: outputs[name] for name, source in stage.carries.items() if name in outputs}
        made.append(outputs)
    return made


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is not None and other is not None and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
