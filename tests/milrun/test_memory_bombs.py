"""Small packages that ask for large amounts of memory are refused before they get it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb  # noqa: N813

import milrun
from milrun import guard
from tests.milrun.editing import block_of, edit, forget_sizes, weight_file
from tests.milrun.packages import program, save

MARK = 17
"""Stands in the programs below for a number that coremltools itself would choke on."""


def _outer_sum(x: Any) -> Any:
    x = mb.reshape(x=mb.tile(x=x, reps=[MARK, 1]), shape=[-1, 1])
    return mb.reduce_sum(x=mb.matmul(x=x, y=x, transpose_y=True))


HUGE: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "fill": (1 << 17, lambda x: mb.fill(shape=[MARK, MARK], value=1.0)),
    "tile": (1 << 17, lambda x: mb.add(x=mb.tile(x=x, reps=[MARK, MARK]), y=1.0)),
    "range_1d": ((1 << 31) - 1, lambda x: mb.cast(x=mb.range_1d(start=0, end=MARK, step=1), dtype="fp32")),
    "one_hot": (
        1 << 30,
        lambda x: mb.one_hot(
            indices=mb.cast(x=x, dtype="int32"), one_hot_vector_size=MARK, on_value=1.0, off_value=0.0
        ),
    ),
    "pad": (1 << 17, lambda x: mb.pad(x=x, pad=[MARK, 0, MARK, 0])),
    "resize_bilinear": (
        1 << 17,
        lambda x: mb.resize_bilinear(
            x=mb.reshape(x=x, shape=[1, 1, 2, 3]), target_size_height=MARK, target_size_width=MARK
        ),
    ),
    "random_uniform": (1 << 17, lambda x: mb.random_uniform(shape=[MARK, MARK], low=0.0, high=1.0)),
    "max_pool": (
        1 << 30,
        lambda x: mb.max_pool(
            x=mb.reshape(x=x, shape=[1, 2, 3]), kernel_sizes=[1], pad=[MARK, MARK], pad_type="custom"
        ),
    ),
    "max_pool ": (
        (1 << 31) - 1,
        lambda x: mb.max_pool(x=mb.reshape(x=x, shape=[1, 2, 3]), kernel_sizes=[MARK], strides=[2], pad_type="same"),
    ),
    "matmul": (1 << 20, _outer_sum),
    "local_response_norm": (
        (1 << 31) - 1,
        lambda x: mb.local_response_norm(x=mb.reshape(x=x, shape=[1, 2, 3]), size=MARK, alpha=1.0, beta=1.0, k=1.0),
    ),
    "concat": (0, lambda x: mb.concat(values=[x] * 3000, axis=0)),
}


def _values(spec: Any) -> Iterator[Any]:
    for operation in block_of(spec).operations:
        yield from operation.attributes.values()
        for argument in operation.inputs.values():
            yield from (binding.value for binding in argument.arguments if binding.WhichOneof("binding") == "value")


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than what is allowed in earnest, so that nothing that is wrongly allowed takes long."""
    monkeypatch.setattr(guard, "FLOOR", 1 << 28)


@pytest.mark.parametrize("kind", HUGE)
def test_a_few_bytes_do_not_ask_for_gigabytes(tmp_path: Path, kind: str) -> None:
    number, body = HUGE[kind]
    source = program(lambda x: mb.reduce_sum(x=mb.add(x=body(x), y=1.0)), [(2, 3)])
    path = save(tmp_path / "m.mlpackage", source, passes=False)

    def change(spec: Any) -> None:
        for value in _values(spec):
            ints = value.immediateValue.tensor.ints.values
            if MARK in ints:
                ints[:] = [number if held == MARK else held for held in ints]
        # Three times over, an output that is joined to itself 3000 times.
        if kind == "concat":
            operations = block_of(spec).operations
            (index,) = (i for i, operation in enumerate(operations) if operation.type == "concat")
            for step in range(3):
                further = operations.add()
                further.CopyFrom(operations[index])
                name = operations[index].outputs[0].name if step == 0 else f"more{step - 1}"
                for binding in further.inputs["values"].arguments:
                    binding.name = name
                further.outputs[0].name = f"more{step}"
        forget_sizes(spec)

    edit(path, change)
    with pytest.raises(
        milrun.ModelError, match=rf"\({kind.strip()}\).*(it would take|windows along|are allowed|allowed are)"
    ):
        milrun.load(path).predict({"x": np.ones((2, 3), np.float32)})


def _greedy(tmp_path: Path) -> Path:
    """Return a package with weights of its own that asks for half a gigabyte."""

    def body(x: Any) -> Any:
        x = mb.linear(x=x, weight=np.ones((64, 3), np.float32))
        return mb.add(x=mb.reduce_sum(x=mb.fill(shape=[1 << 27], value=1.0)), y=mb.reduce_sum(x=x))

    return save(tmp_path / "m.mlpackage", program(body, [(2, 3)]), passes=False)


def _assert_refused(path: Path) -> None:
    with pytest.raises(milrun.ModelError, match=r"\((fill|const)\).*justif"):
        milrun.load(path).predict({"x": np.ones((2, 3), np.float32)})


def test_a_file_that_no_program_refers_to_justifies_nothing(tmp_path: Path) -> None:
    path = _greedy(tmp_path)
    with weight_file(path).with_name("more.bin").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing, 40 kB on disk
    _assert_refused(path)


def test_holes_in_a_weight_file_justify_nothing(tmp_path: Path) -> None:
    path = _greedy(tmp_path)
    with weight_file(path).open("r+b") as file:
        start = file.seek(0, 2)
        size = 1 << 32
        file.write(struct.pack("<IIQQQ32x", 0xDEADBEEF, 2, size, start + 64, 0))
        file.truncate(start + 64 + size)

    def change(spec: Any) -> None:
        operations = block_of(spec).operations
        source = next(operation for operation in operations if operation.attributes["val"].HasField("blobFileValue"))
        copy = type(source)()
        copy.CopyFrom(source)
        copy.outputs[0].name = "hole"
        copy.attributes["name"].immediateValue.tensor.strings.values[0] = "hole"
        copy.attributes["val"].blobFileValue.offset = start
        for held in (copy.attributes["val"].type, copy.outputs[0].type):
            for dimension, value in zip(held.tensorType.dimensions, (1 << 30, 1), strict=True):
                dimension.constant.size = value
        operations.insert(0, copy)

    edit(path, change)
    _assert_refused(path)


def test_weights_that_the_program_refers_to_justify_memory(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        x = mb.linear(x=x, weight=np.random.default_rng(0).random((1 << 20, 6), np.float32))
        return mb.add(x=mb.reduce_sum(x=mb.fill(shape=[1 << 27], value=1.0)), y=mb.reduce_sum(x=x))

    path = save(tmp_path / "m.mlpackage", program(body, [(2, 6)]), passes=False)
    milrun.load(path).predict({"x": np.ones((2, 6), np.float32)})
