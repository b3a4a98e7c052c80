"""Interface of a runtime: load an artifact, run it, close it; and a loaded artifact, crossed in the app's dtypes.

Of a stage in several fixed sizes, the smallest one that holds the inputs runs on them, filled up with zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np

from parity.declarations import Arrays, ComputeUnits, Dim, Format, Stage, Tensor, Variant


class State(Protocol):
    """Values that a stateful model keeps from one run to the next; zeros at first."""

    def read_state(self, name: str) -> np.ndarray[Any, Any]: ...

    def write_state(self, name: str, value: np.ndarray[Any, Any]) -> None: ...


class Session(Protocol):
    """A loaded artifact, for one caller at a time."""

    @property
    def load_seconds(self) -> float:
        """Time of this load, as cold or warm as it was, without the start of a process or an import."""
        ...

    run_seconds: float
    """Time of the last run inside the runtime; NaN before the first."""

    def run(self, inputs: Arrays, state: State | None = None) -> dict[str, np.ndarray[Any, Any]]: ...

    def make_state(self) -> State: ...

    def close(self) -> None: ...


class Runtime(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def numerics(self) -> str: ...

    @property
    def format(self) -> Format:
        """The artifacts that this runtime runs."""
        ...

    def load(self, package: Path, compute_units: ComputeUnits = "ALL", function: str | None = None) -> Session: ...


class RuntimeFailure(Exception):  # noqa: N818 (RuntimeError is another thing)
    """A runtime did not load or run a package. The message names both, what happened, and the mend."""

    def __init__(self, subject: str, phase: str, cause: str, mend: str, stderr: tuple[str, ...] = ()) -> None:
        said = [f"  stderr: {line}" for line in stderr]
        super().__init__("\n".join([f"{subject}, {phase}: {cause}", *said, f"  Mend: {mend}"]))
        self.subject, self.phase, self.cause, self.mend, self.stderr = subject, phase, cause, mend, stderr


@dataclass(frozen=True)
class Declared:
    """Type that a package declares for an input or output; None for one that is not an array."""

    dtype: str | None
    optional: bool = False


def refuse_wrong_inputs(package: Path, declared: Mapping[str, Declared], inputs: Arrays) -> None:
    """Raise a ValueError unless every input is an array of exactly the declared type.

    Runtimes would cast in silence, and a cast that only happens in the harness is not what ships.
    """
    for name in inputs:
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise ValueError(f"{package}: unknown input {name!r}; the package takes {known}")
    for name, wanted in declared.items():
        if name not in inputs:
            if wanted.optional:
                continue
            raise ValueError(f"{package}: input {name!r} is missing; the package takes {', '.join(declared)}")
        value = inputs[name]
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{package}: input {name!r} is a {type(value).__name__}, no numpy array")
        if wanted.dtype is None:
            raise ValueError(f"{package}: input {name!r} is not an array in the package: declare it as a multi-array")
        if value.dtype != np.dtype(wanted.dtype):
            raise ValueError(
                f"{package}: input {name!r} has the dtype {value.dtype} where the package declares {wanted.dtype}; "
                "cast it where the app would cast it"
            )


def check_target(package: Path, compute_units: str) -> None:
    """Raise a ValueError unless there is a package and such compute units."""
    if compute_units not in get_args(ComputeUnits):
        raise ValueError(f"there are no compute units {compute_units!r}, only {', '.join(get_args(ComputeUnits))}")
    if not package.exists():
        raise ValueError(f"{package}: there is no such package; build it first, or correct the path")


class Crosser:
    """Runner of one loaded artifact.

    Values that the artifact holds in states are written before a step and read after it, so that all artifacts of a
    stage take and give the same."""

    def __init__(self, stage: Stage, variant: Variant, session: Session) -> None:
        self.stage, self.variant, self.session = stage, variant, session
        self._state: State | None = None

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        inputs = cast(self.stage, self.variant, inputs)
        held = self.stage.held(self.variant)
        if not held:
            return self.session.run(inputs)
        state = self._state = self._state or self.session.make_state()
        for source in held.values():
            state.write_state(source, inputs[source])
        outputs = self.session.run({name: value for name, value in inputs.items() if name not in held.values()}, state)
        return {**outputs, **{name: np.array(state.read_state(source)) for name, source in held.items()}}


def cast(stage: Stage, variant: Variant, inputs: Arrays) -> dict[str, np.ndarray]:
    """Return inputs in the declared dtypes. As in the app, only half and single precision are cast."""
    result = {}
    for name, value in inputs.items():
        declared = stage.inputs.get(name)
        wanted = declared.dtype_in(variant) if declared else value.dtype
        floats = value.dtype.kind == "f" and np.dtype(wanted).kind == "f"
        result[name] = value.astype(wanted) if floats else value
    return result


def valid(stage: Stage, inputs: Arrays) -> int:
    """Return the value of the dimension with buckets that inputs have."""
    for name, tensor in stage.inputs.items():
        if name in inputs and (found := _axis(tensor)):
            axis, dim = found
            return (inputs[name].shape[axis] - dim.offset) // dim.scale
    raise ValueError(f"{stage.name}: none of its inputs tells how long it is")


def fitting(stage: Stage, inputs: Arrays) -> Stage:
    """Return the stage of the smallest bucket that holds inputs; the stage itself where it has no buckets."""
    if not stage.buckets:
        return stage
    length = valid(stage, inputs)
    for bucket in stage.buckets:
        if length <= bucket:
            return stage.at(bucket)
    raise ValueError(f"{stage.name}: {length} is more than the largest bucket holds, {stage.buckets[-1]}")


def filled(stage: Stage, inputs: Arrays, bucket: int) -> dict[str, np.ndarray]:
    """Return inputs of a bucket's size, with zeros behind what is valid."""
    made = {}
    for name, value in inputs.items():
        if found := _axis(stage.inputs[name]):
            axis, dim = found
            value = np.pad(value, [(0, dim.at(bucket) - value.shape[i] if i == axis else 0) for i in range(value.ndim)])
        made[name] = value
    return made


def cut(stage: Stage, outputs: Arrays, bucket: int, length: int) -> dict[str, np.ndarray]:
    """Return the valid part of outputs. What has another size than the bucket's stays as it is, for others to judge."""
    made = {}
    for name, value in outputs.items():
        found = _axis(stage.outputs[name]) if name in stage.outputs else None
        if found and found[0] < value.ndim and value.shape[found[0]] == found[1].at(bucket):
            axis, dim = found
            value = np.take(value, range(dim.at(length)), axis)
        made[name] = value
    return made


def _axis(tensor: Tensor) -> tuple[int, Dim] | None:
    return next(((i, size) for i, size in enumerate(tensor.shape) if isinstance(size, Dim) and size.buckets), None)


class Bucketed:
    """Session of a stage with buckets, as the host has it: the buckets that its inputs want are loaded when they come.

    Attributes:
        used: How many times each bucket ran, and the longest input that it got.
    """

    def __init__(self, stage: Stage, load: Callable[[Stage], Session]) -> None:
        self.stage, self._load = stage, load
        self._loaded: dict[int | None, Session] = {}
        self.used: dict[int, tuple[int, int]] = {}
        self.run_seconds = math.nan

    @property
    def load_seconds(self) -> float:
        """Time of all loads; the first bucket is loaded if none was."""
        if not self._loaded:
            self._session(self.stage.at(self.stage.buckets[0]))
        return sum(session.load_seconds for session in self._loaded.values())

    def run(self, inputs: Arrays, state: State | None = None) -> dict[str, np.ndarray]:
        length, one = valid(self.stage, inputs), fitting(self.stage, inputs)
        assert one.bucket is not None
        session = self._session(one)
        outputs = session.run(filled(self.stage, inputs, one.bucket), state)
        self.run_seconds = session.run_seconds
        times, longest = self.used.get(one.bucket, (0, 0))
        self.used[one.bucket] = times + 1, max(longest, length)
        return cut(self.stage, outputs, one.bucket, length)

    def make_state(self) -> State:
        raise ValueError(
            f"{self.stage.name}: states of a stage with buckets are not supported; keep the values in inputs"
        )

    def close(self) -> None:
        for session in self._loaded.values():
            session.close()

    def _session(self, one: Stage) -> Session:
        key = None if one.enumerated else one.bucket
        if key not in self._loaded:
            self._loaded[key] = self._load(one)
        return self._loaded[key]
