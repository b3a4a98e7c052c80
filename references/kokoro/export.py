"""The weights in an ONNX export of Kokoro with int8 weights, under the names that upstream has for them.

The optimizer of the export renamed most weights, but each node still bears the path of the module that it computes. So
a weight's place is read from the node that takes it, and its scale from the multiplication behind that node. Names of
initializers count only for what was left unquantized.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from references import seeding

HALVES = ("encoder", "decoder")
"""The two parts of the export's graph. All of its names begin with one of them."""
OWN = "decoder.generator.istft"
"""The export's own inverse transform, whose basis is not a parameter of upstream."""
GATES = (0, 2, 3, 1)
"""ONNX has the gates of an LSTM as input, output, forget, cell; PyTorch has input, forget, cell, output."""
PLAIN = ("Conv", "ConvTranspose", "MatMul")
_AFTER = ("Add", "Cast")
"""Steps between a product of integers and the multiplication by its scale: the bias, and the type."""


class ExportError(ValueError):
    """The export does not hold exactly the parameters of upstream."""


class Export:
    """The graph of an export, and the places of its nodes in upstream.

    Attributes:
        values: Every initializer by name.
        places: The modules of upstream by path.
        taken: For each initializer that was read as a weight, the parameter that it became.
    """

    def __init__(self, serialized: bytes, places: Collection[str]) -> None:
        try:
            import onnx
        except ModuleNotFoundError as error:
            raise ExportError("onnx reads the export and is not installed. Install it: make extra-trained") from error
        graph = onnx.load_model_from_string(serialized).graph
        self.nodes = list(graph.node)
        self.values: dict[str, np.ndarray] = {
            value.name: onnx.numpy_helper.to_array(value) for value in graph.initializer
        }
        self.places = frozenset(places)
        self.taken: dict[str, str] = {}
        self._makers = {name: node for node in self.nodes for name in node.output}
        self._takers: dict[str, list[Any]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self._takers[name].append(node)

    def weights(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the weights of all layers, with the name of the parameter; one that is used often, as often."""
        for node in self.nodes:
            given = list(node.input)
            if node.op_type in ("ConvInteger", "MatMulInteger"):
                name = f"{self.place(node.name)}.weight"
                value = self._real(name, given[1], self._scale(node), given[3])
                yield name, value.T if node.op_type == "MatMulInteger" else value
            elif node.op_type == "DequantizeLinear":
                name = f"{self.place(node.name)}.weight"
                yield name, self._real(name, self._makers[given[0]].input[0], given[1], given[2])
            elif node.op_type == "DynamicQuantizeLSTM":
                yield from self._lstm(self.place(node.name), given)
            elif node.op_type in PLAIN and given[1] in self.values:
                place = self.place(node.name)
                if place != OWN:
                    value = self._plain(f"{place}.weight", given[1])
                    yield f"{place}.weight", value.T if node.op_type == "MatMul" else value

    def unquantized(self, name: str) -> np.ndarray | None:
        """Return a parameter that kept its name, such as a bias; None if the export has none."""
        found = [f"{half}.{name}" for half in HALVES if f"{half}.{name}" in self.values]
        return self._plain(name, found[0]) if found else None

    def place(self, node: str) -> str:
        """Return the module of upstream that a node computes.

        `/encoder/F0.1/conv1/Conv_quant` is `predictor.F0.1.conv1`: names of modules follow each other, some repeat the
        one before, a module that is called again has a number, and the predictor's own parts were called from outside.
        """
        path = ""
        for step in (re.sub(r"_\d+$", "", part) for part in node.split("/")[2:-1]):
            if path == OWN:
                break
            above = [".".join(path.split(".")[:end]) for end in range(len(path.split(".")), 0, -1)]
            known = (f"{parent}.{step}".lstrip(".") for parent in (*above, "", "predictor"))
            found = next((place for place in known if place in self.places or place == OWN), None)
            if found is None:
                raise ExportError(f"upstream has no module for {step!r} of the node {node}")
            path = found
        return path

    def left(self) -> list[str]:
        """Return the quantized weights that no layer took."""
        return sorted({name for name in self.values if name.endswith("_quantized")} - set(self.taken))

    def _take(self, parameter: str, name: str) -> np.ndarray:
        if self.taken.setdefault(name, parameter) != parameter:
            raise ExportError(f"{name} is the weight of both {self.taken[name]} and {parameter}")
        return self.values[name]

    def _plain(self, parameter: str, name: str) -> np.ndarray:
        value = self._take(parameter, name)
        if value.dtype != np.float32:
            raise ExportError(f"{parameter}: {name} is {value.dtype} and has no scale")
        return value

    def _real(self, parameter: str, name: str, scale: str, zero_point: str) -> np.ndarray:
        """Return the numbers that a quantized weight stands for, dithered.

        Each number lies somewhere in the half step to both sides that its rounding left open, always at the same place.
        Undithered, a tensor would have 256 values, and a palette of 8 bits would cost nothing.
        """
        steps, factor, zero = self._take(parameter, name), self.values[scale], self.values[zero_point]
        if steps.dtype not in (np.int8, np.uint8) or zero.dtype != steps.dtype:
            raise ExportError(f"{parameter}: {name} is {steps.dtype}, its zero point {zero.dtype}")
        if steps.ndim == 3 and factor.ndim:  # an LSTM's, for each direction
            factor, zero = factor[:, None, None], zero[:, None, None]
        whole = (steps.astype(np.int32) - zero.astype(np.int32)).astype(np.float32)
        dither = np.float32(0.5) * seeding.uniform(f"kokoro/dither/{parameter}", *steps.shape)
        return np.asarray((whole + dither) * factor)

    def _scale(self, node: Any) -> str:
        """Return the name of the scale: one factor of what the product of integers is multiplied by."""
        output = node.output[0]
        while [taker.op_type in _AFTER for taker in self._takers[output]] == [True]:
            output = self._takers[output][0].output[0]
        behind = self._takers[output]
        if [taker.op_type for taker in behind] == ["Mul"]:
            factors = [name for name in behind[0].input if name != output]
            maker = self._makers.get(factors[0]) if factors else None
            scales = [name for name in maker.input if name in self.values] if maker else []
            if len(scales) == 1:
                return scales[0]
        raise ExportError(f"the scale of {node.name} was not found behind it")

    def _lstm(self, place: str, given: list[str]) -> Iterator[tuple[str, np.ndarray]]:
        into = self._real(f"{place}.weight_ih", given[1], given[8], given[9])
        back = self._real(f"{place}.weight_hh", given[2], given[10], given[11])
        biases = self._plain(f"{place}.bias", given[3])
        for direction, end in enumerate(("", "_reverse")):
            bias_into, bias_back = np.split(biases[direction], 2)
            yield f"{place}.weight_ih_l0{end}", _gates(into[direction].T)
            yield f"{place}.weight_hh_l0{end}", _gates(back[direction].T)
            yield f"{place}.bias_ih_l0{end}", _gates(bias_into)
            yield f"{place}.bias_hh_l0{end}", _gates(bias_back)


def _gates(rows: np.ndarray) -> np.ndarray:
    parts = np.split(rows, 4)
    return np.concatenate([parts[gate] for gate in GATES])


NEUTRAL: Mapping[str, float] = {"pooler.weight": 0.0, "pooler.bias": 0.0, ".norm.weight": 1.0, ".norm.bias": 0.0}
"""Parameters without any effect, which the export can't hold: a pooler that nobody calls, and the affine part of
instance norms, which stands at identity."""


def parameters(export: Export, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return a value for every parameter of the model, each found exactly once.

    Raises:
        ExportError: A parameter lacks, has another shape or two values, or something of the export is left over.
    """
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found: dict[str, np.ndarray] = {}

    def put(name: str, value: np.ndarray) -> None:
        if shapes.get(name) != value.shape:
            raise ExportError(f"{name} is {value.shape} in the export, and {shapes.get(name, 'nothing')} upstream")
        if name in found and not np.array_equal(found[name], value):
            raise ExportError(f"the export has two values for {name}")
        found[name] = value

    for name, value in export.weights():
        if f"{name}_v" not in shapes:
            put(name, value)
            continue
        norm = np.sqrt(np.square(value.astype(np.float64)).sum((1, 2), keepdims=True)).astype(np.float32)
        if not norm.all():
            raise ExportError(f"{name} has a row of zeros, which has no direction")
        put(f"{name}_g", norm)
        put(f"{name}_v", value)
    for name in shapes.keys() - found.keys():
        kept = export.unquantized(name)
        neutral = [value for end, value in NEUTRAL.items() if name.endswith(end)]
        if kept is None and not neutral:
            raise ExportError(f"the export has nothing for {name}")
        put(name, np.full(shapes[name], neutral[0], np.float32) if kept is None else kept)
    if left := export.left():
        raise ExportError(f"no layer takes {', '.join(left)}")
    return {name: found[name] for name in shapes}
