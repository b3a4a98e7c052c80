"""ExecuTorch behind the runtime protocol: the methods of a `.pte`, in a child process with a time limit.

All sessions share one child, because the import of ExecuTorch takes seconds.
"""

from __future__ import annotations

import ctypes
import importlib.util
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parity.declarations import Arrays, ComputeUnits, Format
from parity.run.child import Child, Ending, Limits, Service
from parity.run.program import Method, Program, described, metadata_of, methods_of, read
from parity.run.runtime import Declared, State, check_target, refuse_wrong_inputs

MENDS: Mapping[Ending, str] = {
    "hung": "an op in a portable kernel may take long at this size: see what fell back; where the machine is only "
    "slow, raise the limit",
    "died": "build the program again with the installed version of executorch; SIGKILL also comes from a system that "
    "is out of memory",
    "raised": "a missing operator has no portable kernel: write the module without it; inputs beyond the sizes of the "
    "program need another upper bound of the dimension",
}


class ExecuTorch:
    """The runtime.

    Args:
        limits: Seconds for the start of the child, and for each load and call.
        loader: Replaces `open_host` in tests.
    """

    name, numerics = "executorch", "declared"
    format: Format = "pte"

    def __init__(self, limits: Limits | None = None, loader: Callable[..., Service] | None = None) -> None:
        self._limits, self._loader = limits or Limits(), loader or open_host
        self._running: Child | None = None
        self._described: dict[tuple[Path, int], Program] = {}

    def load(self, package: Path, compute_units: ComputeUnits = "ALL", function: str | None = None) -> Session:
        """Load a method, `function`, of a program. Compute units are of no consequence, but wrong ones are refused."""
        check_target(package, compute_units)
        return Session(self._child(), package, function or "forward")

    def describe(self, package: Path) -> Program:
        """Return what a program holds."""
        check_target(package, "ALL")
        key = package.resolve(), package.stat().st_mtime_ns
        if key not in self._described:
            self._described[key] = self._child().call(f"reading {package}", "describe", str(key[0]))
        return self._described[key]

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
        import executorch
        from executorch.runtime import Runtime
    for library in Path(executorch.__path__[0]).glob("lib/*executorch_kernels_quantized.*"):
        ctypes.CDLL(str(library))  # the bindings come without the kernels of look-ups in few bits
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
            raise ValueError(f"the program lacks the method {method!r}; it has {', '.join(methods_of(program))}")
        loaded = program.load_method(method)
        seconds = time.perf_counter() - start
        self._made += 1
        self._loaded[self._made] = loaded, described(program, method, metadata_of(program))
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
