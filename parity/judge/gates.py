"""Gates as data: which metric bounds which output, by how much, and where the bound comes from.

A file of gates has a table `[stage.variant.output]` for each output, with an entry for each metric:

    cosine = { min = 0.9995, derived_from = "worst 0.99998 …", reason = "8-bit palettization" }

The form of the bound is the metric's: `min` where higher is better, `max` where lower is, `within` (of the ideal) where
nearer is. The variant `module` is the traceable module against upstream; the stage `chain` is the whole system, whose
outputs are its own and, as "stage.output" in quotes, those of each stage within it. The table `retired` gives a reason
for each gate, or table of gates, that was taken away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from parity.base import toml
from parity.base.toml import Place
from parity.compare import metrics
from parity.verdict import Finding

Form = Literal["min", "max", "within"]
Table = tuple[str, str, str]

FORMS: Mapping[str, Form] = {"higher": "min", "lower": "max", "near": "within"}
ACCEPTABLE_BLINDNESS = frozenset({"sign", "phase"})
"""What no gate of an output has to see: over a chain, rounding moves the phase of a harmonic source for good."""


class GateError(ValueError):
    """A file of gates that can't be taken at its word."""


@dataclass(frozen=True)
class Gate:
    """One metric of one output, its bound, and where that bound comes from."""

    stage: str
    variant: str
    output: str
    metric: str
    form: Form
    bound: float
    derived_from: str
    reason: str = ""

    @property
    def table(self) -> Table:
        return self.stage, self.variant, self.output

    @property
    def name(self) -> str:
        return ".".join((*self.table, self.metric))

    @property
    def text(self) -> str:
        """The bound in words."""
        bound = toml.number(self.bound)
        if self.form == "within":
            return f"within {bound} of {metrics.find(self.metric).ideal:g}"
        return f"{'≥' if self.form == 'min' else '≤'} {bound}"

    @property
    def room(self) -> float:
        """How far from the ideal a value may be."""
        return self.bound if self.form == "within" else metrics.find(self.metric).distance(self.bound)

    def check(self, value: float) -> Finding:
        low, high = -math.inf, math.inf
        if self.form == "min":
            low = self.bound
        elif self.form == "max":
            high = self.bound
        else:
            ideal = metrics.find(self.metric).ideal
            low, high = ideal - self.bound, ideal + self.bound
        return Finding(self.output, self.metric, math.isfinite(value) and low <= value <= high, value, self.text)


@dataclass(frozen=True)
class Gates:
    """All gates of one system, in the order of their file, and the reasons for those that were taken away."""

    gates: tuple[Gate, ...]
    retired: Mapping[str, str] = field(default_factory=dict)

    def of(self, stage: str, variant: str, output: str) -> tuple[Gate, ...]:
        return tuple(gate for gate in self.gates if gate.table == (stage, variant, output))

    def tables(self) -> tuple[Table, ...]:
        return tuple(dict.fromkeys(gate.table for gate in self.gates))

    def by_name(self) -> dict[str, Gate]:
        return {gate.name: gate for gate in self.gates}

    def retirement(self, name: str) -> str:
        """Why a gate is no more; empty if nobody said so."""
        return toml.retirement(self.retired, name)


def load(path: Path) -> Gates:
    return parse(toml.read(path, GateError), str(path))


def parse(text: str, source: str) -> Gates:
    """The gates of a file's text; `source` names the file in errors."""
    place = Place(source, GateError)
    content = dict(toml.parse(text, place))
    retired = toml.retired(content, place)
    gates = tuple(
        _gate((stage, variant, output), metric, entry, place.at(stage, variant, output))
        for stage, variants in content.items()
        for variant, outputs in place.at(stage).table(variants).items()
        for output, entries in place.at(stage, variant).table(outputs).items()
        for metric, entry in place.at(stage, variant, output).table(entries).items()
    )
    if not gates:
        raise place.wrong("holds no gate at all, and nothing may pass for want of one")
    toml.absent(retired, [gate.name for gate in gates], place)
    return Gates(gates, retired)


def render(gates: Gates) -> str:
    """The text of the file, the same for the same gates, which `parse` reads back as they were."""
    grouped: dict[str, dict[str, dict[str, list[Gate]]]] = {}
    for gate in gates.gates:
        grouped.setdefault(gate.stage, {}).setdefault(gate.variant, {}).setdefault(gate.output, []).append(gate)
    blocks = []
    for variants in grouped.values():
        for outputs in variants.values():
            for entries in outputs.values():
                width = max(len(gate.metric) for gate in entries)
                lines = [f"{gate.metric:{width}} = {_entry(gate)}" for gate in entries]
                blocks.append("\n".join([f"[{toml.dotted(entries[0].table)}]", *lines]))
    if gates.retired:
        lines = [f"{toml.quoted(name)} = {toml.quoted(reason)}" for name, reason in gates.retired.items()]
        blocks.append("\n".join(["[retired]", *lines]))
    return "\n\n".join(blocks) + "\n"


def judge(gates: tuple[Gate, ...], values: Mapping[str, float]) -> tuple[Finding, ...]:
    """What each gate of one output says about its measured metrics; one that was not measured fails."""
    if not gates:
        raise GateError("an output without a gate can't be judged: give it one, or calibrate it")
    return tuple(
        gate.check(values[gate.metric])
        if gate.metric in values
        else Finding(gate.output, gate.metric, False, None, gate.text, f"{gate.metric} was not measured")
        for gate in gates
    )


def complete(gates: Gates, expected: Iterable[Table]) -> list[str]:
    """What is missing or too much: every expected output is gated, and nothing else is, by gates that can see."""
    wanted = list(dict.fromkeys(expected))
    if not wanted:
        return ["no output is expected at all: a system declares its stages and their outputs"]
    problems = []
    for table in wanted:
        found = gates.of(*table)
        if not found:
            problems.append(f"{'.'.join(table)} has no gate: calibrate it")
            continue
        blind = frozenset.intersection(*(metrics.find(gate.metric).blind_to for gate in found)) - ACCEPTABLE_BLINDNESS
        if blind:
            names = ", ".join(gate.metric for gate in found)
            advice = (
                "a correlation alone is not a gate: add relative_l2 or rms_ratio"
                if "gain" in blind
                else ("add relative_l2 or cosine")
            )
            problems.append(f"{'.'.join(table)}: {names} can't see {', '.join(sorted(blind))}; {advice}")
    known = [".".join(table) for table in wanted]
    for table in gates.tables():
        if table not in wanted:
            name = ".".join(table)
            problems.append(f"{name} is gated but declared nowhere{toml.nearest(name, known)}")
    return problems


def _gate(table: Table, metric: str, entry: object, place: Place) -> Gate:
    if any("." in name for name in table[:2]):
        raise place.wrong("has a dot in the name of its stage or variant: only an output may have one")
    try:
        declared = metrics.find(metric)
    except ValueError as error:
        raise place.wrong(f"{error}. A table is [stage.variant.output], a name with a dot in quotes") from None
    place = place.at(metric)
    values = place.table(entry)
    place.known(values, ("min", "max", "within", "derived_from", "reason"))
    form = FORMS[declared.better]
    given = [key for key in ("min", "max", "within") if key in values]
    if given != [form]:
        raise place.wrong(f"takes {form}, for {declared.better} is better; it has {' and '.join(given) or 'no bound'}")
    derived_from, reason = place.text(values, "derived_from"), place.text(values, "reason", "")
    gate = Gate(*table, metric, form, place.number(values, form), derived_from, reason)
    limit = declared.limit
    if gate.room < 0:
        raise place.wrong(f"{gate.text} can't be met: the best is {declared.ideal:g}")
    if gate.room >= limit:
        raise place.wrong(f"{gate.text} can hardly fail: it has to be nearer than {limit:g} to {declared.ideal:g}")
    return gate


def _entry(gate: Gate) -> str:
    reason = f", reason = {toml.quoted(gate.reason)}" if gate.reason else ""
    bound = toml.number(gate.bound)
    return f"{{ {gate.form} = {bound}, derived_from = {toml.quoted(gate.derived_from)}{reason} }}"
