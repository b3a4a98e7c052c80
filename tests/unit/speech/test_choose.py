"""Plug-ins are found by name, and those of the hub do what they should with what the hub gives; the hub is faked."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from parity.plan import weights
from parity.speech import choose, ecapa, numbers, whisper
from parity.speech.ecapa import Ecapa
from parity.speech.recognizer import hear
from parity.speech.sound import Samples, SpeechError, sound
from parity.speech.sphinx import Sphinx
from parity.speech.whisper import Whisper

TONE = np.sin(np.arange(24_000, dtype=np.float32) / 10)
DRAWN = [2633650, -5630258, 2885383]


class Mute:
    name, about = "mute", "a plug-in of a test that gives no text"

    def transcribe(self, audio: Samples, rate: int) -> Any:
        return None


def nameless() -> object:
    return object()


def test_the_default_follows_the_weights() -> None:
    assert isinstance(choose.recognizer("auto", "seeded"), Sphinx)
    assert isinstance(choose.recognizer("auto", "hub"), Whisper)
    assert choose.encoder("auto", "seeded").name == "ecapa-seeded"
    assert choose.encoder("auto", "a.pth").name == "ecapa-seeded"
    assert choose.encoder("auto", "hub").name == "ecapa-voxceleb"
    assert choose.encoder("hub", "seeded").name == "ecapa-voxceleb"


def test_a_plugin_of_ones_own_is_named_by_its_module() -> None:
    found = choose.recognizer(f"{__name__}:Mute", "seeded")
    assert found.name == "mute"
    with pytest.raises(SpeechError, match="mute gave NoneType for the recording"):
        hear(found, sound(TONE, 24_000))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("wisper", "did you mean whisper"),
        ("nothing", "there are pocketsphinx, whisper, or module:function"),
        ("no.such.module:Mute", "No module named"),
        (f"{__name__}:Deaf", "no attribute 'Deaf'"),
        (f"{__name__}:nameless", "without name, about, transcribe"),
    ],
)
def test_what_is_no_plugin_is_refused(option: str, said: str) -> None:
    with pytest.raises(SpeechError, match=f"--recognizer {option}.*{said}"):
        choose.recognizer(option, "seeded")


class FakeProcessor:
    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def __call__(self, audio: Samples, **options: Any) -> SimpleNamespace:
        self.given = {"audio": audio, **options}
        return SimpleNamespace(input_features=torch.ones(1, 80, 3000), attention_mask=torch.ones(1, 3000))

    def batch_decode(self, tokens: torch.Tensor, skip_special_tokens: bool) -> list[str]:
        assert skip_special_tokens
        return [f" heard {tokens.tolist()} "]


class FakeModel:
    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def generate(self, features: torch.Tensor, **options: Any) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        self.given = {"features": features.shape, **options}
        return torch.tensor([[7]])


@pytest.mark.parametrize("seconds", [1, 31])
def test_whisper_hears_all_of_it_and_guesses_nothing(seconds: int) -> None:
    processor, model = FakeProcessor(), FakeModel()
    loads: list[None] = []

    def load() -> tuple[FakeProcessor, FakeModel]:
        loads.append(None)
        return processor, model

    recognizer = Whisper(load)
    assert not loads
    audio = np.tile(TONE, seconds)
    assert recognizer.transcribe(audio, 24_000) == recognizer.transcribe(audio, 24_000) == "heard [[7]]"
    assert len(loads) == 1
    assert len(processor.given["audio"]) == 16_000 * seconds
    assert processor.given["sampling_rate"] == 16_000
    assert model.given["do_sample"] is False
    assert model.given["attention_mask"] is not None
    long = seconds > 30
    assert model.given["return_timestamps"] is long
    assert processor.given.get("truncation", True) is not long


def test_whisper_is_loaded_pinned_and_proven_without_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    asked: list[Any] = []

    def from_pretrained(repository: str, **options: Any) -> Any:
        asked.append((repository, options))
        return SimpleNamespace(eval=lambda: "the model")

    monkeypatch.setattr(whisper, "fetched", asked.append)
    monkeypatch.setattr(transformers.WhisperProcessor, "from_pretrained", from_pretrained)
    monkeypatch.setattr(transformers.WhisperForConditionalGeneration, "from_pretrained", from_pretrained)
    assert whisper.load()[1] == "the model"
    pinned = {"revision": whisper.PUBLISHED.revision}
    assert asked == [
        whisper.PUBLISHED,
        ("openai/whisper-base.en", pinned),
        ("openai/whisper-base.en", {**pinned, "use_safetensors": True}),
    ]


def test_without_the_hub_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    def from_pretrained(repository: str, **options: Any) -> Any:
        raise OSError("no network")

    monkeypatch.setattr(whisper, "fetched", lambda hub: None)
    monkeypatch.setattr(transformers.WhisperProcessor, "from_pretrained", from_pretrained)
    with pytest.raises(weights.WeightsError, match=r"no network.*say --recognizer pocketsphinx"):
        whisper.load()


def test_published_weights_go_into_the_network_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = ecapa.seeded()._parts[2]
    state = {name: value + 1 for name, value in network.state_dict().items()}
    torch.save(state, tmp_path / "embedding_model.ckpt")
    monkeypatch.setattr(ecapa, "fetched", lambda hub: tmp_path / hub.filename)
    loaded = ecapa.published()._parts[2].state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
    assert not ecapa.published()._parts[2].training


def test_weights_of_another_network_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"fc.weight": torch.ones(2)}, tmp_path / "embedding_model.ckpt")
    monkeypatch.setattr(ecapa, "fetched", lambda hub: tmp_path / hub.filename)
    with pytest.raises(SpeechError, match="does not fit speechbrain's ECAPA_TDNN"):
        ecapa.published().embed(TONE, 24_000)


def test_speechbrain_leaves_no_traps_for_what_walks_the_modules() -> None:
    ecapa.seeded().embed(TONE, 24_000)
    before = set(sys.modules)
    for module in list(sys.modules.values()):
        getattr(module, "__file__", None)
    assert not {name for name in set(sys.modules) - before if name.startswith("speechbrain")}


def test_seeded_weights_are_the_same_everywhere_and_balanced() -> None:
    values = numbers.balanced("a", 4, 3, 5)
    assert values.tolist() == numbers.balanced("a", 4, 3, 5).tolist()
    assert np.abs(values.astype(np.float64).reshape(4, -1).sum(axis=1)).max() < 15 * numbers.UNIT
    assert numbers.integers("a", 3).tolist() == DRAWN
    assert not np.array_equal(numbers.uniform("a", 8), numbers.uniform("b", 8))


def test_an_embedding_does_not_depend_on_the_rate() -> None:
    found = [
        ecapa.seeded().embed(np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32), rate)
        for rate in (16_000, 48_000)
    ]
    cosine = found[0] @ found[1] / np.linalg.norm(found[0]) / np.linalg.norm(found[1])
    assert isinstance(ecapa.seeded(), Ecapa)
    assert cosine > 0.9
