"""The tensors of one case: recorded from the reference, written to a file, read back, and told in few numbers.

The numbers of a tensor are its hash, its statistics, and a sketch that identifies another recording of it.

A phase that accumulates, or an angle near ±π, turns a difference of 1e-7 into one of 0.1. Such a tensor is not wrong,
but it can't be expected to the third digit elsewhere. How far it may be off is measured when it is recorded.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from parity.base.arithmetic import distance
from parity.base.files import key
from parity.declarations import Arrays, Case, Golden, Reference, Seam
from parity.golden.errors import DamagedGolden, UnusableRecording

SAMPLES = 2048
DType = Literal["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
DTYPES: tuple[str, ...] = get_args(DType)
_CHUNK = 1 << 20
WIDEST = 2.0
"""Spread: two tensors of one rms that have nothing in common are 1.4 apart."""
_ULPS = 4
_FILE = "recording.safetensors"
_MEND = "have the reference's record() yield what upstream really computes there"
T = TypeVar("T")
U = TypeVar("U")
Triple = tuple[str, Mapping[str, T], Mapping[str, T]]
"""A stage, its inputs and its outputs: tensors, or what stands for them."""


@dataclass(frozen=True)
class Place:
    """The position of a tensor: the label of a seam, `inputs` or `outputs`, and its name.

    The label of a stage that is crossed again counts: `step`, `step@2`, …
    """

    seam: str
    side: str
    name: str

    def __str__(self) -> str:
        return f"{self.seam}/{self.side}/{self.name}"


def triples(golden: Golden) -> list[Triple[np.ndarray]]:
    return [(seam.stage, seam.inputs, seam.outputs) for seam in golden.seams]


def mapped(seams: Iterable[Triple[T]], change: Callable[[T], U]) -> list[tuple[str, dict[str, U], dict[str, U]]]:
    """Return the triples with each tensor, or what stands for it, changed into something else."""

    def side(tensors: Mapping[str, T]) -> dict[str, U]:
        return {name: change(tensor) for name, tensor in tensors.items()}

    return [(stage, side(inputs), side(outputs)) for stage, inputs, outputs in seams]


def places(seams: Iterable[Triple[T]]) -> dict[Place, T]:
    """Return every tensor by its place, in the order of the data."""
    counts: Counter[str] = Counter()
    found = {}
    for stage, *sides in seams:
        counts[stage] += 1
        label = stage if counts[stage] == 1 else f"{stage}@{counts[stage]}"
        for side, tensors in zip(("inputs", "outputs"), sides, strict=True):
            found.update({Place(label, side, name): tensor for name, tensor in tensors.items()})
    return found


def tensors(golden: Golden) -> dict[Place, np.ndarray]:
    """Return every tensor by its place, in the order of the data."""
    return places(triples(golden))


def hashed(golden: Golden) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    """Return stage, inputs and outputs of every seam, by the sha256 of the tensors. Shared arrays are hashed once."""
    arrays = {id(array): array for array in tensors(golden).values()}
    digests = {one: sha256(array) for one, array in arrays.items()}
    return mapped(triples(golden), lambda array: digests[id(array)])


def digests(golden: Golden) -> dict[Place, str]:
    """Return the sha256 of every tensor."""
    return places(hashed(golden))


def arrays(golden: Golden) -> dict[str, np.ndarray]:
    """Return every distinct tensor by its sha256."""
    return dict(zip(digests(golden).values(), tensors(golden).values(), strict=True))


def record(reference: Reference, model: Any, case: Case) -> Golden:
    """Run the reference on a case. Arrays are copied at once, since the model may write into its buffers again."""
    where = f"{reference.name}, case {case.name}"
    known: dict[str, np.ndarray] = {}

    def held(stage: str, side: str, tensors: Arrays) -> dict[str, np.ndarray]:
        found = {}
        for name, array in tensors.items():
            place = f"{where}: {key('stage', stage)}/{side}/{key('tensor', name)}"
            if fault := _unusable(array, output=side == "outputs"):
                raise UnusableRecording(place, fault, _MEND)
            digest = sha256(array)
            if digest not in known:
                known[digest] = _frozen(np.array(array, array.dtype.newbyteorder("="), order="C"))
            found[name] = known[digest]
        return found

    seams = []
    for seam in reference.record(model, case):
        if not seam.inputs or not seam.outputs:
            side = "outputs" if seam.inputs else "inputs"
            raise UnusableRecording(where, f"stage {seam.stage} has no {side}", _MEND)
        inputs = held(seam.stage, "inputs", seam.inputs)
        seams.append(Seam(seam.stage, inputs, held(seam.stage, "outputs", seam.outputs)))
    if not seams:
        raise UnusableRecording(where, "record() yields no seam at all", _MEND)
    return Golden(reference.name, case.name, tuple(seams))


def _unusable(array: object, output: bool) -> str:
    if not isinstance(array, np.ndarray):
        return f"is a {type(array).__name__} where a numpy array is expected"
    if array.dtype.name not in DTYPES:
        return f"has dtype {array.dtype}; known are {', '.join(DTYPES)}"
    if not array.size:
        return f"has no elements (shape {list(array.shape)}), so that there is nothing to compare"
    if output and array.dtype.kind == "f":
        bad = array.size - int(np.isfinite(array).sum())
        if bad:
            return f"{bad} of {array.size} values are NaN or infinite"
        if array.size > 1 and array.min() == array.max():
            return f"all {array.size} values are {array.flat[0]:g}, so that a dead stage would pass for it"
    return ""


def spread(case: Case, recorded: Golden, record: Callable[[Case], Golden]) -> dict[str, float]:
    """Return, for each tensor by its sha256, its relative L2 to a recording with other rounding."""
    other = rerecorded(case, record)
    before, after, digest = tensors(recorded), tensors(other), digests(recorded)
    found: dict[str, float] = {}
    for place in dict.fromkeys((*before, *after)):
        here, there, fault, apart = before.get(place), after.get(place), "", 0.0
        if here is None or there is None:
            fault = "it comes or goes"
        elif here.shape != there.shape:
            fault = f"its shape is {list(there.shape)} and not {list(here.shape)}"
        elif exact(here):
            same = here.dtype == there.dtype and np.array_equal(here, there)
            fault = "" if same else "it has other whole numbers"
        elif not (apart := distance(here, there).relative_l2) <= WIDEST:
            fault = "nothing of it is left"
        if fault:
            raise UnusableRecording(
                f"case {case.name}: {place}",
                f"hangs on rounding: with inputs {_ULPS} ulp off, {fault}",
                "take an input that decides more clearly",
            )
        found[digest[place]] = max(found.get(digest[place], 0.0), apart)
    return found


def rerecorded(case: Case, record: Callable[[Case], Golden]) -> Golden:
    """Record a case with other kernels and with inputs a few ulp off: the same truth, rounded otherwise."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32")  # said of a setting that is only put back
        with torch.backends.mkldnn.flags(enabled=False):
            return record(replace(case, inputs=_nudged(case.inputs)))


def _nudged(inputs: Arrays) -> dict[str, np.ndarray]:
    """Move every other value up and every other one down."""
    found = {}
    for name, array in inputs.items():
        values = np.array(array)
        if values.dtype.kind == "f":
            signs = np.where(np.arange(values.size) % 2, -1, 1).reshape(values.shape)
            values = (values * (1 + _ULPS * np.finfo(values.dtype).eps * signs)).astype(values.dtype)
        found[name] = values
    return found


def write(golden: Golden, folder: Path, seconds: float) -> None:
    """Write every distinct tensor once, the list of seams beside them, and the seconds that recording took."""
    notes = {"seams": json.dumps(hashed(golden)), "seconds": f"{seconds:.4f}"}
    save_file(arrays(golden), folder / _FILE, notes)


def seconds(folder: Path) -> float:
    """Return the time of a recording; 0 for one that was written before it was kept."""
    try:
        with safe_open(folder / _FILE, "numpy") as file:
            return float(file.metadata().get("seconds", 0))
    except (OSError, SafetensorError, ValueError, AttributeError):
        return 0.0


def read(folder: Path, reference: str, case: str) -> Golden:
    """Return what `write` wrote."""
    try:
        with safe_open(folder / _FILE, "numpy") as file:
            known = {digest: _frozen(file.get_tensor(digest)) for digest in file.keys()}  # noqa: SIM118
            seams = json.loads(file.metadata()["seams"])
        return restored(reference, case, seams, known)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedGolden(folder, f"the recording can't be read: {error}", "delete this folder") from error


def restored(reference: str, case: str, seams: Iterable[Triple[str]], known: Arrays) -> Golden:
    """Return the golden of hashed seams; `known` has the tensors by their sha256."""
    return Golden(reference, case, tuple(Seam(*one) for one in mapped(seams, known.__getitem__)))


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def sha256(array: np.ndarray) -> str:
    """Return the hash of dtype, shape and little-endian bytes. It is equal for equal tensors only, on every machine."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{array.dtype.name} {list(array.shape)}\n".encode())
    digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def sketch(array: np.ndarray) -> np.ndarray:
    """Return up to 2,048 samples at one stride over the flat tensor.

    The stride shares no factor with the size. So along every axis the samples visit all positions in turn.
    """
    stride = max(1, -(-array.size // SAMPLES))
    while math.gcd(stride, array.size) > 1:
        stride += 1
    return np.ascontiguousarray(array.reshape(-1)[::stride])


def statistics(array: np.ndarray) -> dict[str, Any]:
    """Return extremes, mean and rms of the finite values, and the counts of zeros and of values that are not finite."""
    low, high, total, squares, zeros, finite = math.inf, -math.inf, 0.0, 0.0, 0, 0
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK].astype(np.float64)
        values = chunk[np.isfinite(chunk)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            total, squares = total + float(values.sum()), squares + float(values @ values)
            zeros, finite = zeros + int((values == 0).sum()), finite + values.size
    known = (low, high, total / finite, math.sqrt(squares / finite)) if finite else (0.0,) * 4
    # Nine digits tell fp32 values apart and hide the order of a sum.
    found = {name: float(f"{value:.9g}") for name, value in zip(("min", "max", "mean", "rms"), known, strict=True)}
    return {**found, "zeros": zeros, "nonfinite": array.size - finite}


def exact(array: np.ndarray) -> bool:
    """Return whether a tensor must be equal bit for bit: whole numbers carry decisions, not roundings."""
    return bool(array.dtype.kind != "f")
