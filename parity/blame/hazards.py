"""Known hazards, kept as data: what of a failure they are recognized by, and the mend."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from parity.base import toml
from parity.base.toml import Place, Table, Text

FILE = Path(__file__).with_name("hazards.toml")
Words = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class HazardError(ValueError):
    """The table of hazards is not what its schema says."""


@dataclass(frozen=True)
class Symptoms:
    """The symptoms of a failure, in the words of the table."""

    fault: str
    looks_like: Sequence[str]
    nodes: Collection[str] = ()
    op: str = ""
    spelled: Collection[str] = ()
    behind: Collection[str] = ()
    traits: Collection[str] = ()


class Hazard(Table):
    """One entry of the table: what it is met with, and the mend."""

    name: Text
    mend: Text
    fault: Text = ""
    looks_like: Text = ""
    node: Words = ()
    op: Words = ()
    spelled: Words = ()
    behind: Words = ()
    traits: Words = ()

    @model_validator(mode="after")
    def _recognized(self) -> Hazard:
        if not any((self.looks_like, self.node, self.op, self.spelled, self.behind, self.traits)):
            raise ValueError("is recognized by nothing: list what it is met with")
        return self

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


def known(symptoms: Symptoms) -> list[str]:
    """Return a sentence for each known hazard that the symptoms are of."""
    return [
        f"known hazard {number} ({hazard.name}), mend: {hazard.mend}"
        for number, hazard in read(FILE.read_text()).items()
        if hazard.met(symptoms)
    ]


@cache
def read(text: str) -> Mapping[str, Hazard]:
    """Return the hazards of the table's text, by their numbers."""
    place = Place(FILE.name, HazardError)
    found: dict[str, Hazard] = toml.checked(dict[str, Hazard], toml.parse(text, place), place)
    return found
