"""ExecuTorch behind the runtime protocol: the methods of a `.pte`, in a child process with a time limit.

A program has no names for what its methods take and give. They are read from its metadata, a method `parity` that
returns JSON: `{"methods": {"step": {"inputs": ["x"], "outputs": ["y"]}}}`. All sessions share one child, because the
import of ExecuTorch takes seconds.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import re
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
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

LINEAR, TABLE = "linear layer", "embedding"
_VALUES = {"qbint4": "int4", "qcint4": "int4", "qcint8": "int8", "qint8": "int8", "fp32": "float32", "fp16": "float16"}
_INPUTS = {"qdint8": "dynamic int8", "qint8": "static int8", "fp32": "float32", "fp16": "float16"}
_TABLES = {"aten::embedding": 0, "quantized_decomposed::embedding_byte": 8, "quantized_decomposed::embedding_4bit": 4}
"""Bits that a look-up takes for a value; 0 for values as they are."""


@dataclass(frozen=True)
class Slot:
    """An input or output of a method: its type, and its sizes, the upper bounds of those that are dynamic."""

    dtype: str
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {self.sizes}"


@dataclass(frozen=True)
class Weight:
    """A weight that a method reads.

    Attributes:
        kind: What reads it: `LINEAR` or `TABLE`.
        shape: Its rows and columns.
        dtype: The type of its values.
        group: Values along a row that share a scale; 0 for those without one.
        inputs: The type of what a linear layer multiplies it with.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str
    group: int = 0
    inputs: str = ""

    def __str__(self) -> str:
        grouped = f" in groups of {self.group}" if self.group else ""
        return f"{'×'.join(map(str, self.shape))} {self.dtype}{grouped}{f' on {self.inputs}' if self.inputs else ''}"


@dataclass(frozen=True)
class Method:
    """A method of a program.

    Attributes:
        inputs: By name, in their order.
        outputs: By name, in their order.
        delegated: Calls of a backend, each of which runs many ops.
        fallback: Calls of the portable kernel of each op that no backend took.
        weights: Weights of its linear layers on a backend, and its tables.
    """

    inputs: Mapping[str, Slot]
    outputs: Mapping[str, Slot]
    delegated: int
    fallback: Mapping[str, int]
    weights: tuple[Weight, ...] = ()


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

    held = deserialize_pte_binary(package.read_bytes()).program
    plans = {plan.name: plan for plan in held.execution_plan}
    metadata, methods = _metadata(program), {}
    for name in _methods(program):
        places = [delegate.processed.index for delegate in plans[name].delegates if delegate.id == "XnnpackBackend"]
        payloads = _decoded([held.backend_delegate_data[place].data for place in places])
        found = described(program, name, metadata, dict(Counter(_calls(plans[name]))))
        methods[name] = replace(found, weights=tuple(_weights(plans[name], payloads)))
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


def _weights(plan: Any, payloads: Sequence[Mapping[str, Any]]) -> Iterator[Weight]:
    """Yield the weights of a method, each once, however often it is read.

    Args:
        plan: The method, as ExecuTorch deserializes it.
        payloads: What XNNPACK runs of it; see `_decoded`.
    """
    seen: set[tuple[Any, str]] = set()
    for payload in payloads:
        for key, weight in _linear(payload):
            if (key, LINEAR) not in seen:
                yield weight
            seen.add((key, LINEAR))
    for instruction in (instruction for chain in plan.chains for instruction in chain.instructions):
        called = instruction.instr_args
        if type(called).__name__ == "KernelCall" and (name := plan.operators[called.op_index].name) in _TABLES:
            table, scales = (plan.values[index].val for index in called.args[:2])
            if (called.args[0], name) not in seen:
                yield _table(table, scales, _TABLES[name])
            seen.add((called.args[0], name))


def _decoded(blobs: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return payloads of XNNPACK, each as its schema has it."""
    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader, _get_schema_bytes
    from executorch.exir._serialize._flatbuffer import _run_flatc

    if not blobs:
        return []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "schema.fbs").write_bytes(_get_schema_bytes())
        for number, blob in enumerate(blobs):
            head = XNNHeader.from_bytes(blob[: XNNHeader.EXPECTED_LENGTH])
            (folder / f"{number}.bin").write_bytes(blob[head.flatbuffer_offset :][: head.flatbuffer_size])
        files = [str(folder / f"{number}.bin") for number in range(len(blobs))]
        told = ["--json", "--strict-json", "--defaults-json", "--raw-binary", "-o", name]
        _run_flatc([*told, str(folder / "schema.fbs"), "--", *files])
        texts = ((folder / f"{number}.json").read_text() for number in range(len(blobs)))
        return [json.loads(re.sub(r"(: -?)(inf|nan)\b", r"\1null", text)) for text in texts]


def _linear(payload: Mapping[str, Any]) -> Iterator[tuple[str, Weight]]:
    values = [value["xvalue_union"] for value in payload["xvalues"]]
    held = {inner["id_out"]: (inner, value) for value in values if (inner := value.get("tensor_value", value))}
    for node in payload["xnodes"]:
        if node["xnode_union_type"] != "XNNFullyConnected":
            continue
        weight, whole = held[node["xnode_union"]["filter_id"]]
        inputs, _ = held[node["xnode_union"]["input1_id"]]
        kind, shape = weight["datatype"].removeprefix("xnn_datatype_"), tuple(weight["dims"])
        group = whole.get("quant_params", {}).get("group_size", shape[-1] if kind.startswith("q") else 0)
        taken = inputs["datatype"].removeprefix("xnn_datatype_")
        stored = payload["constant_data"][weight["constant_buffer_idx"]]
        key = f"{stored['named_key'] or stored} {kind} {group}"
        yield key, Weight(LINEAR, shape, _VALUES.get(kind, kind), group, _INPUTS.get(taken, taken))


def _table(table: Any, scales: Any, bits: int) -> Weight:
    rows, columns = table.sizes[0], table.sizes[-1]
    if not bits:
        return Weight(TABLE, (rows, columns), table.scalar_type.name.lower().replace("float", "float32"))
    columns = columns * 8 // bits
    return Weight(TABLE, (rows, columns), f"int{bits}", rows * columns // prod(scales.sizes))
