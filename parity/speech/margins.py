"""The speech metrics, and how much worse than the floor a candidate may be: by default, and as a system states it.

`golden/<system>/speech.toml` has a table for each set of variants under each kind of weights, `[seeded.ships]`, and in
it a line for each metric. A variant of low precision costs more than rounding does, and states how much.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from parity.base import toml
from parity.base.toml import Place, Table, Text, one_of
from parity.speech.sound import SpeechError

NAME = "speech.toml"
Better = Literal["higher", "lower"]
Named = Literal["words", "voice", "recording", "naturalness"]
WEIGHTS = ("trained", "seeded", "hub", "path")


@dataclass(frozen=True)
class Metric:
    """A score that moves by `margin` more than on its own before it fails; `nothing` is that of a take that has nothing
    to do with the text."""

    name: str
    better: Better
    nothing: float
    margin: float

    def worse(self, reference: float, other: float) -> float:
        return other - reference if self.better == "lower" else reference - other


METRICS: Mapping[Named, Metric] = {
    # Five words of a hundred: a recognizer's coin tosses beyond the floor stay within.
    "words": Metric("word error rate", "lower", 1.0, margin=0.05),
    # Of a cosine. Noise 30 dB under the speech costs a tenth of that, 20 dB three times as much.
    "voice": Metric("speaker similarity", "higher", 0.0, margin=0.02),
    # Of a cosine. 16-bit samples cost a hundredth of that, noise 40 dB under the speech more than all of it.
    "recording": Metric("recording similarity", "higher", 0.0, margin=0.02),
    # A mark from 1, of what is not speech at all, to 5. Noise 40 dB under the speech costs half of that, 30 dB nearly
    # twice as much.
    "naturalness": Metric("naturalness", "higher", 1.0, margin=0.1),
}


class Margin(Table):
    margin: Annotated[float, Field(ge=0, lt=1)]
    derived_from: Text
    reason: Text


def load(path: Path, sets: Collection[str]) -> dict[str, dict[str, dict[Named, Margin]]]:
    """Return the margins of a file by weights, set of variants and metric; nothing where there is no file."""
    found: dict[str, dict[str, dict[Named, Margin]]] = {}
    if path.exists():
        place = Place(str(path), SpeechError)
        named = (one_of(*names, word="name") for names in (WEIGHTS, sets, get_args(Named)))
        by_weights, by_set, by_metric = (Annotated[str, AfterValidator(check)] for check in named)
        kind = dict[by_weights, dict[by_set, dict[by_metric, Margin]]]  # type: ignore[valid-type]
        found = toml.checked(kind, toml.parse(toml.read(path, SpeechError), place), place)
    return found
