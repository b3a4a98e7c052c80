"""The stored baseline of one machine: `golden/<system>/bench-<machine>.toml`, what each benchmark measured there.

[machine]                 system, model, processor, cores, threads, runtime, numerics, compute_units
[benchmark."NAME"]        unit, sizes, median, p95, samples, recorded, reason

Times of another machine are not a baseline. A time is a regression by a statistical test, by a factor and by seconds,
because each alone raises false alarms. On many samples the test finds differences that do not matter; on few samples, a
busy machine reaches the factor. A call of a fifth of a millisecond reaches both from one process to the next, though it
does the same.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from parity.base import toml
from parity.base.files import write_atomically
from parity.base.fingerprint import digest
from parity.base.toml import Filled, Place, Table, Text
from parity.bench.timing import THREADS
from parity.run.runtime import Runtime

Machine = Mapping[str, str | int]
DIGITS = 4
KEPT = 40
"""Samples in a baseline, at most: more would not make the comparison any sharper."""
P = 0.002
"""Of a difference as large, if there were none. The same that asv asks for."""
FACTOR = 1.2
"""Of the medians. Two runs of the same artifact on a shared machine come within it."""
JITTER = 5e-5
"""Seconds of a call. Two identical processes come within it: their memory lies elsewhere."""


class BaselineError(ValueError):
    """A stored baseline that can't be taken at its word, compared with, or replaced like this."""


class Entry(Table):
    """Measurement of one benchmark: `samples` in `unit`, at the sizes of its inputs, and what they amount to."""

    unit: Annotated[str, AfterValidator(toml.one_of("ms", "× eager", word="unit"))]
    sizes: dict[str, int]
    median: float
    p95: float
    samples: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    recorded: Text
    reason: Text = ""

    @model_validator(mode="after")
    def _is_of_its_samples(self) -> Entry:
        for name, value in zip(("median", "p95"), _amount(self.samples), strict=True):
            if not math.isclose(getattr(self, name), value, rel_tol=1e-3):
                fault = f"{name} is {getattr(self, name)}, and that of its samples {value}"
                raise ValueError(f"{fault}: it was edited, record it again")
        return self


class Baseline(Table):
    machine: Filled[str | int]
    benchmark: Filled[Entry]


@dataclass(frozen=True)
class Change:
    """A change of speed.

    Attributes:
        factor: The median now by the median before: above 1 is slower.
        p: The probability of such a difference, if there were none.
        counts: Whether the medians are further apart than those of two identical processes.
    """

    factor: float
    p: float
    counts: bool = True

    @property
    def slower(self) -> bool:
        return self.counts and self.p < P and self.factor > FACTOR

    @property
    def faster(self) -> bool:
        return self.counts and self.p < P and self.factor < 1 / FACTOR


def this_machine(runtime: Runtime, compute_units: str | None = None) -> Machine:
    """Return what must be equal for times to be compared. Versions are not part of it, so that their effect shows."""
    cores = os.cpu_count() or 0
    on_mac = platform.system() == "Darwin"
    return {
        "system": platform.system(),
        "model": _sysctl("hw.model") if on_mac else "",
        "processor": _sysctl("machdep.cpu.brand_string") if on_mac else _processor(),
        "cores": cores,
        "threads": (cores or THREADS) if runtime.name == "executorch" else THREADS,
        "runtime": runtime.name,
        "numerics": runtime.numerics,
        "compute_units": compute_units or "declared",
    }


def label(machine: Machine) -> str:
    """Return the machine in a few words."""
    name = machine["model"] or machine["processor"]
    return f"{name}, {machine['cores']} cores, {machine['runtime']} {machine['numerics']}, threads {machine['threads']}"


def entry(unit: str, sizes: Mapping[str, int], samples: Sequence[float], recorded: str) -> Entry:
    """Return an entry as the file will have it."""
    kept = [_short(sample) for sample in samples[:: -(-len(samples) // KEPT)]]
    median, p95 = _amount(kept)
    return Entry(unit=unit, sizes=dict(sizes), median=median, p95=p95, samples=kept, recorded=recorded)


def path_of(folder: Path, machine: Machine) -> Path:
    return folder / f"bench-{machine['system']}-{machine['runtime']}-{digest(dict(machine))[:8]}.toml".lower()


def find(folder: Path, machine: Machine) -> Baseline | None:
    """Return the baseline of this machine; None if there is none."""
    path = path_of(folder, machine)
    if not path.exists():
        return None
    found = parse(toml.read(path, BaselineError), str(path))
    if found.machine != machine:
        moved = ", ".join(name for name in machine if found.machine.get(name) != machine[name])
        raise BaselineError(f"{path}: was measured on another machine than its name says ({moved} differ); remove it")
    return found


def parse(text: str, source: str) -> Baseline:
    """Return the baseline of a file's text; `source` names the file in errors."""
    place = Place(source, BaselineError)
    found: Baseline = toml.checked(Baseline, toml.parse(text, place), place)
    return found


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
    old = before.benchmark if before else {}
    kept = {name: one for name, one in old.items() if name in known}
    replaced = [name for name in entries if name in kept]
    if replaced and not reason.strip():
        raise BaselineError(f"{path} has {replaced[0]} already: say why it changes, with --bench-reason")
    why = {"reason": reason.strip()}
    made = {name: one.model_copy(update=why if name in old else None) for name, one in entries.items()}
    new = Baseline(machine=dict(machine), benchmark={**kept, **made})
    lines = ["[machine]", *_lines(new.machine)]
    for name, one in sorted(new.benchmark.items()):
        lines += ["", f"[benchmark.{toml.dotted([name])}]", *_lines(one.model_dump(exclude_defaults=True))]
    text = "\n".join([*lines, ""])
    if parse(text, str(path)) != new:
        raise BaselineError(f"{path}: the baseline does not survive being written")
    write_atomically(path, text.encode())
    moved = [f"{name}: {old[name].median:g} → {made[name].median:g} {made[name].unit}" for name in replaced]
    moved += [f"{name}: new, {one.median:g} {one.unit}" for name, one in made.items() if name not in old]
    return [*moved, *(f"{name}: gone, nothing measures it any more" for name in old if name not in known)]


def compare(before: Sequence[float], now: Sequence[float], least: float = 0.0) -> Change:
    """Compare by Mann-Whitney's U, two-sided, which assumes nothing about the distribution of times.

    Args:
        before: The samples of the baseline.
        now: The samples of this run.
        least: The difference of the medians from which on it counts.
    """
    from scipy.stats import mannwhitneyu

    if not before or not now or smallest_p(len(before), len(now)) >= P:
        raise BaselineError(
            f"{len(now)} samples against {len(before)} of the baseline can show no regression, however large: "
            "measure more rounds, or record the baseline again"
        )
    if len({*before, *now}) == 1:
        return Change(1.0, 1.0)
    was, is_now = statistics.median(before), statistics.median(now)
    p = float(mannwhitneyu(now, before, alternative="two-sided").pvalue)
    return Change(is_now / was, p, abs(is_now - was) > least)


def smallest_p(before: int, now: int) -> float:
    """Return the p of samples without any overlap."""
    return 2 / math.comb(before + now, now)


def _amount(samples: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile."""
    return _short(statistics.median(samples)), _short(float(np.percentile(samples, 95)))


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_written(value)}" for name, value in table.items()]


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{toml.dotted([name])} = {size}' for name, size in value.items())} }}"
    return toml.quoted(value) if isinstance(value, str) else repr(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _sysctl(name: str) -> str:
    try:
        return subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
