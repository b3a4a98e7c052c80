"""Utterances of many speakers on disk, made once, from which meetings are mixed."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from references.sortformer import speaking, texts, voices
from references.sortformer.speaking import TICK
from references.sortformer.voices import Voice


@dataclass(frozen=True)
class Contents:
    """Contents of a bank. With the version of espeak-ng, they determine every sample."""

    split: str  # training or held_out
    speakers: int
    utterances: int  # of each speaker
    seed: int


@dataclass
class Bank:
    """Utterances by number; `of_speaker` lists the numbers of each speaker."""

    samples: NDArray[np.int16]
    ends: NDArray[np.int64]
    speakers: list[Voice]
    utterances: int

    def utterance(self, number: int) -> NDArray[np.int16]:
        return self.samples[self.ends[number - 1] if number else 0 : self.ends[number]]

    def of_speaker(self, speaker: int) -> range:
        return range(speaker * self.utterances, (speaker + 1) * self.utterances)

    @cached_property
    def families(self) -> list[str]:
        return [voice.family for voice in self.speakers]

    @property
    def seconds(self) -> float:
        return float(self.ends[-1]) / speaking.RATE

    def digest(self) -> str:
        return hashlib.sha256(self.samples.data).hexdigest()


def speakers(contents: Contents) -> list[Voice]:
    made = {"training": voices.training, "held_out": voices.held_out}[contents.split]
    return made(contents.speakers, contents.seed)


def open_bank(contents: Contents, directory: Path, processes: int = 1) -> Bank:
    """The bank in this directory, made if it isn't there. Two that make it at once make the same."""
    key = hashlib.sha256(json.dumps([asdict(contents), speaking.version(), _code()]).encode()).hexdigest()[:16]
    place = directory / f"bank-{contents.split}-{key}"
    if not place.exists():
        directory.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".bank-", dir=directory))
        try:
            _make(contents, made, processes)
            made.rename(place)
        except OSError:
            if not place.exists():
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return Bank(
        np.load(place / "samples.npy", mmap_mode="r"),
        np.load(place / "ends.npy"),
        speakers(contents),
        contents.utterances,
    )


def _code() -> str:
    digest = hashlib.sha256()
    for module in (speaking, texts, voices):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


def _make(contents: Contents, place: Path, processes: int) -> None:
    everyone = speakers(contents)
    work = [(contents, number, voice) for number, voice in enumerate(everyone)]
    if processes == 1:
        spoken = [_speaker(*job) for job in work]
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            spoken = pool.starmap(_speaker, work, chunksize=4)
    every = [utterance for one in spoken for utterance in one]
    _save(place / "samples.npy", np.concatenate(every))
    _save(place / "ends.npy", np.cumsum([len(utterance) for utterance in every], dtype=np.int64))


def _speaker(contents: Contents, number: int, voice: Voice) -> list[NDArray[np.int16]]:
    random = np.random.default_rng([contents.seed, 3, number])
    sentences = texts.TRAINING if contents.split == "training" else texts.HELD_OUT
    said = []
    with tempfile.TemporaryDirectory() as data:
        speaking.prepared(voice, Path(data))
        for _ in range(contents.utterances):
            utterance = speaking.spoken(voice, texts.passage(sentences, random), Path(data))
            said.append(utterance[: len(utterance) // TICK * TICK])
    return said


def _save(path: Path, array: NDArray[np.generic]) -> None:
    with path.open("wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())
