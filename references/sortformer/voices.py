"""Voices: espeak-ng's own variants, split by family, and for training as many made-up ones again.

A made-up variant moves the formants, the pitch and the colour of the voice at random; a family is what would sound the
same in a meeting (iven, iven2, iven3), so that no two of one family meet and none of a held-out one trains.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

ACCENTS = ("en-gb", "en-us", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")

_TRAINING = (
    "adam Alex Andy Annie antonio aunty benjamin caleb david Denis Diogo ed edward edward2 gustave announcer Henrique "
    "Hugo iven iven2 iven3 iven4 john kaukovalta marcelo Marco Michael michel miguel Mike pedro RicishayMax "
    "RicishayMax2 RicishayMax3 rob robert robosoft robosoft2 robosoft3 robosoft4 robosoft5 robosoft6 robosoft7 "
    "robosoft8 Tweaky UniRobot zac anika anikaRobot AnxiousAndy f1 f3 f4 grandpa klatt klatt2 klatt3 klatt5 m1 m2 m4 "
    "m5 m6 m8 sandro shelby croak grandma"
).split()
_HELD_OUT = (
    "Alicia Andrea belinda boris f2 f5 Gene Gene2 Jacky klatt4 klatt6 Lee linda m3 m7 Mario max norbert pablo paul "
    "quincy steph steph2 steph3 Storm travis victor"
).split()
# Siblings by name that espeak-ng's authors made to differ.
_NO_FAMILY = ("f", "m", "klatt")


@dataclass(frozen=True)
class Voice:
    """One speaker: what espeak-ng is told, and how its sound is stretched afterwards (`size` moves all of pitch and
    formants, as a smaller or larger head does)."""

    name: str
    family: str
    accent: str
    variant: str
    pitch: int
    rate: int
    gap: int
    size: float
    definition: str = field(default="", repr=False)  # of a made-up variant; espeak-ng knows the others


def training(count: int, seed: int) -> list[Voice]:
    """So many speakers for training, half of them with made-up variants."""
    random = np.random.default_rng([seed, 1])
    return [_voice(index, random, _TRAINING, made_up=index % 2 == 1) for index in range(count)]


def held_out(count: int, seed: int) -> list[Voice]:
    """So many speakers of families that training has never heard."""
    random = np.random.default_rng([seed, 2])
    return [_voice(index, random, _HELD_OUT, made_up=False) for index in range(count)]


def _voice(index: int, random: np.random.Generator, variants: list[str], made_up: bool) -> Voice:
    # In turn, so that each is heard about as often.
    variant = (
        f"made{index:04d}" if made_up else variants[(index // 2 if variants is _TRAINING else index) % len(variants)]
    )
    return Voice(
        name=f"{variant}-{index}",
        family=variant if made_up else family(variant),
        accent=str(random.choice(ACCENTS)),
        variant=variant,
        pitch=int(random.integers(20, 81)),
        rate=int(random.integers(135, 206)),
        gap=int(random.choice((0, 0, 0, 1, 2, 4))),
        size=round(float(np.exp(random.uniform(-0.13, 0.13))), 3),
        definition=_made_up(variant, random) if made_up else "",
    )


def family(variant: str) -> str:
    stem = variant.rstrip("0123456789")
    return variant if stem in _NO_FAMILY else stem


def _made_up(name: str, random: np.random.Generator) -> str:
    low = round(float(np.exp(random.uniform(np.log(65), np.log(210)))))
    lines = [
        "language variant",
        f"name {name}",
        f"pitch {low} {round(low * random.uniform(1.25, 1.65))}",
        f"roughness {random.integers(0, 5)}",
        f"flutter {random.integers(0, 11)}",
        f"voicing {random.integers(70, 151)}",
        f"consonants {random.integers(70, 131)} {random.integers(70, 131)}",
        f"intonation {random.integers(1, 5)}",
    ]
    if random.random() < 0.25:
        lines.append(f"klatt {random.integers(1, 6)}")
    if random.random() < 0.3:
        lines.append("breath " + " ".join(str(random.integers(0, 61)) for _ in range(6)))
    length = random.uniform(0.9, 1.18)
    for formant in range(6):
        frequency = 100 * length * random.uniform(0.93, 1.07)
        lines.append(f"formant {formant} {frequency:.0f} {random.integers(65, 141)} {random.integers(80, 161)}")
    edges = sorted(int(edge) for edge in random.integers(400, 4500, 2))
    lines.append(f"tone {edges[0]} {random.integers(120, 256)} {edges[1] + 200} {random.integers(30, 200)}")
    return "\n".join(lines) + "\n"
