"""How much worse than the floor a candidate may be: a default for each metric, and what a system states of its own.

`golden/<system>/speech.toml` has a table for each set of variants under each kind of weights, `[seeded.ships]`, and in
it a line for each metric. What ships at low precision pays a price that rounding doesn't, and says which.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from parity.speech.sound import SpeechError

NAME = "speech.toml"
Named = Literal["words", "voice"]
WEIGHTS = ("seeded", "hub", "path")
KEYS = ("margin", "derived_from", "reason")


@dataclass(frozen=True)
class Margin:
    value: float
    reason: str = ""


DEFAULTS: Mapping[str, Margin] = {
    # Five words of a hundred: a recognizer's coin tosses beyond the floor stay within.
    "words": Margin(0.05),
    # Of a cosine. 16-bit samples cost a hundredth of that, noise 20 dB under the speech several times as much.
    "voice": Margin(0.02),
}


def load(path: Path, sets: Collection[str]) -> dict[tuple[str, str, str], Margin]:
    """By weights, set of variants and metric; nothing where there is no file."""
    if not path.exists():
        return {}
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpeechError(f"{path} can't be read: {error}") from error
    found = {}
    for weights, tables in _tables(data, path, "", WEIGHTS):
        for chosen, metrics in _tables(tables, path, f"{weights}.", sets):
            where = f"{weights}.{chosen}."
            for metric, given in _tables(metrics, path, where, get_args(Named)):
                found[weights, chosen, metric] = _margin(given, f"{path}, {where}{metric}")
    return found


def _tables(data: Any, path: Path, where: str, known: Collection[str]) -> list[tuple[str, Any]]:
    for name, value in data.items():
        if name not in known:
            raise SpeechError(f"{path}, {where}{name}: nothing is called so; there are {', '.join(sorted(known))}")
        if not isinstance(value, dict):
            raise SpeechError(f"{path}, {where}{name} is {value!r} where a table is expected")
    return list(data.items())


def _margin(given: Mapping[str, Any], where: str) -> Margin:
    if set(given) != set(KEYS):
        raise SpeechError(f"{where} has {', '.join(given) or 'nothing'}; a margin has {', '.join(KEYS)}")
    value, reason = given["margin"], given["reason"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise SpeechError(f"{where} has the margin {value!r}: it is a number from 0 to less than 1")
    if not all(isinstance(given[key], str) and given[key].strip() for key in KEYS[1:]):
        raise SpeechError(f"{where}: a margin says what it was derived from, and its reason")
    return Margin(float(value), reason)
