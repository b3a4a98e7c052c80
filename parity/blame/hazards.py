"""Known hazards, kept as data: what of a failure they are recognized by, and the mend."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from parity.base.toml import Place

FILE = Path(__file__).with_name("hazards.toml")
OPTIONAL = ("fault", "looks_like")
TEXTS = ("name", "mend", *OPTIONAL)
LISTS = ("node", "op", "spelled", "behind", "traits")


class HazardError(ValueError):
    """The table of hazards is not what its schema says."""


@dataclass(frozen=True)
class Symptoms:
    """What is known of a failure, in the words of the table."""

    fault: str
    looks_like: Sequence[str]
    nodes: Collection[str] = ()
    op: str = ""
    spelled: Collection[str] = ()
    behind: Collection[str] = ()
    traits: Collection[str] = ()


@dataclass(frozen=True)
class Hazard:
    number: str
    name: str
    mend: str
    fault: str = ""
    looks_like: str = ""
    node: tuple[str, ...] = ()
    op: tuple[str, ...] = ()
    spelled: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()

    def met(self, symptoms: Symptoms) -> bool:
        return (
            (not self.fault or self.fault == symptoms.fault)
            and (not self.looks_like or any(re.search(self.looks_like, look) for look in symptoms.looks_like))
            and (not self.node or not set(self.node).isdisjoint(symptoms.nodes))
            and (not self.op or symptoms.op in self.op)
            and (not self.spelled or not set(self.spelled).isdisjoint(symptoms.spelled))
            and set(self.behind) <= set(symptoms.behind)
            and set(self.traits) <= set(symptoms.traits)
        )

    def __str__(self) -> str:
        return f"known hazard {self.number} ({self.name}), mend: {self.mend}"


def known(symptoms: Symptoms) -> list[str]:
    """A sentence for each known hazard that the symptoms are of."""
    return [str(hazard) for hazard in read(FILE.read_text()) if hazard.met(symptoms)]


@cache
def read(text: str) -> tuple[Hazard, ...]:
    place = Place(FILE.name, HazardError)
    found = []
    for number, entry in tomllib.loads(text).items():
        here = place.at(number)
        table = here.table(entry)
        here.known(table, (*TEXTS, *LISTS))
        told: dict[str, Any] = {key: here.text(table, key, "" if key in OPTIONAL else None) for key in TEXTS}
        told |= {key: _words(here, key, table[key]) for key in LISTS if key in table}
        if not any(told.get(key) for key in ("looks_like", *LISTS)):
            raise here.wrong("is recognized by nothing: list what it is met with")
        found.append(Hazard(number, **told))
    return tuple(found)


def _words(place: Place, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
        raise place.wrong(f"{key} is {value!r} where a list of words is expected")
    return tuple(value)
