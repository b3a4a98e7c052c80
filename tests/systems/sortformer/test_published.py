"""Checkpoints of another size: NeMo's archives, read as foreign files, and the graphs that are cut from them."""

from __future__ import annotations

import importlib.util
import io
import tarfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from converters.sortformer import SYSTEMS
from converters.sortformer.frontend import PreEncoder
from converters.sortformer.head import Head
from parity.base.cache import Cache
from parity.base.libraries import threads
from parity.build import convert
from parity.build.artifacts import Built
from parity.declarations import Arrays, Hub, System
from parity.judge import package
from parity.plan.weights import WeightsError, choose, fitted
from parity.run.chain import Free
from references.sortformer import V2, V2_1
from references.sortformer.checkpoint import TRAINED, Source
from references.sortformer.config import PUBLISHED, SMALL, Sizes, Streaming, configuration
from references.sortformer.widening import widened, write

LARGER = Sizes(256, 9, 8, 256, 192, 6, 8)
WINDOW = Streaming(
    chunk_len=5, chunk_right_context=3, chunk_left_context=2, fifo_len=11, spkcache_update_period=5, spkcache_len=17
)
DEFAULT = SYSTEMS[0]


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained model in a size between its own and the published one."""
    path = tmp_path_factory.mktemp("published") / "larger.nemo"
    write(path, sizes=LARGER)
    return path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threads(1):
        yield


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as out:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    return path


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


class TestArchives:
    @pytest.mark.parametrize("prefix", ["", "./"])
    @pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
    def test_settings_and_weights_are_found_wherever_they_lie(self, tmp_path: Path, prefix: str, nested: bool):
        state = {"encoder.pre_encode.out.bias": torch.arange(3, dtype=torch.float16)}
        members = {
            f"{prefix}model_config.yaml": yaml.safe_dump(configuration(PUBLISHED)).encode(),
            f"{prefix}model_weights.ckpt": saved({"state_dict": state} if nested else state),
        }
        source = Source(pack(tmp_path / "some.nemo", members))
        assert source.sizes == PUBLISHED
        assert source.settings == configuration(PUBLISHED)
        assert source.state["encoder.pre_encode.out.bias"].tolist() == [0.0, 1.0, 2.0]
        assert source.state["encoder.pre_encode.out.bias"].dtype == torch.float32

    def test_settings_of_training_are_left_behind(self, tmp_path: Path):
        """What NeMo would look for data with, or run while it trains."""
        settings = configuration(PUBLISHED) | {
            "train_ds": {"manifest_filepath": "/data/train.json"},
            "spec_augment": {"_target_": "os.system"},
            "optim": {"name": "adamw"},
            "pil_weight": 0.25,
        }
        settings["loss"] = {"_target_": "os.abort"}
        source = Source(pack(tmp_path / "some.nemo", {"model_config.yaml": yaml.safe_dump(settings).encode()}))
        assert source.settings == configuration(PUBLISHED) | {"pil_weight": 0.25}

    @pytest.mark.parametrize(
        ("where", "value", "said"),
        [
            ("preprocessor.normalize", "per_feature", "preprocessor.normalize is 'per_feature', not 'NA'"),
            ("encoder.xscaling", False, "encoder.xscaling is False, not True"),
            ("sortformer_modules.pred_score_threshold", 0.3, "pred_score_threshold is 0.3, not 0.25"),
            ("encoder._target_", "os.system", "encoder._target_ is 'os.system'"),
            ("preprocessor.window", {"_target_": "os.system"}, "preprocessor.window._target_ is 'os.system'"),
            ("encoder.att_context_size", [{"_target_": "os.system"}], "att_context_size.0._target_ is 'os.system'"),
            ("encoder._partial_", True, "encoder._partial_ is True"),
            ("encoder.d_model", 1 << 40, "encoder.d_model is 1099511627776 where a size up to 2048 is expected"),
            ("encoder.n_layers", "${depth}", "encoder.n_layers is '\\$\\{depth\\}' where a size"),
            ("transformer_encoder", "none", "transformer_encoder.hidden_size is None where a size"),
        ],
    )
    def test_another_model_is_refused_by_what_differs(self, tmp_path: Path, where: str, value: Any, said: str):
        settings = deepcopy(configuration(PUBLISHED))
        *sections, key = where.split(".")
        part = settings
        for section in sections:
            part = part[section]
        part[key] = value
        source = Source(pack(tmp_path / "some.nemo", {"model_config.yaml": yaml.safe_dump(settings).encode()}))
        with pytest.raises(ValueError, match=said):
            _ = source.settings

    @pytest.mark.parametrize(
        ("members", "said"),
        [
            ({"model_config.yaml": b"a: ["}, "model_config.yaml is no YAML"),
            ({"model_config.yaml": b"- 1"}, "model_config.yaml holds no settings"),
            ({"model_config.yaml": b"!!python/object/apply:os.abort []"}, "model_config.yaml is no YAML"),
            ({"other.yaml": b""}, "holds 0 files model_config.yaml where one is expected"),
            ({"model_config.yaml": b"{}", "a/model_config.yaml": b"{}"}, "holds 2 files model_config.yaml"),
            ({"model_config.yaml": b" " * ((1 << 20) + 1)}, "is of 1048577 bytes, more than any Sortformer's"),
        ],
    )
    def test_a_damaged_archive_is_an_error(self, tmp_path: Path, members: dict[str, bytes], said: str):
        with pytest.raises(ValueError, match=said):
            _ = Source(pack(tmp_path / "some.nemo", members)).settings

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (saved({"a": print}), "can't be read as tensors alone"),
            (saved([1, 2]), "holds other things than tensors by name"),
            (saved({"a": 1}), "holds other things than tensors by name"),
            (b"nothing of torch's", "can't be read as tensors alone"),
        ],
    )
    def test_weights_are_tensors_and_run_nothing(self, tmp_path: Path, content: bytes, said: str):
        with pytest.raises(ValueError, match=said):
            _ = Source(pack(tmp_path / "some.nemo", {"model_weights.ckpt": content})).state

    def test_what_is_no_checkpoint_at_all_is_named(self, tmp_path: Path):
        path = tmp_path / "notes.txt"
        path.write_text("neither")
        with pytest.raises(ValueError, match=r"notes\.txt is neither a \.nemo nor a file of safetensors"):
            _ = Source(path).state


class TestWidened:
    def test_it_has_every_tensor_of_the_published_one(self):
        """As those who looked into the published archives count them: 990 tensors of 117,744,681 elements, with the
        window and the filters, which the settings give."""
        state = widened(Source(TRAINED).state, SMALL, PUBLISHED)
        assert len(state) + 2 == 990
        assert sum(value.numel() for value in state.values()) + 400 + 128 * 257 == 117_744_681
        assert state["encoder.pre_encode.out.weight"].shape == (512, 4096)

    def test_its_graphs_compute_what_those_of_the_trained_one_do(self, larger: Path):
        small, large = Source(TRAINED), Source(larger)
        assert large.sizes == LARGER
        chunk = 3 * torch.randn(1, 80, 128, generator=torch.Generator().manual_seed(0)) - 6
        lengths = [torch.tensor([count], dtype=torch.int32) for count in (75, 9, 4)]
        found = []
        for source in (small, large):
            width = source.sizes.width
            embedded = PreEncoder(source, WINDOW)(
                chunk, lengths[0], torch.zeros(1, 17, width), lengths[1], torch.zeros(1, 11, width), lengths[2]
            )
            found.append((embedded[0], Head(source, WINDOW.frames)(*embedded)[0]))
        (small_rows, wanted), (large_rows, predictions) = found
        assert torch.allclose(predictions, wanted, atol=1e-5)
        assert wanted.max() > 0.1
        assert (large_rows.std() * 2**0.5).isclose(small_rows.std(), rtol=1e-4)

    def test_sizes_that_are_no_multiples_are_refused(self):
        with pytest.raises(ValueError, match="192 features can't be 128 in copies"):
            widened(Source(TRAINED).state, SMALL, replace(SMALL, width=192))


def heard(system: System, source: Source, audio: np.ndarray) -> Arrays:
    """What the host decides where its graphs run in PyTorch."""
    modules = {stage.name: convert.traceable(stage, source) for stage in system.stages if not stage.aside}
    run = Free(system, {}, lambda name, given: convert.call(modules[name], system.stage(name), given))
    for _ in system.chain.diarized(run, [audio]):
        pass
    return run.own


class TestSystems:
    def test_a_checkpoint_gives_its_size_to_graphs_and_host(self, larger: Path, tmp_path: Path):
        weights = choose(DEFAULT.reference, str(larger), Cache(tmp_path))
        system = fitted(DEFAULT, weights)
        assert system.name == DEFAULT.name
        assert system.stage("pipeline").inputs["spkcache"].shape == (1, 188, 256)
        assert DEFAULT.stage("pipeline").inputs["spkcache"].shape == (1, 188, 128)
        assert fitted(DEFAULT, choose(DEFAULT.reference, "seeded", Cache(tmp_path))).stages == DEFAULT.stages

    def test_who_speaks_does_not_depend_on_the_size(self, larger: Path, tmp_path: Path):
        system = fitted(DEFAULT, choose(DEFAULT.reference, str(larger), Cache(tmp_path)))
        audio = DEFAULT.reference.case("pair").inputs["audio"][: 12 * 16_000]
        wanted, found = heard(DEFAULT, Source(TRAINED), audio), heard(system, Source(larger), audio)
        assert np.abs(found["activity"] - wanted["activity"]).max() < 1e-3
        assert np.array_equal(found["speaking"], wanted["speaking"])
        assert np.array_equal(found["kept"], wanted["kept"])
        assert wanted["speaking"].any(0).sum() == 2

    def test_its_packages_are_what_the_system_declares_in_this_size(self, larger: Path, tmp_path: Path):
        cache = Cache(tmp_path)
        weights = choose(DEFAULT.reference, str(larger), cache)
        system = fitted(DEFAULT, weights)
        built = Built(system, weights, cache)
        stage = system.stage("pre_encoder")
        found = list(package.findings(built.get(stage, stage.variants[0]).package, stage, stage.variants[0], []))
        assert all(finding.passed for finding in found)
        declared = DEFAULT.stage("pre_encoder")
        found = list(package.findings(built.get(stage, stage.variants[0]).package, declared, stage.variants[0], []))
        assert any("spkcache" in finding.message for finding in found if not finding.passed)


class TestHub:
    @pytest.fixture
    def fetch(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], list[tuple[Any, ...]]]:
        import huggingface_hub

        def fetch(path: Path) -> list[tuple[Any, ...]]:
            asked: list[tuple[Any, ...]] = []

            def download(repository: str, filename: str, *, revision: str) -> str:
                asked.append((repository, filename, revision))
                return str(path)

            monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
            return asked

        return fetch

    @pytest.mark.parametrize(("reference", "version"), [(V2, "v2"), (V2_1, "v2.1")])
    def test_a_file_that_is_not_the_published_one_is_refused(
        self, larger: Path, tmp_path: Path, fetch: Any, reference: Any, version: str
    ):
        asked = fetch(larger)
        with pytest.raises(WeightsError, match=f"4spk-{version}.nemo is pinned to [0-9a-f]{{64}}"):
            choose(reference, "hub", Cache(tmp_path)).checkpoint()
        name = f"diar_streaming_sortformer_4spk-{version}"
        assert asked == [(f"nvidia/{name}", f"{name}.nemo", reference.checkpoint.revision)]

    def test_each_version_has_a_room_of_its_own(self, tmp_path: Path):
        rooms = [choose(reference, "hub", Cache(tmp_path)).folder for reference in (V2, V2_1)]
        assert rooms == [
            "weights-hub-diar_streaming_sortformer_4spk-v2",
            "weights-hub-diar_streaming_sortformer_4spk-v2-1",
        ]

    def test_the_published_file_decides_the_sizes(self, larger: Path, tmp_path: Path, fetch: Any):
        import hashlib

        fetch(larger)
        hub = Hub("nvidia/some", "some.nemo", "0" * 40, hashlib.sha256(larger.read_bytes()).hexdigest())
        system = replace(DEFAULT, reference=replace(V2, checkpoint=hub))
        found = fitted(system, choose(system.reference, "hub", Cache(tmp_path)))
        assert found.stage("head").outputs["chunk_pre_encoder_embs_out"].shape == (1, 14, 256)
        assert found.reference.checkpoint == hub


@pytest.mark.skipif(importlib.util.find_spec("nemo") is None, reason="NeMo is not installed: nothing to compare with")
class TestNemo:
    def test_an_archive_of_its_own_is_read_as_it_was_saved(self, tmp_path: Path):
        model = Source(TRAINED).nemo
        model.save_to(str(tmp_path / "small.nemo"))
        source = Source(tmp_path / "small.nemo")
        assert source.sizes == SMALL
        kept = model.state_dict()
        assert source.state.keys() == kept.keys()
        assert all(torch.equal(value, kept[name]) for name, value in source.state.items())

    def test_what_settings_leave_out_is_what_the_port_has(self):
        """The published settings name fewer things than ours: what they leave out has to be upstream's default."""
        from references.sortformer import upstream

        settings = deepcopy(configuration())
        for section, names in {
            "sortformer_modules": (
                "pred_score_threshold",
                "scores_boost_latest",
                "sil_threshold",
                "strong_boost_rate",
                "weak_boost_rate",
                "min_pos_scores_rate",
                "scores_add_rnd",
                "max_index",
                "spkcache_sil_frames_per_spk",
            ),
            "encoder": ("causal_downsampling", "att_context_style", "untie_biases", "conv_context_size", "xscaling"),
            "transformer_encoder": ("pre_ln", "hidden_act"),
            "preprocessor": ("n_fft", "window", "frame_splicing"),
        }.items():
            for name in names:
                del settings[section][name]
        source = Source(TRAINED)
        ours, theirs = source.nemo, upstream.build(settings, source.state)
        known = vars(ours.sortformer_modules).items()
        numbers = {name: value for name, value in known if isinstance(value, int | float)}
        assert {name: getattr(theirs.sortformer_modules, name) for name in numbers} == numbers
        audio = torch.from_numpy(V2.case("pair").inputs["audio"])[None, : 8 * 16_000]
        length = torch.tensor([audio.shape[1]])
        with torch.no_grad():
            assert torch.equal(ours(audio, length), theirs(audio, length))

    def test_a_model_of_another_size_hears_the_same(self, larger: Path):
        from references.sortformer.config import DEFAULT as STREAMING
        from references.sortformer.record import streamed

        audio = V2.case("pair").inputs["audio"][: 8 * 16_000]
        (_, wanted), (_, found) = (streamed(Source(path).nemo, STREAMING, audio) for path in (TRAINED, larger))
        assert np.abs(found - wanted).max() < 1e-3
