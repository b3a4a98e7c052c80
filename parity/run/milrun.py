"""milrun behind the runtime protocol: the serialized graph, in the numerics asked for, in this process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import milrun
from milrun.features import ArrayFeature, Feature
from milrun.numerics import choose
from parity.declarations import Arrays, ComputeUnits, Format
from parity.run.runtime import Declared, State, check_target, refuse_wrong_inputs


class Milrun:
    """The runtime.

    Args:
        numerics: How to compute.
        work: The most that one run of a package may do; see `milrun.load`.
    """

    name = "milrun"
    format: Format = "mlpackage"

    def __init__(self, numerics: str = "declared", work: int | None = None) -> None:
        choose(numerics, None)
        self.numerics = numerics
        self.work = work

    def load(self, package: Path, compute_units: ComputeUnits = "ALL", function: str | None = None) -> MilrunSession:
        """Compute units are of no consequence here, but wrong ones are refused wherever they are named."""
        check_target(package, compute_units)
        return MilrunSession(package, self.numerics, function, self.work)


class MilrunSession:
    def __init__(self, package: Path, numerics: str, function: str | None, work: int | None = None) -> None:
        start = time.perf_counter()
        # The seed makes a random op of the package draw the same numbers every time.
        self._model: milrun.Model | milrun.Pipeline | None = milrun.load(
            package, numerics=numerics, function=function, seed=0, work=work
        )
        self.load_seconds = time.perf_counter() - start
        self.run_seconds = float("nan")
        self._package = package
        self._inputs = {name: _declared(feature) for name, feature in self._model.inputs.items()}

    @property
    def model(self) -> milrun.Model | milrun.Pipeline:
        """The model, which can be traced to find where a failure begins."""
        if self._model is None:
            raise ValueError(f"{self._package}: the session is closed; load the package again")
        return self._model

    def run(self, inputs: Arrays, state: State | None = None) -> dict[str, np.ndarray[Any, Any]]:
        model = self.model
        refuse_wrong_inputs(self._package, self._inputs, inputs)
        if state is not None and not isinstance(state, milrun.State):
            raise ValueError(f"{self._package}: the state is not from this runtime; take it from make_state()")
        start = time.perf_counter()
        outputs = model.predict(inputs, state)
        self.run_seconds = time.perf_counter() - start
        for name, value in outputs.items():
            if not isinstance(value, np.ndarray):
                raise ValueError(f"{self._package}: output {name!r} is a {type(value).__name__}, no array to compare")
        return outputs

    def make_state(self) -> milrun.State:
        return self.model.make_state()

    def close(self) -> None:
        self._model = None


def _declared(feature: Feature) -> Declared:
    if isinstance(feature, ArrayFeature):
        return Declared(str(feature.dtype), feature.optional)
    return Declared(None)
