"""Meetings out of a bank: who takes a turn when, over whom, in which room, under which noise; and who spoke when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from references.sortformer import rooms
from references.sortformer.bank import Bank
from references.sortformer.config import SPEAKERS
from references.sortformer.labels import Mask
from references.sortformer.rooms import Floats
from references.sortformer.speaking import RATE, TICK, activity

_SPEAKERS = (0.1, 0.3, 0.3, 0.3)  # how often one, two, three and four take part


@dataclass(frozen=True)
class Meeting:
    """Samples at 16 kHz within ±1, and for each tick of 10 ms who is speaking, in the order in which they first do."""

    samples: Floats
    active: Mask


@dataclass(frozen=True)
class Turn:
    """One utterance of one participant; it may begin before the meeting does, or end after it."""

    participant: int
    begin: int  # in ticks
    samples: Floats

    @property
    def end(self) -> int:
        return self.begin + len(self.samples) // TICK


def meeting(bank: Bank, seed: list[int], seconds: float, count: int | None = None, stretch: float = 0.0) -> Meeting:
    """The meeting with this seed: the same bits from the same bank. `count` speakers take part, else one to four;
    `stretch` moves pitch and speed of each by up to this much, which makes new speakers of those in the bank."""
    random = np.random.default_rng(seed)
    ticks = round(seconds * RATE / TICK)
    count = count or int(random.choice(SPEAKERS, p=_SPEAKERS)) + 1
    turns = _turns(bank, _participants(bank, count, random), ticks, stretch, random)
    active = np.zeros((ticks, SPEAKERS), np.bool_)
    for turn in turns:
        spoken = activity(turn.samples)
        within = slice(max(0, turn.begin), min(ticks, turn.end))
        active[within, turn.participant] |= spoken[within.start - turn.begin : within.stop - turn.begin]
    samples = _heard(turns, count, ticks * TICK, random)
    _add_noise(samples, bank, random)
    # From a far microphone that nobody adjusted to one that almost clips.
    peak = np.exp(random.uniform(np.log(0.05), np.log(0.95)))
    samples *= np.float32(peak / (np.abs(samples).max() + 1e-9))
    return Meeting(samples, _by_arrival(active))


def _participants(bank: Bank, count: int, random: np.random.Generator) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < count:
        speaker = int(random.integers(len(bank.speakers)))
        if bank.families[speaker] not in [bank.families[other] for other in chosen]:
            chosen.append(speaker)
    return chosen


def _turns(bank: Bank, participants: list[int], ticks: int, stretch: float, random: np.random.Generator) -> list[Turn]:
    factors = np.exp(random.uniform(-1, 1, len(participants)) * stretch)
    gains = 10 ** (np.clip(random.normal(0, 3, len(participants)), -7, 7) / 20)
    talkative = random.dirichlet(np.full(len(participants), 3.0))
    lively = random.uniform(0, 0.45)  # how often one begins before the other is done
    pause = random.uniform(20, 90)
    free = [-1_000] * len(participants)
    # Some recordings begin in the middle of a turn.
    now = -int(random.integers(0, 400)) if random.random() < 0.3 else int(random.integers(0, 150))
    who, last = -1, now
    turns: list[Turn] = []
    while now < ticks:
        if len(participants) == 1 or (random.random() < 0.25 and who >= 0):
            who = max(who, 0)
        else:
            odds = np.where(np.arange(len(participants)) == who, 0, talkative)
            who = int(random.choice(len(participants), p=odds / odds.sum()))
        begin = now + int(random.exponential(pause)) + (int(random.integers(100, 500)) if random.random() < 0.06 else 0)
        if random.random() < lively:
            begin = now - int(random.uniform(0.1, 0.8) * (now - last))
        begin = max(begin, free[who] + 10)
        turn = Turn(who, begin, _said(bank, participants[who], float(factors[who]), float(gains[who]), random))
        if turn.end > 0 and begin < ticks:
            turns.append(turn)
        free[who] = turn.end
        if turn.end > now:
            now, last = turn.end, begin
    return turns


def _said(bank: Bank, speaker: int, factor: float, gain: float, random: np.random.Generator) -> Floats:
    samples = bank.utterance(int(random.choice(bank.of_speaker(speaker)))).astype(np.float32) * np.float32(gain / 32768)
    if factor != 1:
        places = np.arange(0, len(samples) - 1, factor)
        samples = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
    return samples[: len(samples) // TICK * TICK]


def _heard(turns: list[Turn], count: int, length: int, random: np.random.Generator) -> Floats:
    reverberation = 0.0 if random.random() < 0.2 else random.uniform(0.1, 0.6)
    paths = [rooms.path(random, reverberation) for _ in range(count)]
    samples = np.zeros(length, np.float32)
    for turn in turns:
        arriving = fftconvolve(turn.samples, paths[turn.participant])
        begin = turn.begin * TICK
        within = slice(max(0, begin), min(length, begin + len(arriving)))
        if within.start < within.stop:
            samples[within] += arriving[within.start - begin : within.stop - begin]
    return samples


def _add_noise(samples: Floats, bank: Bank, random: np.random.Generator) -> None:
    decibels = random.uniform(8, 40)  # speech over noise
    kind = rooms.NOISES[int(random.integers(len(rooms.NOISES)))]
    noise = _babble(bank, len(samples), random) if kind == "babble" else rooms.noise(kind, len(samples), random)
    speech = float(np.sqrt(np.mean(samples**2))) or 0.05
    # One clear voice in the distance would be somebody whom no label names.
    decibels = max(decibels, 15) if kind == "babble" else decibels
    samples += noise * np.float32(speech * 10 ** (-decibels / 20) / (np.sqrt(np.mean(noise**2)) + 1e-9))


def _babble(bank: Bank, length: int, random: np.random.Generator) -> Floats:
    noise = np.zeros(length, np.float32)
    for _ in range(8):
        at = 0
        while at < length:
            said = bank.utterance(int(random.integers(len(bank.ends))))[: length - at]
            noise[at : at + len(said)] += said
            at += len(said)
    return noise / np.float32(32768)


def _by_arrival(active: NDArray[np.bool_]) -> Mask:
    first = np.where(active.any(axis=0), active.argmax(axis=0), len(active))
    ordered: Mask = active[:, np.argsort(first, kind="stable")]
    return ordered
