"""An artifact is kept under all that made it, and the order of its inputs and outputs is a part of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from parity.base.cache import Cache
from parity.build.artifacts import Artifacts, Built, Given
from parity.declarations import System
from parity.plan.weights import choose
from tests.support import stepping_system as small


def built(system: System, folder: Path) -> Artifacts:
    cache = Cache(folder)
    return Built(system, choose(small.REFERENCE, "seeded", cache), cache)


def given(system: System, folder: Path) -> Artifacts:
    (folder / "step-fp32.mlpackage").mkdir(exist_ok=True)
    return Given(system, choose(small.REFERENCE, "seeded", Cache(folder)), folder)


@pytest.mark.parametrize("side", ["inputs", "outputs"])
@pytest.mark.parametrize("make", [built, given])
def test_the_order_of_inputs_and_outputs_decides_the_key(
    make: Callable[[System, Path], Artifacts], side: str, tmp_path: Path
) -> None:
    system = small.system()
    stage = system.stages[0]
    swapped = replace(stage, **{side: dict(reversed(getattr(stage, side).items()))})
    keys = [
        make(replace(system, stages=(one,)), tmp_path).key(one, one.variant("fp32")) for one in (stage, stage, swapped)
    ]
    assert keys[0] == keys[1] != keys[2]
