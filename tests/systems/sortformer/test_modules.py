"""What Sortformer's graphs are traced from: beside what is known of their task, beside their packages, beside NeMo."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from torch import Tensor

import milrun
from converters.sortformer.encoder import shifted
from converters.sortformer.frontend import (
    BLOCK,
    FFT,
    HOP,
    MELS,
    PreEncoder,
    Preprocessor,
    Subsampling,
    mel_filters,
)
from converters.sortformer.head import Head, Pipeline
from parity.build import convert
from parity.declarations import Stage, Variant, i32, real
from parity.declarations import Tensor as Declared
from references.sortformer.checkpoint import TRAINED, Source
from references.sortformer.config import BEFORE, DEFAULT, NVIDIA_HIGH, NVIDIA_LOW, Streaming

WIDTH, SPEAKERS = 128, 4
SMALL = Streaming(
    chunk_len=5, chunk_right_context=3, chunk_left_context=2, fifo_len=11, spkcache_update_period=5, spkcache_len=17
)
CHUNK, ROWS = 10, 38
LENGTHS = [(80, 17, 11), (80, 0, 0), (80, 0, 4), (80, 9, 0), (61, 9, 4), (1, 17, 3), (0, 6, 11), (0, 0, 0)]
"""Frames of the chunk, rows of the cache, rows of the queue."""
LIMIT = 1e-5
Package = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def upstream() -> Any:
    return Source(TRAINED)


@pytest.fixture(scope="module")
def pre_encoder(upstream: Any) -> PreEncoder:
    return PreEncoder(upstream, SMALL).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def head(upstream: Any) -> Head:
    return Head(upstream, ROWS).eval().requires_grad_(False)


def integer(value: int) -> Tensor:
    return torch.tensor([value], dtype=torch.int32)


def given(lengths: tuple[int, int, int], streaming: Streaming = SMALL, behind: float | None = None) -> list[Tensor]:
    """What a pre-encoder takes, made up; `behind` is what lies where nothing is valid."""
    random = torch.Generator().manual_seed(0)
    chunk = streaming.chunk_left_context + streaming.chunk_len + streaming.chunk_right_context
    parts = (
        torch.randn(1, 8 * chunk, MELS, generator=random) * 3 - 6,
        torch.randn(1, streaming.spkcache_len, WIDTH, generator=random),
        torch.randn(1, streaming.fifo_len, WIDTH, generator=random),
    )
    if behind is not None:
        for part, length in zip(parts, lengths, strict=True):
            part[:, length:] = behind
    return [value for part, length in zip(parts, lengths, strict=True) for value in (part, integer(length))]


def difference(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found.detach().double() - wanted.detach().double()).abs().max()) if found.numel() else 0.0


class TestMelFilters:
    def test_they_are_triangles_of_area_one_in_rising_order(self):
        filters = mel_filters().double()
        assert filters.shape == (FFT // 2 + 1, MELS)
        assert (filters >= 0).all()
        assert (filters > 0).any(0).all()
        # The wide ones cover bins enough to sum up.
        assert ((filters.sum(0) * 16_000 / FFT)[-40:] - 1).abs().max() < 0.05
        assert (filters.argmax(0).diff() >= 0).all()
        assert (filters > 0).sum(1).max() == 2

    def test_they_are_of_equal_width_up_to_one_kilohertz_and_wider_from_there_on(self):
        peaks = mel_filters().argmax(0).double() * 16_000 / FFT
        low, high = peaks[peaks < 900], peaks[peaks > 2000]
        step = (low[-1] - low[0]) / (len(low) - 1)
        assert ((low - low[0]) - step * torch.arange(len(low))).abs().max() <= 16_000 / FFT
        assert (high[-1] - high[-11]) > 2 * (high[10] - high[0])


class TestPreprocessor:
    def whole(self, audio: Tensor) -> Tensor:
        """A recording's features at once, by torch's own STFT, in double precision."""
        audio = audio.double()
        emphasised = torch.cat([audio[:1], audio[1:] - 0.97 * audio[:-1]])
        window = torch.hann_window(400, periodic=False, dtype=torch.float64)
        spectrum = torch.stft(emphasised, FFT, HOP, 400, window, pad_mode="constant", return_complex=True)
        features = torch.log((spectrum.abs() ** 2).T @ mel_filters().double() + 2**-24)
        return features[: len(audio) // HOP]

    @pytest.mark.parametrize("samples", [HOP * BLOCK * 2, HOP * BLOCK + 77, HOP * 5, HOP - 1])
    def test_blocks_are_what_the_whole_recording_is(self, samples: int):
        audio = torch.randn(samples, generator=torch.Generator().manual_seed(1)) * 0.1
        preprocessor = Preprocessor(None)
        size = HOP * (BLOCK + 3)
        # What lies behind the recording's end must not be looked at.
        padded = torch.cat([torch.zeros(BEFORE), audio, torch.full((size,), 7.0)])
        blocks = []
        for start in range(0, samples, HOP * BLOCK):
            length = integer(min(BEFORE + samples - start, size))
            features, feature_lengths = preprocessor(padded[None, start : start + size], length)
            assert features.shape == (1, BLOCK, MELS)
            assert feature_lengths.dtype == torch.int32
            assert (features[:, int(feature_lengths) :] == 0).all()
            blocks.append(features[0, : int(feature_lengths)])
        assert difference(torch.cat(blocks), self.whole(audio)) < 2e-4

    @pytest.mark.parametrize(
        ("length", "frames"), [(0, 0), (BEFORE, 0), (BEFORE + HOP - 1, 0), (BEFORE + HOP, 1), (8159, 48), (8160, 48)]
    )
    def test_a_frame_counts_once_its_hop_is_complete(self, length: int, frames: int):
        features, feature_lengths = Preprocessor(None)(torch.ones(1, 8160), integer(length))
        assert feature_lengths.tolist() == [frames]
        assert (features[0].abs().sum(1) > 0).tolist() == [t < frames for t in range(BLOCK)]


class TestPreEncoder:
    @pytest.mark.parametrize("lengths", LENGTHS)
    def test_valid_rows_are_packed_from_the_start_and_zeros_are_behind(
        self, pre_encoder: PreEncoder, lengths: tuple[int, int, int]
    ):
        chunk, cache, queue = lengths
        inputs = given(lengths)
        packed, total, embedded, rows = pre_encoder(*inputs)
        assert rows.tolist() == [-(-chunk // 8)]
        assert total.tolist() == [cache + queue + int(rows)]
        assert total.dtype == rows.dtype == torch.int32
        valid = torch.cat([inputs[2][:, :cache], inputs[4][:, :queue], embedded[:, : int(rows)]], 1)
        assert torch.equal(packed[:, : int(total)], valid)
        assert packed.shape == (1, ROWS, WIDTH)
        assert (packed[:, int(total) :] == 0).all()
        assert embedded.shape == (1, CHUNK, WIDTH)
        assert (embedded[:, int(rows) :] == 0).all()

    @pytest.mark.parametrize("lengths", LENGTHS)
    def test_what_is_behind_the_valid_rows_leaves_no_trace(
        self, pre_encoder: PreEncoder, lengths: tuple[int, int, int]
    ):
        clean = pre_encoder(*given(lengths, behind=0.0))
        for garbage in (1e30, float("nan")):
            found = pre_encoder(*given(lengths, behind=garbage))
            assert all(torch.equal(one, other) for one, other in zip(found, clean, strict=True))

    @pytest.mark.parametrize("frames", [1, 2, 8, 9, 13, 29, 79])
    def test_a_chunk_that_ends_early_is_embedded_as_if_the_window_ended_there(self, upstream: Any, frames: int):
        chunk = given((80, 0, 0))[0]
        embedded, rows = Subsampling(upstream.state, 80)(chunk, integer(frames))
        alone, rows_alone = Subsampling(upstream.state, frames)(chunk[:, :frames], integer(frames))
        assert rows.tolist() == rows_alone.tolist() == [alone.shape[1]]
        assert difference(embedded[:, : int(rows)], alone) < LIMIT


class TestHead:
    def test_a_score_for_each_distance_becomes_one_for_each_key(self):
        scores = torch.randn(1, 2, 5, 9)
        wanted = [[[scores[0, head, i, 4 - i + j] for j in range(5)] for i in range(5)] for head in range(2)]
        assert torch.equal(shifted(scores), torch.tensor([wanted]))

    @pytest.mark.parametrize("rows", [1, 20, ROWS])
    def test_how_many_rows_are_padding_changes_nothing(self, upstream: Any, head: Head, rows: int):
        packed = torch.randn(1, rows, WIDTH, generator=torch.Generator().manual_seed(2))
        alone = Head(upstream, rows)(packed, integer(rows), packed, integer(rows))[0]
        for behind in (0.0, 3.0):
            padded = torch.full((1, ROWS, WIDTH), behind)
            padded[:, :rows] = packed
            found, *_ = head(padded, integer(rows), padded[:, :CHUNK], integer(rows))
            assert found.shape == (1, ROWS, SPEAKERS)
            assert difference(found[:, :rows], alone) < LIMIT
            assert (found[:, rows:] == 0).all()
        assert alone.std() > 0

    def test_the_chunk_passes_through_without_what_is_invalid(self, head: Head):
        packed, chunk = torch.randn(1, ROWS, WIDTH), torch.randn(1, CHUNK, WIDTH)
        for rows in (0, 3, CHUNK):
            _, embedded, lengths = head(packed, integer(ROWS), chunk, integer(rows))
            assert torch.equal(embedded[:, :rows], chunk[:, :rows])
            assert (embedded[:, rows:] == 0).all()
            assert lengths.tolist() == [rows]
            assert lengths.dtype == torch.int32

    def test_no_row_at_all_is_nobody(self, head: Head):
        nothing = torch.zeros(1, ROWS, WIDTH)
        predictions, *_ = head(nothing, integer(0), nothing[:, :CHUNK], integer(0))
        assert (predictions == 0).all()


BETWEEN: Mapping[str, Declared] = {
    "pre_encoder_embs": real(1, ROWS, WIDTH),
    "pre_encoder_lengths": i32(1),
    "chunk_pre_encoder_embs": real(1, CHUNK, WIDTH),
    "chunk_pre_encoder_lengths": i32(1),
}
WINDOW: Mapping[str, Declared] = {
    "chunk": real(1, 8 * CHUNK, MELS),
    "chunk_lengths": i32(1),
    "spkcache": real(1, SMALL.spkcache_len, WIDTH),
    "spkcache_lengths": i32(1),
    "fifo": real(1, SMALL.fifo_len, WIDTH),
    "fifo_lengths": i32(1),
}
FOUND: Mapping[str, Declared] = {
    "speaker_preds": real(1, ROWS, SPEAKERS),
    "chunk_pre_encoder_embs_out": real(1, CHUNK, WIDTH),
    "chunk_pre_encoder_lengths_out": i32(1),
}
VARIANTS = (Variant("fp32", "float32", ships=True), Variant("fp16", "float16"))
STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "preprocessor",
            Preprocessor,
            {"audio_signal": real(1, HOP * (BLOCK + 3)), "length": i32(1)},
            {"features": real(1, BLOCK, MELS), "feature_lengths": i32(1)},
            VARIANTS,
        ),
        Stage("pre_encoder", lambda upstream: PreEncoder(upstream, SMALL), WINDOW, BETWEEN, VARIANTS),
        Stage("head", lambda upstream: Head(upstream, ROWS), BETWEEN, FOUND, VARIANTS),
        Stage("pipeline", lambda upstream: Pipeline(upstream, SMALL), WINDOW, FOUND, VARIANTS),
    )
}
COMPARED = [("preprocessor", "fp32"), ("pre_encoder", "fp32"), ("head", "fp32"), ("head", "fp16"), ("pipeline", "fp16")]


@pytest.fixture(scope="module")
def package(upstream: Any, tmp_path_factory: pytest.TempPathFactory) -> Package:
    made: dict[tuple[str, str], Path] = {}

    def of(name: str, variant: str) -> Path:
        if (name, variant) not in made:
            stage, path = STAGES[name], tmp_path_factory.mktemp("packages") / f"{name}.mlpackage"
            convert.convert(stage, stage.variant(variant), convert.traceable(stage, upstream), path, {})
            made[name, variant] = path
        return made[name, variant]

    return of


def exact(module: torch.nn.Module, values: list[Tensor]) -> np.ndarray:
    """The first output of a module in double precision."""
    wide = [value.double() if value.is_floating_point() else value for value in values]
    with torch.no_grad():
        found: Tensor = copy.deepcopy(module).double()(*wide)[0]
    return found.numpy()


def beyond(found: np.ndarray, value: np.ndarray, truth: np.ndarray) -> float:
    """How many times as far from the truth as the value the one that was found is."""
    return float(np.abs(found - truth).max() / np.abs(value - truth).max())


class TestPackages:
    @pytest.mark.parametrize(("name", "variant"), COMPARED)
    def test_a_package_gives_what_its_module_gives(self, upstream: Any, package: Package, name: str, variant: str):
        stage = STAGES[name]
        module, model = convert.traceable(stage, upstream), milrun.load(package(name, variant))
        for lengths in LENGTHS:
            if name == "preprocessor":
                random = torch.Generator().manual_seed(3)
                values = [torch.randn(1, 8160, generator=random) * 0.1, integer(8160 - 97 * lengths[1])]
            else:
                values = given(lengths)
            if name == "head":
                values = list(PreEncoder(upstream, SMALL)(*values))
            inputs = {key: value.detach().numpy() for key, value in zip(stage.inputs, values, strict=True)}
            wanted = convert.call(module, stage, inputs)
            dtypes = {key: tensor.dtype_in(stage.variant(variant)) for key, tensor in stage.inputs.items()}
            found = model.predict({key: value.astype(dtypes[key]) for key, value in inputs.items()})
            for key, value in wanted.items():
                if value.dtype == np.int32:
                    assert np.array_equal(found[key], value)
                else:
                    off = np.abs(found[key].astype(np.float32) - value).max()
                    # The logarithm of a quiet band makes more of rounding than that. Then double precision decides,
                    # and the package may not be much further from it than the module is.
                    assert off < (1e-2 if variant == "fp16" else LIMIT) or (
                        name == "preprocessor" and beyond(found[key], value, exact(module, values)) < 1.2
                    )

    @pytest.mark.parametrize(("name", "variant"), COMPARED)
    def test_no_output_is_an_input_under_another_name(self, package: Package, name: str, variant: str):
        function = program(package(name, variant))
        block = function.block_specializations[function.opset]
        made = {output.name: op for op in block.operations for output in op.outputs}
        assert set(block.outputs) == set(STAGES[name].outputs)
        assert all(made[output].type not in ("identity", "const") for output in block.outputs)

    @pytest.mark.parametrize(("name", "variant"), COMPARED)
    def test_a_length_never_becomes_a_float(self, package: Package, name: str, variant: str):
        function = program(package(name, variant))
        block = function.block_specializations[function.opset]
        types = {output.name: output.type.tensorType for op in block.operations for output in op.outputs}
        integers = {ct.proto.MIL_pb2.DataType.Value(kind) for kind in ("INT16", "INT32", "UINT16")}
        for op in block.operations:
            if op.type == "cast" and types[op.outputs[0].name].dataType not in integers:
                source = op.inputs["x"].arguments[0].name
                assert types[source].dataType == ct.proto.MIL_pb2.DataType.Value("BOOL"), f"{source} is cast"


def program(package: Path) -> Any:
    return ct.models.MLModel(str(package), skip_model_load=True).get_spec().mlProgram.functions["main"]


@pytest.fixture(scope="module")
def nemo() -> Any:
    return Source(TRAINED).nemo


@pytest.mark.skipif(importlib.util.find_spec("nemo") is None, reason="NeMo is not installed: nothing to compare with")
class TestNemo:
    def test_filters(self, nemo: Any):
        assert difference(mel_filters().T, nemo.preprocessor.featurizer.fb[0]) < 1e-7

    @pytest.mark.parametrize("level", [0.1, 0.5], ids=["quiet", "full scale"])
    def test_features(self, nemo: Any, level: float):
        """The recordings of the cases are quiet, and have a whole number of hops."""
        samples = HOP * BLOCK * 2 + 1234
        noise = torch.randn(1, samples, generator=torch.Generator().manual_seed(4))
        audio = (noise * level).clamp(-1, 1)
        wanted, frames = nemo.process_signal(audio_signal=audio, audio_signal_length=torch.tensor([samples]))
        size = HOP * (BLOCK + 3)
        padded = torch.cat([torch.zeros(1, BEFORE), audio, torch.zeros(1, size)], 1)
        blocks = []
        for start in range(0, samples, HOP * BLOCK):
            length = integer(min(BEFORE + samples - start, size))
            features, feature_lengths = Preprocessor(None)(padded[:, start : start + size], length)
            blocks.append(features[:, : int(feature_lengths)])
        # Of which torch's own STFT in single precision is responsible for the greater part.
        assert difference(torch.cat(blocks, 1), wanted[:, :, : int(frames)].transpose(1, 2)) < 5e-4

    @pytest.mark.parametrize("short", [False, True], ids=["masked", "cut"])
    @pytest.mark.parametrize(
        "streaming", [DEFAULT, NVIDIA_LOW, NVIDIA_HIGH, SMALL], ids=["default", "low", "high", "small"]
    )
    def test_predictions_and_embeddings(self, upstream: Any, nemo: Any, streaming: Streaming, short: bool):
        pipeline = Pipeline(upstream, streaming)
        chunk = 8 * (streaming.chunk_left_context + streaming.chunk_len + streaming.chunk_right_context)
        cache, queue = streaming.spkcache_len, streaming.fifo_len
        for lengths in ((chunk, cache, queue), (chunk, 0, 0), (chunk - 5, cache // 2, 3), (49, 0, queue), (1, 1, 0)):
            inputs = given(lengths, streaming)
            with torch.no_grad():
                predictions, embedded, rows = pipeline(*inputs)
                wide = [value.long() if value.dtype == torch.int32 else value for value in inputs]
                if short:
                    wide[0] = wide[0][:, : lengths[0]]
                wanted, wanted_embedded, wanted_rows = nemo.forward_for_export(*wide)
            assert rows.tolist() == wanted_rows.tolist()
            total = wanted.shape[1]
            assert difference(predictions[:, :total], wanted) < LIMIT
            assert (predictions[:, total:] == 0).all()
            assert difference(embedded[:, : int(rows)], wanted_embedded[:, : int(rows)]) < LIMIT
