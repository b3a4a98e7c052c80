"""Compiled models give the bits of the packages that they were made of; text is read, written and refused by line."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb  # noqa: N813

import milrun
from milrun.__main__ import main
from milrun.package import Package
from milrun.text.reader import read_program
from milrun.text.writer import write_program
from tests.milrun import zoo
from tests.milrun.compiled_models import Described, compile_package
from tests.milrun.editing import edit, model_file, weight_file
from tests.milrun.packages import program as built
from tests.milrun.packages import save

PROGRAM = """program(1.0)
[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"compiler", "1"}, {"made", "by hand"}})]
{
    func main<ios18>(tensor<fp32, [1, 4]> x, state<tensor<fp16, [1, 4]>> memory)
    [FlexibleShapeInformation = tuple<dict<string, tensor<int32, [?]>>>(({{"x", [1, 4]}}))] {
        // A comment.
        tensor<fp32, [1, 4]> half = const()[val = tensor<fp32, [1, 4]>([[0x1p-1, 0.5, 5e-1, 0x1p-1]])];
        fp16 least = const()[name = string("least"), val = fp16(0x1p-24)];
        tensor<fp32, [1, 4]> y = mul(x = x, y = half)[name = string("y \\"quoted\\"")];
    } -> (y);
}
"""


def inputs_of(shapes: zoo.Shapes) -> dict[str, Any]:
    random = np.random.default_rng(7)
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def outputs(path: Path, inputs: dict[str, Any], function: str | None) -> dict[str, Any]:
    model = milrun.load(path, function=function)
    state = model.make_state()
    model.predict(inputs, state)
    return model.predict(inputs, state)


@pytest.mark.parametrize("described", ["coremldata.bin", "metadata.json"])
@pytest.mark.parametrize("kind", [kind for kind in zoo.KINDS if kind is not zoo.multifunction])
def test_a_compiled_model_gives_the_bits_of_its_package(
    tmp_path: Path, kind: Callable[[Path], zoo.Shapes], described: Described
) -> None:
    shapes = kind(tmp_path / "m.mlpackage")
    compiled = compile_package(tmp_path / "m.mlpackage", tmp_path / "m.mlmodelc", described)
    inputs = inputs_of(shapes)
    expected, actual = (outputs(path, inputs, None) for path in (tmp_path / "m.mlpackage", compiled))
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value)
        assert actual[name].dtype == value.dtype


def test_a_function_of_several_is_chosen_in_a_compiled_model(tmp_path: Path) -> None:
    shapes = zoo.multifunction(tmp_path / "m.mlpackage")
    compiled = compile_package(tmp_path / "m.mlpackage", tmp_path / "m.mlmodelc")
    described = Package(tmp_path / "m.mlpackage").spec().description.functions
    for name in [function.name for function in described]:
        expected, actual = (outputs(path, inputs_of(shapes), name) for path in (tmp_path / "m.mlpackage", compiled))
        assert all(np.array_equal(actual[output], value) for output, value in expected.items())


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_text_is_read_as_the_program_that_was_written(tmp_path: Path, kind: Callable[[Path], zoo.Shapes]) -> None:
    kind(tmp_path / "m.mlpackage")
    spec = Package(tmp_path / "m.mlpackage").spec()
    programs = [part.mlProgram for part in spec.pipeline.models] or [spec.mlProgram]
    for program in programs:
        text = write_program(program, "m")
        assert write_program(read_program(text, "m"), "m") == text


@pytest.mark.parametrize("name", ["state", "list", "tensor", "tuple", "dict", "bool", "int32", "string", "true", "inf"])
def test_a_value_may_be_named_as_a_type(name: str) -> None:
    program = read_program(PROGRAM.replace("half", f'"{name}"').replace(" x", f' "{name}2"'), "m")
    text = write_program(program, "m")
    assert read_program(text, "m") == program
    assert program.functions["main"].block_specializations["CoreML8"].operations[0].outputs[0].name == name


def test_the_forms_of_several_compilers_are_read() -> None:
    block = read_program(PROGRAM, "m").functions["main"].block_specializations["CoreML8"]
    half, least, product = block.operations
    assert list(half.attributes["val"].immediateValue.tensor.floats.values) == [0.5] * 4
    assert list(least.attributes["val"].immediateValue.tensor.floats.values) == [2.0**-24]
    assert product.attributes["name"].immediateValue.tensor.strings.values[0] == 'y "quoted"'
    assert list(block.outputs) == ["y"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("ios18", "ios99", "line 4, column .*unknown opset 'ios99'"),
        ("fp16(0x1p-24)", "fp17(0x1p-24)", "line 8, .*a name expected|line 8, .*'fp17'"),
        ("0x1p-24", '"text"', "line 8, .*a fp16 value can't be 'text'"),
        ("-> (y);", "", "line 11, .*'->' expected"),
        ("} -> (y);", "", "expected"),
        ("tensor<fp32, [1, 4]> x,", "tensor<fp32, [1, -4]> x,", "line 4, .*a size of -4"),
        ("program(1.0)", "[1.0]", "line 1, column 1: 'program' expected"),
        ("mul(x = x, y = half)", "mul(x = x, x = half)", "line 9, .*mul is given 'x' twice"),
        ("// A comment.", "¤", "line 6, column 9: a token expected"),
        ("[[0x1p-1", "[" * 80 + "0x1p-1", "values nest deeper than 32"),
    ],
)
def test_what_is_wrong_in_a_text_is_named_with_its_line(old: str, new: str, fault: str) -> None:
    assert old in PROGRAM
    with pytest.raises(milrun.ModelError, match=fault):
        read_program(PROGRAM.replace(old, new), "m.mil")


def test_inspect_prints_the_program_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoo.lstm(tmp_path / "m.mlpackage")
    assert main(["inspect", "--mil", str(tmp_path / "m.mlpackage")]) == 0
    printed = capsys.readouterr().out
    assert read_program(printed, "m").functions.keys() == {"main"}
    assert 'BLOBFILE(path = tensor<string, []>("@model_path/weights/weight.bin")' in printed


def test_a_package_of_links_runs_as_a_hubs_client_lays_it(tmp_path: Path) -> None:
    shapes = zoo.lstm(tmp_path / "plain.mlpackage")
    inputs = inputs_of(shapes)
    expected = outputs(tmp_path / "plain.mlpackage", inputs, None)
    compile_package(tmp_path / "plain.mlpackage", tmp_path / "plain.mlmodelc")
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for name in ("plain.mlpackage", "plain.mlmodelc"):
        linked = tmp_path / "snapshots" / name
        for index, file in enumerate(sorted(file for file in (tmp_path / name).rglob("*") if file.is_file())):
            link = linked / file.relative_to(tmp_path / name)
            link.parent.mkdir(parents=True, exist_ok=True)
            blob = blobs / f"{name}-{index}"
            shutil.copy(file, blob)
            link.symlink_to(blob)
        actual = outputs(linked, inputs, None)
        assert all(np.array_equal(actual[output], value) for output, value in expected.items())


def test_reserved_fields_of_old_weight_files_mean_nothing(tmp_path: Path) -> None:
    shapes = zoo.lstm(tmp_path / "m.mlpackage")
    inputs = inputs_of(shapes)
    expected = outputs(tmp_path / "m.mlpackage", inputs, None)
    data = bytearray(weight_file(tmp_path / "m.mlpackage").read_bytes())
    marks = [at for at in range(0, len(data), 64) if data[at : at + 4] == struct.pack("<I", 0xDEADBEEF)]
    for at in marks:
        data[at + 24 : at + 64] = b"\xa5" * 40
    weight_file(tmp_path / "m.mlpackage").write_bytes(data)
    actual = outputs(tmp_path / "m.mlpackage", inputs, None)
    assert marks
    assert all(np.array_equal(actual[output], value) for output, value in expected.items())


@pytest.mark.parametrize("of", [model_file, weight_file, lambda package: package / "Manifest.json"])
def test_a_git_lfs_pointer_is_named(tmp_path: Path, of: Callable[[Path], Path]) -> None:
    zoo.lstm(tmp_path / "m.mlpackage")
    of(tmp_path / "m.mlpackage").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(milrun.ModelError, match="a Git LFS pointer in place of the file: run `git lfs pull`"):
        milrun.load(tmp_path / "m.mlpackage")


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    zoo.lstm(tmp_path / "m.mlpackage")
    return compile_package(tmp_path / "m.mlpackage", tmp_path / "m.mlmodelc")


def test_a_compiled_neural_network_is_refused_with_its_layers(compiled: Path) -> None:
    (compiled / "model.mil").unlink()
    counted = {"Convolution": 13, "ActivationReLU": 12}
    metadata = {"modelType": {"name": "MLModelType_neuralNetwork"}, "neuralNetworkLayerTypeHistogram": counted}
    (compiled / "metadata.json").write_text(json.dumps([metadata]))
    fault = r"a NeuralNetwork \(layers: ActivationReLU \(12\), Convolution \(13\)\); milrun runs ML programs"
    with pytest.raises(milrun.ModelError, match=fault):
        milrun.load(compiled)


def test_an_encrypted_model_is_named(compiled: Path) -> None:
    (compiled / "model.mil").write_bytes(bytes(range(128, 256)))
    with pytest.raises(milrun.ModelError, match="as in an encrypted model: milrun has no keys"):
        milrun.load(compiled)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("metadata.json", "[", "metadata.json: not valid JSON"),
        ("metadata.json", "[1, 2]", "metadata.json: one description of a model expected"),
        ("coremldata.bin", "", "neither coremldata.bin nor metadata.json describes|is missing"),
    ],
)
def test_a_damaged_description_is_refused(compiled: Path, name: str, content: str, fault: str) -> None:
    (compiled / name).write_text(content)
    if name == "coremldata.bin":
        (compiled / "metadata.json").unlink()
    with pytest.raises(milrun.ModelError, match=fault):
        milrun.load(compiled)


def _described(folder: Path, **changed: str) -> Path:
    """Change how ``metadata.json`` describes the first input."""
    (entry,) = json.loads((folder / "metadata.json").read_text())
    entry["inputSchema"][0] |= changed
    (folder / "metadata.json").write_text(json.dumps([entry]))
    return folder


def test_an_optional_input_without_a_known_default_is_to_be_passed(tmp_path: Path) -> None:
    shapes = zoo.lstm(tmp_path / "m.mlpackage")
    compiled = compile_package(tmp_path / "m.mlpackage", tmp_path / "m.mlmodelc", "metadata.json")
    model = milrun.load(_described(compiled, isOptional="1"))
    name = next(iter(model.inputs))
    inputs = inputs_of(shapes)
    assert model.predict(inputs)
    with pytest.raises(ValueError, match=f"input '{name}' is missing, and its default is not known: pass float"):
        model.predict({key: value for key, value in inputs.items() if key != name})


IMAGE = {"type": "Image", "width": "6", "height": "4", "hasSizeFlexibility": "0"}


@pytest.mark.parametrize(
    ("color", "channels", "read"),
    [("RGB", 3, "RGB"), ("BGR", 3, "BGR"), ("Grayscale", 1, "GRAYSCALE"), ("GrayscaleFloat16", 1, "GRAYSCALE_FLOAT16")],
)
def test_images_are_described_by_their_colour_space(tmp_path: Path, color: str, channels: int, read: str) -> None:
    source = built(lambda x: mb.identity(x=x, name="y"), [(1, channels, 4, 6)])
    save(tmp_path / "m.mlpackage", source)
    compiled = compile_package(tmp_path / "m.mlpackage", tmp_path / "m.mlmodelc", "metadata.json")
    model = milrun.load(_described(compiled, **IMAGE, colorspace=color))
    assert str(model.inputs["x"]) == f"image {read} 6x4"
    assert _described(compiled, colorspace="HSV") == compiled
    with pytest.raises(
        milrun.ModelError, match="'x' has the colour space 'HSV', which milrun can't read from metadata"
    ):
        milrun.load(compiled)
    _described(compiled, colorspace=color, hasSizeFlexibility="1")
    with pytest.raises(milrun.ModelError, match="'x' is an image of flexible sizes, which milrun can't read"):
        milrun.load(compiled)


def test_a_part_of_a_pipeline_that_is_not_a_program_is_named_with_its_type(tmp_path: Path) -> None:
    zoo.pipeline(tmp_path / "m.mlpackage")

    def change(spec: Any) -> None:
        spec.pipeline.models[1].nonMaximumSuppression.SetInParent()

    edit(tmp_path / "m.mlpackage", change)
    with pytest.raises(milrun.ModelError, match="in the pipeline is a nonMaximumSuppression"):
        milrun.load(tmp_path / "m.mlpackage")
