"""Gates as data: which metric bounds which output, by how much, and where the bound comes from.

A file of gates has a table `[stage.variant.output]` for each output, with an entry for each metric:

    cosine = { min = 0.99994, derived_from = { worst = 0.99998, median = 0.99999, cases = 5, numerics = "declared" } }

A bound that was set by hand says in words what it was derived from, and gives a `reason`. The form of the bound is the
metric's: `min` where higher is better, `max` where lower is, `within` (of the ideal) where nearer is. One that is
derived has three times the distance of the worst value from the ideal (1 − cosine, |rms ratio − 1|, the relative L2
itself), rounded to two digits away from the ideal, and never less than the metric's floor. The variant
`module` is the traceable module against upstream; the stage `chain` is the whole system, whose outputs are its own and,
as "stage.output" in quotes, those of each stage within it. The table `retired` gives a reason for each gate, or table
of gates, that was taken away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from parity.base import toml
from parity.base.text import many
from parity.base.toml import Filled, Place, Text
from parity.compare import metrics
from parity.compare.metrics import Metric
from parity.verdict import Bound, Finding, Form, number

Table = tuple[str, str, str]

FORMS: Mapping[str, Form] = {"higher": "min", "lower": "max", "near": "within"}
HEADROOM = 3
ACCEPTABLE_BLINDNESS = frozenset({"sign", "phase"})
"""Faults that no gate of an output has to see: over a chain, rounding moves the phase of a harmonic source for good."""


class GateError(ValueError):
    """A file of gates that can't be taken at its word."""


class Origin(toml.Table):
    """Measurements that a bound was derived from.

    worst, median: in as many digits as are worth reading.
    cases: how many there were.
    numerics: those that they were measured in.
    """

    worst: float
    median: float
    cases: Annotated[int, Field(gt=0)]
    numerics: Text

    def written(self) -> str:
        """Return the table as TOML writes it."""
        worst, median = toml.number(self.worst), toml.number(self.median)
        return f'{{ worst = {worst}, median = {median}, cases = {self.cases}, numerics = "{self.numerics}" }}'

    def __str__(self) -> str:
        values = f"worst {number(self.worst)}, median {number(self.median)}"
        return f"{values} of {many(self.cases, 'case')} × {self.numerics}"


_Derived = Annotated[
    Annotated[Origin, Tag("[table]")] | Annotated[Text, Tag("[text]")],
    Discriminator(lambda origin: "[table]" if isinstance(origin, dict) else "[text]"),
]


class _Entry(toml.Table):
    min: float | None = None
    max: float | None = None
    within: float | None = None
    derived_from: _Derived
    reason: Text = ""


@dataclass(frozen=True)
class Gate:
    """One metric of one output, its bound, and where that bound comes from."""

    stage: str
    variant: str
    output: str
    metric: str
    bound: Bound
    derived_from: Origin | str
    reason: str = ""

    @property
    def table(self) -> Table:
        return self.stage, self.variant, self.output

    @property
    def name(self) -> str:
        return ".".join((*self.table, self.metric))

    @property
    def room(self) -> float:
        """The distance from the ideal that is allowed."""
        return self.bound.limit if self.bound.form == "within" else metrics.find(self.metric).distance(self.bound.limit)

    @property
    def text(self) -> str:
        return str(self.bound)

    def looser(self, than: Gate) -> bool:
        return self.room > than.room

    def check(self, value: float) -> Finding:
        """Return what the gate says of a value of its metric."""
        return Finding(self.output, self.metric, self.bound.holds(value), value, self.bound)


def gate(table: Table, metric: Metric, limit: float, derived_from: Origin | str, reason: str = "") -> Gate:
    """Return the gate with the form of bound that its metric takes."""
    return Gate(*table, metric.name, Bound(FORMS[metric.better], limit, metric.ideal), derived_from, reason)


@dataclass(frozen=True)
class Gates:
    """All gates of one system, in the order of their file.

    Attributes:
        gates: The gates.
        retired: Reasons for those that were taken away.
        gone: Names of those of another revision whose metric this code lacks.
    """

    gates: tuple[Gate, ...]
    retired: Mapping[str, str] = field(default_factory=dict)
    gone: tuple[str, ...] = ()

    @cached_property
    def tables(self) -> Mapping[Table, tuple[Gate, ...]]:
        """The gates of each output."""
        found: dict[Table, tuple[Gate, ...]] = {}
        for gate in self.gates:
            found[gate.table] = *found.get(gate.table, ()), gate
        return found

    @cached_property
    def blind(self) -> Mapping[Table, str]:
        """The outputs whose gates all miss the same fault, and the advice about each."""
        return {table: said for table, gates in self.tables.items() if (said := _blind(table, gates))}

    def by_name(self) -> dict[str, Gate]:
        return {gate.name: gate for gate in self.gates}


def load(path: Path) -> Gates:
    return parse(toml.read(path, GateError), str(path))


@cache  # each workbench of a system wants them, and the gate those of two revisions
def parse(text: str, source: str, old: bool = False) -> Gates:
    """Return the gates of a file's text.

    Args:
        text: The text.
        source: The name of the file in errors.
        old: True for the text of another revision, whose metrics this code may lack.
    """
    place = Place(source, GateError)
    content = toml.parse(text, place)
    retired = toml.retired(content, place)
    tables = toml.checked(Filled[Filled[Filled[Filled[Any]]]], content, place)
    found = [
        ((stage, variant, output), metric, entry)
        for stage, variants in tables.items()
        for variant, outputs in variants.items()
        for output, entries in outputs.items()
        for metric, entry in entries.items()
    ]
    gone = [(table, metric) for table, metric, _ in found if old and metric not in metrics.METRICS]
    gates = tuple(_gate(*one, place.at(*one[0])) for one in found if one[:2] not in gone)
    toml.absent(retired, [gate.name for gate in gates], place)
    return Gates(gates, retired, tuple(".".join((*table, metric)) for table, metric in gone))


def render(gates: Gates) -> str:
    """Return the text of the file. Equal gates give equal text, and `parse` reads them back unchanged."""
    order = list(dict.fromkeys(table[:depth] for table in gates.tables for depth in (1, 2, 3)))
    blocks = []
    for table in sorted(gates.tables, key=lambda table: [order.index(table[:depth]) for depth in (1, 2, 3)]):
        width = max(len(gate.metric) for gate in gates.tables[table])
        lines = [f"{gate.metric:{width}} = {_entry(gate)}" for gate in gates.tables[table]]
        blocks.append("\n".join([f"[{toml.dotted(table)}]", *lines]))
    if gates.retired:
        lines = [f"{toml.quoted(name)} = {toml.quoted(reason)}" for name, reason in gates.retired.items()]
        blocks.append("\n".join(["[retired]", *lines]))
    return "\n\n".join(blocks) + "\n"


def judge(gates: tuple[Gate, ...], values: Mapping[str, float]) -> tuple[Finding, ...]:
    """Return a finding for each gate of one output; a gate whose metric was not measured fails."""
    if not gates:
        raise GateError("an output without a gate can't be judged: give it one, or calibrate it")
    return tuple(
        gate.check(values[gate.metric])
        if gate.metric in values
        else Finding(gate.output, gate.metric, False, None, gate.bound, f"{gate.metric} was not measured")
        for gate in gates
    )


def complete(gates: Gates, expected: Iterable[Table]) -> list[str]:
    """Return what is wrong: outputs without gates, gates without an output, without an origin or blind to a fault."""
    wanted = list(dict.fromkeys(expected))
    if not wanted:
        return ["no output is expected at all: a system declares its stages and their outputs"]
    problems = []
    for table in wanted:
        if table not in gates.tables:
            problems.append(f"{'.'.join(table)} has no gate: calibrate it")
        elif table in gates.blind:
            problems.append(gates.blind[table])
    known = [".".join(table) for table in wanted]
    for table in gates.tables:
        if table not in wanted:
            name = ".".join(table)
            mend = "rename its table, or take it out and name it under [retired] with a reason"
            problems.append(f"{name} is gated but declared nowhere ({mend}){toml.nearest(name, known)}")
    return [*problems, *filter(None, map(_unexplained, gates.gates))]


def bound_from(metric: Metric, values: Sequence[float]) -> float | None:
    """Return the bound that the values suggest; None if even a bound at the metric's limit would not hold them."""
    # Decimals, without the noise that binary fractions add to 1 − 0.999995.
    ideal = Decimal(repr(metric.ideal))
    apart = [Decimal(repr(float(value))) - ideal for value in values]
    worst = max(map(abs, apart)) if metric.better == "near" else max(apart) if metric.better == "lower" else -min(apart)
    room = max(HEADROOM * worst, Decimal(repr(metric.floor)))
    if room:
        room = room.quantize(Decimal(1).scaleb(room.adjusted() - 1), rounding=ROUND_CEILING)
    if float(room) >= metric.limit:
        return None
    return float({"near": room, "higher": ideal - room, "lower": ideal + room}[metric.better])


def _unexplained(gate: Gate) -> str:
    """Return what is wrong with a bound that was set by hand without a reason."""
    origin = gate.derived_from
    derived = bound_from(metrics.find(gate.metric), [origin.worst]) if isinstance(origin, Origin) else None
    if gate.reason or derived == gate.bound.limit:
        return ""
    said = f"does not follow from its derived_from, {str(origin)!r}"
    return f"{gate.name}: {gate.bound} {said}, and it lacks a reason: write one beside it, or calibrate it anew"


def _blind(table: Table, gates: tuple[Gate, ...]) -> str:
    unseen = frozenset.intersection(*(metrics.find(gate.metric).blind_to for gate in gates)) - ACCEPTABLE_BLINDNESS
    if not unseen:
        return ""
    advice = "add relative_l2 or cosine"
    if "gain" in unseen:
        advice = "a correlation alone is not a gate: add relative_l2 or rms_ratio"
    names = ", ".join(gate.metric for gate in gates)
    return f"{'.'.join(table)}: {names} can't see {', '.join(sorted(unseen))}; {advice}"


def _gate(table: Table, name: str, content: object, place: Place) -> Gate:
    if any("." in part for part in table[:2]):
        raise place.wrong("has a dot in the name of its stage or variant: only an output may have one")
    try:
        metric = metrics.find(name)
    except ValueError as error:
        raise place.wrong(f"{error}. A table is [stage.variant.output], a name with a dot in quotes") from None
    place = place.at(name)
    entry: _Entry = toml.checked(_Entry, content, place)
    form = FORMS[metric.better]
    given = {side: limit for side in FORMS.values() if (limit := getattr(entry, side)) is not None}
    if list(given) != [form]:
        raise place.wrong(f"takes {form}, for {metric.better} is better; it has {' and '.join(given) or 'no bound'}")
    made = gate(table, metric, given[form], entry.derived_from, entry.reason)
    if made.room < 0:
        raise place.wrong(f"{made.bound} can't be met: the best is {metric.ideal:g}")
    if made.room >= metric.limit:
        nearer = f"it has to be nearer than {metric.limit:g} to {metric.ideal:g}"
        raise place.wrong(f"{made.bound} can hardly fail: {nearer}")
    return made


def _entry(gate: Gate) -> str:
    reason = f", reason = {toml.quoted(gate.reason)}" if gate.reason else ""
    bound = toml.number(gate.bound.limit)
    origin = gate.derived_from.written() if isinstance(gate.derived_from, Origin) else toml.quoted(gate.derived_from)
    return f"{{ {gate.bound.form} = {bound}, derived_from = {origin}{reason} }}"
