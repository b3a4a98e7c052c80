"""Packages made to do harm: each is refused, by a ModelError that names the fault."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb  # noqa: N813

import milrun
from milrun import guard, plan
from tests.milrun import zoo
from tests.milrun.editing import block_of, edit, forget_sizes, model_file, weight_file
from tests.milrun.packages import program, save


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than what is allowed in earnest, so that nothing that is wrongly allowed takes long."""
    monkeypatch.setattr(guard, "FLOOR", 1 << 28)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the undamaged packages."""
    folder = tmp_path_factory.mktemp("whole")
    zoo.lstm(folder / "lstm.mlpackage")
    zoo.conv(folder / "conv.mlpackage")
    return folder


@pytest.fixture
def package(whole: Path, tmp_path: Path) -> Path:
    """A copy of a package with an LSTM."""
    return shutil.copytree(whole / "lstm.mlpackage", tmp_path / "m.mlpackage")


@pytest.fixture
def conv(whole: Path, tmp_path: Path) -> Path:
    """A copy of a package with a convolution."""
    return shutil.copytree(whole / "conv.mlpackage", tmp_path / "m.mlpackage")


def _stored(spec: Any) -> Any:
    """The first constant that lies in the weight file."""
    values = (op.attributes["val"] for op in block_of(spec).operations if op.type == "const")
    return next(value for value in values if value.WhichOneof("value") == "blobFileValue")


def _refused(package: Path, fault: str) -> None:
    with pytest.raises(milrun.ModelError, match=fault):
        milrun.load(package)


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("../../secret", "outside the package"),
        ("/etc/hostname", "outside the package"),
        ("missing", "missing or can't be reached"),
        ("a\0b", "can't be reached"),
        ("x" * 5000, "can't be reached"),
        (".", "not a file"),
        (5, "no valid manifest"),
        (None, "no valid manifest"),
        (["a"], "no valid manifest"),
    ],
)
def test_a_manifest_names_a_file_of_the_package(package: Path, path: Any, fault: str) -> None:
    (package.parent / "secret").write_text("secret")
    entries = {"a": {"path": path}}
    (package / "Manifest.json").write_text(json.dumps({"itemInfoEntries": entries, "rootModelIdentifier": "a"}))
    _refused(package, fault)


@pytest.mark.parametrize(
    "text", ["", "[]", "5", "{}", "[" * 100_000, '{"rootModelIdentifier": {}, "itemInfoEntries": {}}', "9" * 9000]
)
def test_a_manifest_is_json_of_the_known_form(package: Path, text: str) -> None:
    (package / "Manifest.json").write_text(text)
    _refused(package, "Manifest.json: no valid manifest")


def test_a_manifest_is_short(package: Path) -> None:
    (package / "Manifest.json").write_text(" " * (1 << 21))
    _refused(package, "Manifest.json: has 2097152 bytes")


def test_a_specification_is_not_larger_than_protobuf_allows(package: Path) -> None:
    with model_file(package).open("r+b") as file:
        file.truncate(1 << 40)
    _refused(package, "has 1099511627776 bytes")


@pytest.mark.parametrize("of", [model_file, weight_file])
def test_a_link_to_a_folder_does_not_lead_out_of_the_package(package: Path, of: Callable[[Path], Path]) -> None:
    folder, outside = of(package).parent, package.parent / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)
    _refused(package, "leads outside the package")


@pytest.mark.parametrize("of", [model_file, weight_file])
def test_a_link_to_a_device_or_a_pipe_is_refused(package: Path, of: Callable[[Path], Path]) -> None:
    file, pipe = of(package), package.parent / "pipe"
    os.mkfifo(pipe)
    for target in (Path("/dev/zero"), pipe, package.parent):
        file.unlink()
        file.symlink_to(target)
        _refused(package, "is not a file")


def test_a_link_to_itself_is_refused(package: Path) -> None:
    path = weight_file(package)
    path.unlink()
    path.symlink_to(path)
    _refused(package, "can't be reached")


@pytest.mark.parametrize("name", ["@model_path/../../../secret", "@model_path//etc/hostname", "/etc/hostname", "\0"])
def test_a_program_reads_no_weights_outside_the_package(package: Path, name: str) -> None:
    (package.parent / "secret").write_bytes(bytes(128))
    edit(package, lambda spec: setattr(_stored(spec).blobFileValue, "fileName", name))
    _refused(package, "outside the package|is not given by")


@pytest.mark.parametrize("offset", [1, 63, 1 << 20, (1 << 63) + 64, (1 << 64) - 64])
def test_a_weight_lies_inside_its_file(package: Path, offset: int) -> None:
    edit(package, lambda spec: setattr(_stored(spec).blobFileValue, "offset", offset))
    _refused(package, f"weight.bin: the weight record at offset {offset} is outside the file")


@pytest.mark.parametrize(
    ("at", "value", "fault"),
    [
        (8, 1 << 63, "has|points"),
        (8, 3, "has 3 bytes"),
        (16, 1 << 63, "points to bytes"),
        (16, (1 << 64) - 1, "points"),
    ],
)
def test_the_data_of_a_weight_lies_inside_its_file(package: Path, at: int, value: int, fault: str) -> None:
    data = bytearray(weight_file(package).read_bytes())
    struct.pack_into("<Q", data, 64 + at, value)
    weight_file(package).write_bytes(data)
    _refused(package, f"weight.bin: the weight record at offset 64 .*{fault}")


@pytest.mark.parametrize("size", [0, 10, 64, 100])
def test_a_weight_file_is_whole(package: Path, size: int) -> None:
    weight_file(package).write_bytes(weight_file(package).read_bytes()[:size])
    _refused(package, "weight.bin: the weight")


@pytest.mark.parametrize("size", [(1 << 63), (1 << 64) - 1, 1 << 40])
def test_a_shape_whose_product_overflows_is_refused(package: Path, size: int) -> None:
    def change(spec: Any) -> None:
        for dimension in _stored(spec).type.tensorType.dimensions:
            dimension.constant.size = size

    edit(package, change)
    _refused(package, "more than the package justifies")


@pytest.mark.parametrize(("rank", "fault"), [(65, "rank 65, more than 64"), (3, "rank 3 has 2"), (-1, "known shape")])
def test_a_rank_agrees_with_the_dimensions(package: Path, rank: int, fault: str) -> None:
    edit(package, lambda spec: setattr(_stored(spec).type.tensorType, "rank", rank))
    _refused(package, fault)


def test_an_unknown_element_type_is_refused(package: Path) -> None:
    edit(package, lambda spec: setattr(_stored(spec).type.tensorType, "dataType", 999))
    _refused(package, "unknown element type 999")


def test_names_are_defined_once(package: Path) -> None:
    edit(package, lambda spec: block_of(spec).operations.append(block_of(spec).operations[-1]))
    _refused(package, "which is defined already")


def test_an_op_does_not_take_the_name_of_an_input(package: Path) -> None:
    edit(package, lambda spec: setattr(block_of(spec).operations[-1].outputs[0], "name", "x"))
    _refused(package, "defines 'x', which is defined already")


def test_inputs_have_names_of_their_own(package: Path) -> None:
    def change(spec: Any) -> None:
        (function,) = spec.mlProgram.functions.values()
        function.inputs.append(function.inputs[0])

    edit(package, change)
    _refused(package, "two inputs of one name")


def test_a_block_gives_only_what_it_defines(package: Path) -> None:
    edit(package, lambda spec: block_of(spec).outputs.append("nothing"))
    _refused(package, "refers to 'nothing', which nothing before it defines")


def test_blocks_do_not_nest_without_end(package: Path) -> None:
    def change(spec: Any) -> None:
        block = block_of(spec)
        for _ in range(20):
            block.operations.add(type="cond")
            block = block.operations[-1].blocks.add()

    edit(package, change)
    with pytest.raises(milrun.ModelError):
        milrun.load(package)


def test_a_declared_result_is_not_larger_than_the_package_justifies(package: Path) -> None:
    def change(spec: Any) -> None:
        for dimension in block_of(spec).operations[-1].outputs[0].type.tensorType.dimensions:
            dimension.constant.size = 1 << 20

    edit(package, change)
    _refused(package, "more than the package justifies")


@pytest.mark.parametrize(
    ("step", "fault"), [(0, "leaves its variables as they are"), (-1, "did not end, after 2000 iterations")]
)
def test_a_loop_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, fault: str) -> None:
    def body(x: Any) -> Any:
        return mb.while_loop(
            _cond=lambda i, _: mb.less(x=i, y=5),
            _body=lambda i, h: (mb.add(x=i, y=step), mb.mul(x=h, y=1.0)),
            loop_vars=(0, x),
        )[1]

    monkeypatch.setattr(plan, "MAX_ITERATIONS", 2000)
    path = save(tmp_path / "m.mlpackage", program(body, [(2, 3)]), passes=False)
    with pytest.raises(milrun.ModelError, match=fault):
        milrun.load(path).predict({"x": np.ones((2, 3), np.float32)})


def test_integer_division_does_not_trap(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        least = mb.sub(x=mb.cast(x=x, dtype="int32"), y=np.int32(-(2**31) + 1) * np.int32(-1))
        least = mb.sub(x=least, y=np.int32(2))
        results = [mb.floor_div(x=least, y=np.int32(-1)), mb.mod(x=least, y=np.int32(-1))]
        results.append(mb.real_div(x=least, y=np.int32(-1)))
        return mb.cast(x=mb.concat(values=results, axis=0), dtype="fp32")

    path = save(tmp_path / "m.mlpackage", program(body, [(20,)]), passes=False)
    run = "import numpy, milrun, sys; milrun.load(sys.argv[1]).predict({'x': numpy.ones(20, numpy.float32)})"
    done = subprocess.run([sys.executable, "-c", run, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode >= 0, done.stderr


@pytest.mark.parametrize(
    ("weight", "shape"), [("weight_ih", [24, 6]), ("weight_ih", [48, 5]), ("weight_hh", [24, 3]), ("bias", [12])]
)
def test_weights_of_an_lstm_fit(package: Path, weight: str, shape: list[int]) -> None:
    def change(spec: Any) -> None:
        block = block_of(spec)
        (lstm,) = (op for op in block.operations if op.type == "lstm")
        name = lstm.inputs[weight].arguments[0].name
        (const,) = (op for op in block.operations if op.outputs[0].name == name)
        value = const.attributes["val"]
        value.immediateValue.tensor.floats.values.extend([0.5] * int(np.prod(shape)))
        for dimension, size in zip(value.type.tensorType.dimensions, shape, strict=True):
            dimension.constant.size = size

    edit(package, change)
    with pytest.raises(milrun.ModelError, match=r"do not fit|must match"):
        milrun.load(package).predict({"x": np.ones((7, 2, 5), np.float32)})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            lambda dimensions: setattr(dimensions[3].constant, "size", 9),
            r"fp16\[1, 8, 8, 9\], and float16\[1, 8, 8, 8\]",
        ),
        (lambda dimensions: dimensions.pop(), "a type of rank 4 has 3 dimensions"),
    ],
)
def test_a_result_is_what_its_declaration_says(conv: Path, change: Callable[[Any], Any], fault: str) -> None:
    def declare(spec: Any) -> None:
        (found,) = (op for op in block_of(spec).operations if op.type == "conv")
        change(found.outputs[0].type.tensorType.dimensions)

    edit(conv, declare)
    with pytest.raises(milrun.ModelError, match=fault):
        milrun.load(conv).predict({"x": np.ones((1, 4, 8, 8), np.float32)})


def test_strides_that_give_other_shapes_than_declared_are_refused(conv: Path) -> None:
    def change(spec: Any) -> None:
        (found,) = (op for op in block_of(spec).operations if op.type == "conv")
        name = found.inputs["strides"].arguments[0].name
        (const,) = (op for op in block_of(spec).operations if op.outputs[0].name == name)
        const.attributes["val"].immediateValue.tensor.ints.values[:] = [2, 2]

    edit(conv, change)
    with pytest.raises(milrun.ModelError, match=r"is declared fp16\[1, 8, 8, 8\], and float16\[1, 8, 4, 4\] comes out"):
        milrun.load(conv).predict({"x": np.ones((1, 4, 8, 8), np.float32)})


@pytest.mark.parametrize("attribute", ["strides", "groups", "dilations", "pad"])
@pytest.mark.parametrize("value", [0, -1, (1 << 31) - 1])
def test_numbers_of_a_convolution_are_sensible(conv: Path, attribute: str, value: int) -> None:
    def change(spec: Any) -> None:
        block = block_of(spec)
        (found,) = (op for op in block.operations if op.type == "conv")
        name = found.inputs[attribute].arguments[0].name
        (const,) = (op for op in block.operations if op.outputs[0].name == name)
        ints = const.attributes["val"].immediateValue.tensor.ints.values
        ints[:] = [value] * len(ints)
        if attribute == "pad":
            (kind,) = (
                op for op in block.operations if op.outputs[0].name == found.inputs["pad_type"].arguments[0].name
            )
            kind.attributes["val"].immediateValue.tensor.strings.values[0] = "custom"
        forget_sizes(spec)

    edit(conv, change)
    if (attribute, value) == ("pad", 0):  # which is no fault
        assert milrun.load(conv).predict({"x": np.ones((1, 4, 8, 8), np.float32)})
        return
    with pytest.raises(milrun.ModelError, match=r"conv|linear|slice_by_index|pool"):
        milrun.load(conv).predict({"x": np.ones((1, 4, 8, 8), np.float32)})


def test_a_state_is_not_larger_than_the_package_justifies(tmp_path: Path) -> None:
    path = tmp_path / "m.mlpackage"
    zoo.stateful(path)

    def change(spec: Any) -> None:
        spec.description.state[0].type.stateType.arrayType.shape[:] = [1 << 40, 1 << 40]

    edit(path, change)
    _refused(path, "larger than the package justifies")


def test_an_input_has_no_negative_size(package: Path) -> None:
    edit(package, lambda spec: spec.description.input[0].type.multiArrayType.shape.append(-5))
    _refused(package, "negative size")
