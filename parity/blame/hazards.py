"""Known hazards, kept as data: what of a failure they are recognized by, and the mend."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from parity.base import toml
from parity.base.toml import Place, Table, Text
from parity.blame.package.runs import Divergence

FILE = Path(__file__).with_name("hazards.toml")
NOTHING = Divergence(value="")
Words = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class HazardError(ValueError):
    """The table of hazards is not what its schema says."""


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

    def met(self, fault: str, looks: Iterable[str], op: str, found: Divergence) -> bool:
        return (
            (not self.fault or self.fault == fault)
            and (not self.looks_like or any(look and re.search(self.looks_like, look) for look in looks))
            and (not self.node or not set(self.node).isdisjoint(found.nodes))
            and (not self.op or op in self.op)
            and (not self.spelled or not set(self.spelled).isdisjoint(found.spelled))
            and found.behind.issuperset(self.behind)
            and found.traits.issuperset(self.traits)
        )


def known(fault: str, looks: Iterable[str], op: str = "", found: Divergence = NOTHING) -> list[str]:
    """Return a sentence for each known hazard that a failure is of, by its looks and by the op that diverges."""
    return [
        f"known hazard {number} ({hazard.name}), mend: {hazard.mend}"
        for number, hazard in read(FILE.read_text()).items()
        if hazard.met(fault, looks, op, found)
    ]


@cache
def read(text: str) -> Mapping[str, Hazard]:
    """Return the hazards of the table's text, by their numbers."""
    place = Place(FILE.name, HazardError)
    found: dict[str, Hazard] = toml.checked(dict[str, Hazard], toml.parse(text, place), place)
    return found
