"""ExecuTorch behind the runtime protocol: the methods of a `.pte`, in a child process with a time limit.

A program has no names for what its methods take and give. They are read from its metadata, a method `parity` that
returns JSON: `{"methods": {"step": {"inputs": ["x"], "outputs": ["y"]}}}`. All sessions share one child, because the
import of ExecuTorch takes seconds.
"""

from __future__ import annotations

import importlib.util
import json
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.declarations import METADATA, Arrays, ComputeUnits, Format
from parity.run.child import Child, Ending, Limits, Service
from parity.run.runtime import Declared, State, check_target, refuse_wrong_inputs

MENDS: Mapping[Ending, str] = {
    "hung": "an op in a portable kernel may take long at this size: see what fell back; where the machine is only "
    "slow, raise the limit",
    "died": "build the program again with the installed version of executorch; SIGKILL also comes from a system that "
    "is out of memory",
    "raised": "a missing operator has no portable kernel: write the module without it; inputs beyond the sizes of the "
    "program need another upper bound of the dimension",
}
_DTYPES = {0: "uint8", 1: "int8", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 11: "bool"}


@dataclass(frozen=True)
class Slot:
    """An input or output of a method: its type, and its sizes, the upper bounds of those that are dynamic."""

    dtype: str
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {self.sizes}"


@dataclass(frozen=True)
class Method:
    """A method of a program.

    Attributes:
        inputs: By name, in their order.
        outputs: By name, in their order.
        delegated: Calls of a backend, each of which runs many ops.
        fallback: Calls of the portable kernel of each op that no backend took.
    """

    inputs: Mapping[str, Slot]
    outputs: Mapping[str, Slot]
    delegated: int
    fallback: Mapping[str, int]


@dataclass(frozen=True)
class Program:
    """A `.pte`: its methods, the numbers that it tells about itself, and what its maker wrote into the metadata."""

    methods: Mapping[str, Method]
    constants: Mapping[str, Any]
    metadata: Mapping[str, Any]


class ExecuTorch:
    """The runtime.

    Args:
        limits: Seconds for the start of the child, and for each load and call.
        loader: Replaces `open_host` in tests.
    """

    name, numerics = "executorch", "declared"
    format: Format = "pte"
    proves = "program pass (ExecuTorch)"

    def __init__(self, limits: Limits | None = None, loader: Callable[..., Service] | None = None) -> None:
        self._limits, self._loader = limits or Limits(), loader or open_host
        self._running: Child | None = None

    def load(self, package: Path, compute_units: ComputeUnits = "ALL", function: str | None = None) -> Session:
        """Load a method, `function`, of a program. Compute units are of no consequence, but wrong ones are refused."""
        check_target(package, compute_units)
        return Session(self._child(), package, function or "forward")

    def describe(self, package: Path) -> Program:
        """Return what a program holds."""
        check_target(package, "ALL")
        program: Program = self._child().call(f"reading {package}", "describe", str(package.resolve()))
        return program

    def _child(self) -> Child:
        if self._running is None or not self._running.alive:
            self._running = Child(self._loader, {}, subject="executorch", mends=MENDS, limits=self._limits)
        return self._running


class Session:
    """A loaded method. Each session has a copy of the program to itself, so that none sees another's buffers."""

    def __init__(self, child: Child, package: Path, method: str) -> None:
        self._child, self._place = child, f"{package}, method {method}"
        self._number, self.load_seconds, described = child.call(
            f"loading {self._place}", "load", str(package.resolve()), method
        )
        self.run_seconds = float("nan")
        self._inputs = {name: Declared(slot.dtype) for name, slot in described.inputs.items()}

    def run(self, inputs: Arrays, state: State | None = None) -> dict[str, np.ndarray[Any, Any]]:
        if state is not None:
            raise ValueError(f"{self._place}: a program has no states; its caches are inputs and outputs")
        refuse_wrong_inputs(Path(self._place), self._inputs, inputs)
        outputs: dict[str, np.ndarray[Any, Any]]
        self.run_seconds, outputs = self._child.call(f"running {self._place}", "run", self._number, dict(inputs))
        return outputs

    def make_state(self) -> State:
        raise ValueError(f"{self._place}: a program has no states; declare the variant without `holds`")

    def close(self) -> None:
        if self._child.alive:
            self._child.call(f"closing {self._place}", "close", self._number)


def unavailable() -> str | None:
    """Return why programs cannot run here, with the mend; None where they can."""
    if importlib.util.find_spec("executorch"):
        return None
    return "executorch is not installed: make extra-executorch"


def open_host() -> Service:
    """Import ExecuTorch in the child."""
    if why := unavailable():
        raise RuntimeError(why)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.runtime import Runtime
    return Host(Runtime.get())


class Host:
    """In the child: the loaded methods."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self._loaded: dict[int, tuple[Any, Method]] = {}
        self._made = 0

    def about(self) -> list[str]:
        return list(self._runtime.backend_registry.registered_backend_names)

    def describe(self, package: str) -> Program:
        return read(self._runtime.load_program(package), Path(package))

    def load(self, package: str, method: str) -> tuple[int, float, Method]:
        start = time.perf_counter()
        program = self._runtime.load_program(package)
        if method not in program.method_names:
            raise ValueError(f"there is no method {method!r} in the program, only {', '.join(_methods(program))}")
        loaded = program.load_method(method)
        seconds = time.perf_counter() - start
        self._made += 1
        self._loaded[self._made] = loaded, described(program, method, _metadata(program), {})
        return self._made, seconds, self._loaded[self._made][1]

    def close(self, number: int) -> None:
        del self._loaded[number]

    def run(self, number: int, inputs: Arrays) -> tuple[float, dict[str, np.ndarray[Any, Any]]]:
        import torch

        method, about = self._loaded[number]
        given = [torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in about.inputs]
        start = time.perf_counter()
        results = method.execute(given)
        seconds = time.perf_counter() - start
        return seconds, {name: value.numpy().copy() for name, value in zip(about.outputs, results, strict=True)}


def read(program: Any, package: Path) -> Program:
    """Read what a loaded program tells, and from its file which ops no backend took."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    plans = {plan.name: plan for plan in deserialize_pte_binary(package.read_bytes()).program.execution_plan}
    metadata, methods = _metadata(program), {}
    for name in _methods(program):
        methods[name] = described(program, name, metadata, dict(Counter(_calls(plans[name]))))
    constants = {
        name: program.load_method(name).execute([])[0]
        for name in sorted(program.method_names - methods.keys() - {METADATA})
    }
    return Program(methods, constants, metadata)


def described(program: Any, method: str, metadata: Mapping[str, Any], calls: dict[str, int]) -> Method:
    """Return a method by the names that the metadata give, with the calls of each op and, under "", of backends."""
    told, meta = metadata.get("methods", {}).get(method), program.metadata(method)
    if not told:
        raise ValueError(
            f"the program does not name the inputs and outputs of {method!r}: give it a method {METADATA!r} that "
            "returns, as JSON, "
            '{"methods": {NAME: {"inputs": […], "outputs": […]}}}'
        )
    taken = [meta.input_tensor_meta(index) for index in range(meta.num_inputs())]
    given = [meta.output_tensor_meta(index) for index in range(meta.num_outputs())]
    for kind, names, slots in (("inputs", told["inputs"], taken), ("outputs", told["outputs"], given)):
        if len(names) != len(slots):
            raise ValueError(f"method {method!r} has {len(slots)} {kind}, and its metadata name {', '.join(names)}")
    return Method(
        dict(zip(told["inputs"], map(_slot, taken), strict=True)),
        dict(zip(told["outputs"], map(_slot, given), strict=True)),
        calls.pop("", 0),
        calls,
    )


def _slot(meta: Any) -> Slot:
    return Slot(_DTYPES.get(meta.dtype(), f"type {meta.dtype()}"), tuple(meta.sizes()))


def _calls(plan: Any) -> Iterator[str]:
    """Yield the name of the op of each call of a portable kernel, and "" for each call of a backend."""
    for instruction in (instruction for chain in plan.chains for instruction in chain.instructions):
        called = instruction.instr_args
        kind = type(called).__name__
        if kind == "KernelCall":
            yield plan.operators[called.op_index].name
        elif kind == "DelegateCall":
            yield ""


def _methods(program: Any) -> list[str]:
    """Return the methods that take something: those that take nothing tell a constant."""
    return sorted(name for name in program.method_names if program.metadata(name).num_inputs())


def _metadata(program: Any) -> Mapping[str, Any]:
    if METADATA not in program.method_names:
        return {}
    found: Mapping[str, Any] = json.loads(program.load_method(METADATA).execute([])[0])
    return found
