"""Core ML behind the runtime protocol: coremltools' own prediction, in a child process with a time limit.

Compiling for the Neural Engine can hang for the better part of an hour, and can kill the process that asked for it.
"""

from __future__ import annotations

import importlib.util
import logging
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parity.declarations import Arrays, ComputeUnits, Format
from parity.run.child import Child, Ending, Limits, Service
from parity.run.runtime import Declared, State, check_target, refuse_wrong_inputs

MENDS: Mapping[Ending, str] = {
    "hung": "compiling for the Neural Engine can hang: try --compute-units CPU_AND_GPU, or split the stage; "
    "where the machine is only slow, raise the limit",
    "died": "compiling for the Neural Engine can kill the process: --compute-units CPU_AND_GPU or CPU_ONLY tells "
    "whether it did; SIGKILL also comes from a system that is out of memory",
    "raised": "see whether `python -m milrun run` takes the package and the inputs: if so, Core ML lacks what the "
    "package wants, on this system or these compute units",
}


class CoreML:
    """Core ML by coremltools, or milrun in its place where a test of this adapter asks for it by `stand_in`."""

    numerics = "declared"
    format: Format = "mlpackage"

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        stand_in: bool = False,
        loader: Callable[..., Service] | None = None,
    ) -> None:
        self.name = "coreml-stand-in" if stand_in else "coreml"
        self._limits, self._stand_in, self._loader = limits or Limits(), stand_in, loader or open_model

    def load(self, package: Path, compute_units: ComputeUnits = "ALL", function: str | None = None) -> CoreMLSession:
        check_target(package, compute_units)
        arguments = {
            "package": str(package.resolve()),
            "compute_units": compute_units,
            "function": function,
            "stand_in": self._stand_in,
        }
        subject = f"{package}, compute units {compute_units}"
        child = Child(self._loader, arguments, subject=subject, mends=MENDS, limits=self._limits)
        return CoreMLSession(package, child)


class CoreMLSession:
    def __init__(self, package: Path, child: Child) -> None:
        self.load_seconds, self._inputs = child.about
        self.run_seconds = float("nan")
        self._package, self._child = package, child
        self._dropped: list[int] = []

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def run(self, inputs: Arrays, state: State | None = None) -> dict[str, np.ndarray[Any, Any]]:
        refuse_wrong_inputs(self._package, self._inputs, inputs)
        if state is not None and not (isinstance(state, _RemoteState) and state.session is self):
            raise ValueError(f"{self._package}: the state is not from this session; take it from make_state()")
        outputs: dict[str, np.ndarray[Any, Any]]
        number = state.number if state is not None else None
        self.run_seconds, outputs = self._call("predicting", "run", dict(inputs), number)
        return outputs

    def make_state(self) -> _RemoteState:
        return _RemoteState(self, self._call("making a state", "make_state"))

    def close(self) -> None:
        self._child.close()

    def _call(self, phase: str, method: str, *arguments: Any) -> Any:
        if self._dropped:
            dropped, self._dropped = self._dropped, []
            self._child.call(phase, "drop", dropped)
        return self._child.call(phase, method, *arguments)


class _RemoteState:
    """A state that lives in the child; dropped there with the next call after it is dropped here."""

    def __init__(self, session: CoreMLSession, number: int) -> None:
        self.session, self.number = session, number

    def read_state(self, name: str) -> np.ndarray[Any, Any]:
        value: np.ndarray[Any, Any] = self.session._call("reading a state", "read_state", self.number, name)
        return value

    def write_state(self, name: str, value: np.ndarray[Any, Any]) -> None:
        self.session._call("writing a state", "write_state", self.number, name, value)

    def __del__(self) -> None:
        self.session._dropped.append(self.number)


def unavailable(system: str = sys.platform) -> str | None:
    """Return why Core ML cannot predict here, with the mend; None where it can."""
    if system != "darwin":
        return f"Core ML is part of macOS, and this is {system}: use --runtime milrun, or run this on a Mac"
    if int(platform.mac_ver()[0].partition(".")[0] or 0) < 12:
        return "Core ML runs ML programs from macOS 12 on: update macOS, or use --runtime milrun"
    coremltools = importlib.util.find_spec("coremltools")
    folders = coremltools.submodule_search_locations if coremltools else None
    if not any(found for folder in folders or () for found in Path(folder).glob("libcoremlpython*")):
        return "coremltools is without its binding to Core ML: install its wheel for macOS, or use --runtime milrun"
    return None


def open_model(package: str, compute_units: str, function: str | None, stand_in: bool) -> Service:
    """Return coremltools' model and its declarations. Runs in the child."""
    ct = coremltools_for(stand_in)
    start = time.perf_counter()
    model = ct.models.MLModel(package, compute_units=ct.ComputeUnit[compute_units], function_name=function)
    seconds = time.perf_counter() - start
    # coremltools makes a warning of a model that does not load.
    if model.__proxy__ is None:
        version = model.get_spec().specificationVersion
        raise RuntimeError(
            model._framework_error or f"this Core ML does not know the specification version {version}, update macOS"
        )
    return Predictor(model, _description(model), seconds)


def coremltools_for(stand_in: bool) -> Any:
    """Return coremltools, on Core ML or, on request, on milrun. Runs in the child."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    if stand_in:
        import milrun

        milrun.install()
    elif why := unavailable():
        raise RuntimeError(why)
    import coremltools

    return coremltools


class Predictor:
    """In the child: answers what a session asks of a coremltools model."""

    def __init__(self, model: Any, description: Any, load_seconds: float) -> None:
        self._model, self._load_seconds = model, load_seconds
        self._inputs = {feature.name: _declared(feature) for feature in description.input}
        self._outputs = {feature.name: _declared(feature) for feature in description.output}
        self._held = {feature.name: _declared(feature) for feature in description.state}
        self._states: dict[int, Any] = {}
        self._made = 0
        self._last_inputs: list[Arrays] = []

    def about(self) -> tuple[float, dict[str, Declared]]:
        return self._load_seconds, self._inputs

    def make_state(self) -> int:
        self._made += 1
        self._states[self._made] = self._model.make_state()
        return self._made

    def drop(self, states: list[int]) -> None:
        for number in states:
            self._states.pop(number, None)

    def read_state(self, state: int, name: str) -> np.ndarray[Any, Any]:
        return as_declared(name, self._states[state].read_state(name), self._held.get(name))

    def write_state(self, state: int, name: str, value: np.ndarray[Any, Any]) -> None:
        self._states[state].write_state(name, value)

    def run(self, arrays: Arrays, state: int | None) -> tuple[float, dict[str, np.ndarray[Any, Any]]]:
        # Core ML has no values of rank 0.
        inputs = {name: value.reshape(1) if value.ndim == 0 else value for name, value in arrays.items()}
        # coremltools takes entries of its dictionary away, and Core ML lets go of arrays some time after a prediction.
        self._last_inputs = [*self._last_inputs[-1:], inputs]
        given = dict(inputs)
        start = time.perf_counter()
        results = self._model.predict(given, None if state is None else self._states[state])
        seconds = time.perf_counter() - start
        # Core ML gives outputs in an order of its own.
        names = [*(name for name in self._outputs if name in results), *(results.keys() - self._outputs.keys())]
        outputs = {name: as_declared(name, results[name], self._outputs.get(name)) for name in names}
        return seconds, outputs


def as_declared(name: str, value: Any, declared: Declared | None) -> np.ndarray[Any, Any]:
    """Return a result in the type of the package, packed.

    coremltools hands fp16 results out as float32. They go back to fp16 only if that changes no value: anything else
    was not an fp16 result, and the check of types must see it unchanged.
    """
    if not isinstance(value, np.ndarray | np.generic | int | float):
        raise TypeError(f"output {name!r} is a {type(value).__name__}, no array to compare")
    array = np.array(value, order="C")
    if array.ndim == 0:
        array = array.reshape(1)
    if declared is not None and declared.dtype == "float16" and array.dtype == np.float32:
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if np.array_equal(half.astype(np.float32), array, equal_nan=True):
            return half
    return array


def _description(model: Any) -> Any:
    """Return the description of inputs and outputs: the function's, if there are several functions."""
    description = model.get_spec().description
    for function in description.functions:
        if function.name == model.function_name:
            return function
    if description.functions:
        known = ", ".join(function.name for function in description.functions)
        raise ValueError(f"there is no function {model.function_name!r} in the package, only {known}")
    return description


def _declared(feature: Any) -> Declared:
    kind = feature.type.WhichOneof("Type")
    if kind == "multiArrayType":
        array = feature.type.multiArrayType
    elif kind == "stateType":
        array = feature.type.stateType.arrayType
    else:
        return Declared(None, feature.type.isOptional)
    name = array.ArrayDataType.Name(array.dataType)
    return Declared({"DOUBLE": "float64"}.get(name, name.lower()), feature.type.isOptional)
