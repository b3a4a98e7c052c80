"""The contents of a `.pte`: what its methods take and give, what a backend runs of them, the weights that they read.

A program does not name what its methods take and give. Its metadata do, a method `parity` that returns JSON:
`{"methods": {"step": {"inputs": ["x"], "outputs": ["y"]}}}`.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from parity.declarations import METADATA

_DTYPES = {0: "uint8", 1: "int8", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 11: "bool"}
LINEAR, TABLE = "linear layer", "embedding"
_VALUES = {"qbint4": "int4", "qcint4": "int4", "qcint8": "int8", "qint8": "int8", "fp32": "float32", "fp16": "float16"}
_INPUTS = {"qdint8": "dynamic int8", "qint8": "static int8", "fp32": "float32", "fp16": "float16"}
_SCALARS = {"float": "float32", "double": "float64", "half": "float16"}
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
        numbers: The values in few bits; None for a weight as it is.
        scales: What the numbers of each group are multiplied with.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str
    group: int = 0
    inputs: str = ""
    numbers: np.ndarray[Any, Any] | None = field(default=None, compare=False, repr=False)
    scales: np.ndarray[Any, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def values(self) -> np.ndarray[Any, Any] | None:
        """The numbers that a weight in few bits stands for, in float32; None for a weight as it is."""
        if self.numbers is None or self.scales is None:
            return None
        grouped = self.numbers.reshape(-1, self.group) * self.scales.reshape(-1, 1)
        return grouped.reshape(self.shape).astype(np.float32)

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
    delegated: int = 0
    fallback: Mapping[str, int] = field(default_factory=dict)
    weights: tuple[Weight, ...] = ()


@dataclass(frozen=True)
class Program:
    """A `.pte`: its methods, the numbers that it tells about itself, and what its maker wrote into the metadata."""

    methods: Mapping[str, Method]
    constants: Mapping[str, Any]
    metadata: Mapping[str, Any]


def read(program: Any, package: Path) -> Program:
    """Read what a loaded program tells, and from its file which ops no backend took."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    file = deserialize_pte_binary(package.read_bytes())
    plans = {plan.name: plan for plan in file.program.execution_plan}
    metadata, methods = metadata_of(program), {}
    for name in methods_of(program):
        plan = plans[name]
        places = [delegate.processed.index for delegate in plan.delegates if delegate.id == "XnnpackBackend"]
        payloads = _decoded([file.program.backend_delegate_data[place].data for place in places])
        methods[name] = replace(
            described(program, name, metadata),
            delegated=len(_calls(plan, "DelegateCall")),
            fallback=Counter(plan.operators[call.op_index].name for call in _calls(plan, "KernelCall")),
            weights=tuple(_weights(plan, payloads, file)),
        )
    constants = {
        name: program.load_method(name).execute([])[0]
        for name in sorted(program.method_names - methods.keys() - {METADATA})
    }
    return Program(methods, constants, metadata)


def described(program: Any, method: str, metadata: Mapping[str, Any]) -> Method:
    """Return what a method takes and gives, by the names that the metadata give."""
    told, meta = metadata.get("methods", {}).get(method), program.metadata(method)
    if not told:
        raise ValueError(
            f"the program does not name the inputs and outputs of {method!r}: give it a method {METADATA!r} that "
            'returns, as JSON, {"methods": {NAME: {"inputs": […], "outputs": […]}}}'
        )
    found = {
        "inputs": [meta.input_tensor_meta(index) for index in range(meta.num_inputs())],
        "outputs": [meta.output_tensor_meta(index) for index in range(meta.num_outputs())],
    }
    for kind, slots in found.items():
        if len(names := told[kind]) != len(slots):
            raise ValueError(f"method {method!r} has {len(slots)} {kind}, and its metadata name {', '.join(names)}")
    inputs, outputs = (dict(zip(told[kind], map(_slot, slots), strict=True)) for kind, slots in found.items())
    return Method(inputs, outputs)


def _slot(meta: Any) -> Slot:
    return Slot(_DTYPES.get(meta.dtype(), f"type {meta.dtype()}"), tuple(meta.sizes()))


def _calls(plan: Any, kind: Literal["KernelCall", "DelegateCall"]) -> list[Any]:
    """Return the calls of portable kernels, or those of backends."""
    calls = (instruction.instr_args for chain in plan.chains for instruction in chain.instructions)
    return [call for call in calls if type(call).__name__ == kind]


def methods_of(program: Any) -> list[str]:
    """Return the methods that take something: those that take nothing tell a constant."""
    return sorted(name for name in program.method_names if program.metadata(name).num_inputs())


def metadata_of(program: Any) -> Mapping[str, Any]:
    if METADATA not in program.method_names:
        return {}
    found: Mapping[str, Any] = json.loads(program.load_method(METADATA).execute([])[0])
    return found


def _weights(plan: Any, payloads: Sequence[Mapping[str, Any]], file: Any) -> Iterable[Weight]:
    """Return the weights of a method, each once, however often it is read.

    Args:
        plan: The method, as ExecuTorch deserializes it.
        payloads: What XNNPACK runs of it; see `_decoded`.
        file: The whole file, as ExecuTorch deserializes it.
    """
    found: dict[Any, Weight] = {}
    for payload in payloads:
        found |= dict(_linear(payload, file.named_data))
    for call in _calls(plan, "KernelCall"):
        name = plan.operators[call.op_index].name
        if name in _TABLES and (key := (call.args[0], name)) not in found:
            table, scales = (plan.values[index].val for index in call.args[:2])
            found[key] = _table(table, scales, _TABLES[name], file.program.constant_buffer)
    return found.values()


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
        return [json.loads(re.sub(r": -?(inf|nan)\b", ": null", text)) for text in texts]


def _linear(payload: Mapping[str, Any], named: Any) -> Iterator[tuple[str, Weight]]:
    """Yield the weight of each linear layer of a payload, and a key that is the same for the same weight.

    Args:
        payload: The payload.
        named: The data of the file that have names, as ExecuTorch deserializes them.
    """
    values = [value["xvalue_union"] for value in payload["xvalues"]]
    held = {inner["id_out"]: (inner, value) for value in values if (inner := value.get("tensor_value", value))}
    for node in payload["xnodes"]:
        if node["xnode_union_type"] != "XNNFullyConnected":
            continue
        weight, whole = held[node["xnode_union"]["filter_id"]]
        inputs, _ = held[node["xnode_union"]["input1_id"]]
        kind, shape = weight["datatype"].removeprefix("xnn_datatype_"), tuple(weight["dims"])
        quantized = whole.get("quant_params", {})
        group = quantized.get("group_size", shape[-1] if kind.startswith("q") else 0)
        taken = inputs["datatype"].removeprefix("xnn_datatype_")
        stored = payload["constant_data"][weight["constant_buffer_idx"]]
        key = f"{stored['named_key'] or stored} {kind} {group}"
        found = Weight(LINEAR, shape, _VALUES.get(kind, kind), group, _INPUTS.get(taken, taken))
        scales = payload["constant_data"][quantized.get("scale_buffer_idx", 0)]["named_key"]
        if found.dtype.startswith("int") and stored["named_key"] and scales:
            numbers = _numbers(_data(named, stored["named_key"]), found.dtype)
            factors = _factors(_data(named, scales), prod(shape) // group)
            found = replace(found, numbers=numbers.reshape(shape), scales=factors.reshape(shape[0], -1))
        yield key, found


def _table(table: Any, scales: Any, bits: int, buffers: Sequence[Any]) -> Weight:
    rows, columns = table.sizes[0], table.sizes[-1]
    if not bits:
        return Weight(TABLE, (rows, columns), _SCALARS.get(name := table.scalar_type.name.lower(), name))
    columns, dtype = columns * 8 // bits, f"int{bits}"
    # The kernel has the first of two values in the upper half of a byte; XNNPACK has it in the lower.
    numbers = _numbers(buffers[table.data_buffer_idx].storage, dtype, first_above=True)
    factors = np.frombuffer(bytes(buffers[scales.data_buffer_idx].storage), np.float32)
    # Buffers are filled up to multiples of 16 bytes.
    return Weight(
        TABLE,
        (rows, columns),
        dtype,
        rows * columns // prod(scales.sizes),
        numbers=numbers[: rows * columns].reshape(rows, columns),
        scales=factors[: prod(scales.sizes)].reshape(rows, -1),
    )


def _numbers(data: bytes, dtype: str, first_above: bool = False) -> np.ndarray[Any, Any]:
    """Return packed values one by one. Four bits are stored with 8 added."""
    if dtype != "int4":
        return np.frombuffer(bytes(data), np.int8)
    packed = np.frombuffer(bytes(data), np.uint8)
    halves = (packed >> 4, packed & 15) if first_above else (packed & 15, packed >> 4)
    return np.stack(halves, -1).reshape(-1).astype(np.int8) - np.int8(8)


def _factors(data: bytes, count: int) -> np.ndarray[Any, Any]:
    """Return scales, of groups in bfloat16, of rows in float32. bfloat16 is the upper half of a float32."""
    if len(data) >= 4 * count:
        return np.frombuffer(data, np.float32)[:count]
    return (np.frombuffer(data, np.uint16)[:count].astype(np.uint32) << 16).view(np.float32)


def _data(named: Any, key: str) -> bytes:
    return bytes(named.buffers[named.pte_data[key].buffer_index])
