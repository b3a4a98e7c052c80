"""The stored baseline of one machine: `golden/<system>/bench-<machine>.toml`, what each benchmark measured there.

[machine]                 system, model, processor, cores, threads, runtime, numerics, compute_units
[benchmark."NAME"]        unit, sizes, median, p95, samples, recorded, reason
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from parity.base import toml
from parity.base.files import write_atomically
from parity.base.toml import Filled, Place, Table, Text
from parity.bench import machine as machines
from parity.bench.machine import Machine
from parity.bench.timing import p95

PREFIX = "bench-"
UNITS = ("ms", "× eager")
DIGITS = 4
KEPT = 40
"""Samples in a baseline, at most: more would not make the comparison any sharper."""


class BaselineError(ValueError):
    """A stored baseline that can't be taken at its word, or that must not be replaced like this."""


@dataclass(frozen=True)
class Entry:
    """Measurement of one benchmark: `samples` in `unit`, at the sizes of its inputs."""

    unit: str
    sizes: Mapping[str, int]
    samples: tuple[float, ...]
    recorded: str
    reason: str = ""

    @property
    def median(self) -> float:
        return _short(statistics.median(self.samples))

    @property
    def p95(self) -> float:
        return _short(p95(self.samples))


@dataclass(frozen=True)
class Baseline:
    machine: Machine
    entries: Mapping[str, Entry]


def entry(unit: str, sizes: Mapping[str, int], samples: Sequence[float], recorded: str) -> Entry:
    """Return an entry as the file will have it."""
    every = -(-len(samples) // KEPT)
    return Entry(unit, dict(sizes), tuple(map(_short, samples[::every])), recorded)


def path_of(folder: Path, machine: Machine) -> Path:
    return folder / f"{PREFIX}{machines.slug(machine)}.toml"


def find(folder: Path, machine: Machine) -> Baseline | None:
    """Return the baseline of this machine; None if there is none."""
    path = path_of(folder, machine)
    if not path.exists():
        return None
    found = load(path)
    if found.machine != machine:
        moved = ", ".join(name for name in machine if found.machine.get(name) != machine[name])
        raise BaselineError(f"{path}: was measured on another machine than its name says ({moved} differ); remove it")
    return found


def load(path: Path) -> Baseline:
    return parse(toml.read(path, BaselineError), str(path))


class _Benchmark(Table):
    unit: Annotated[str, AfterValidator(toml.one_of(*UNITS, word="unit"))]
    sizes: dict[str, int]
    median: float
    p95: float
    samples: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    recorded: Text
    reason: Text = ""

    @model_validator(mode="after")
    def _is_of_its_samples(self) -> _Benchmark:
        for name, value in (("median", self.entry.median), ("p95", self.entry.p95)):
            if not math.isclose(getattr(self, name), value, rel_tol=1e-3):
                fault = f"{name} is {getattr(self, name)}, and that of its samples {value}"
                raise ValueError(f"{fault}: it was edited, record it again")
        return self

    @property
    def entry(self) -> Entry:
        return Entry(self.unit, self.sizes, tuple(self.samples), self.recorded, self.reason)


class _File(Table):
    machine: Filled[str | int]
    benchmark: Filled[_Benchmark]


def parse(text: str, source: str) -> Baseline:
    """Return the baseline of a file's text; `source` names the file in errors."""
    place = Place(source, BaselineError)
    file: _File = toml.checked(_File, toml.parse(text, place), place)
    return Baseline(file.machine, {name: one.entry for name, one in file.benchmark.items()})


def render(baseline: Baseline) -> str:
    lines = ["[machine]", *(f"{name} = {_value(value)}" for name, value in baseline.machine.items())]
    for name, one in sorted(baseline.entries.items()):
        sizes = ", ".join(f"{toml.dotted([dim])} = {size}" for dim, size in one.sizes.items())
        lines += ["", f"[benchmark.{toml.dotted([name])}]", f"unit = {toml.quoted(one.unit)}"]
        lines += [f"sizes = {{ {sizes} }}", f"median = {one.median!r}", f"p95 = {one.p95!r}"]
        lines += [f"samples = [{', '.join(map(repr, one.samples))}]", f"recorded = {toml.quoted(one.recorded)}"]
        lines += [f"reason = {toml.quoted(one.reason)}"] if one.reason else []
    return "\n".join([*lines, ""])


def record(
    folder: Path, machine: Machine, entries: Mapping[str, Entry], known: Collection[str], reason: str
) -> list[str]:
    """Put the entries into the machine's baseline, drop those without a benchmark, and return what moved.

    An entry is replaced only for a reason; otherwise a regression could become the baseline unnoticed.
    """
    path = path_of(folder, machine)
    if not entries:
        raise BaselineError(f"{path}: nothing was measured that could be recorded")
    before = find(folder, machine)
    old = dict(before.entries) if before else {}
    kept = {name: one for name, one in old.items() if name in known}
    replaced = [name for name in entries if name in kept]
    if replaced and not reason.strip():
        raise BaselineError(f"{path} has {replaced[0]} already: say why it changes, with --bench-reason")
    made = {name: replace(one, reason=reason.strip() if name in old else "") for name, one in entries.items()}
    new = Baseline(machine, {**kept, **made})
    text = render(new)
    if parse(text, str(path)) != new:
        raise BaselineError(f"{path}: the baseline does not survive being written")
    write_atomically(path, text.encode())
    lines = [f"{name}: {old[name].median:g} → {made[name].median:g} {made[name].unit}" for name in replaced]
    lines += [f"{name}: new, {one.median:g} {one.unit}" for name, one in made.items() if name not in old]
    return [*lines, *(f"{name}: gone, nothing measures it any more" for name in old if name not in known)]


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _value(value: str | int) -> str:
    return toml.quoted(value) if isinstance(value, str) else str(value)
