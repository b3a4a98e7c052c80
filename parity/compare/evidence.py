"""The measurements of a check, stored under everything that made them, so that nothing is measured twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from parity.base.cache import Cache
from parity.base.fingerprint import digest
from parity.compare import contract, media, metrics
from parity.compare.outputs import Comparison
from parity.verdict import Finding

KIND = "evidence"
_MEASURED = "measurements.json"
_FINDINGS = TypeAdapter(tuple[Finding, ...])

Values = Mapping[str, Mapping[str, float]]
"""The metrics of each output."""
Asked = Callable[[str], Collection[str]]
"""Names the costly metrics that are to be measured for an output: those that a gate names."""


@dataclass(frozen=True)
class Evidence:
    """The findings and measurements of one check.

    Attributes:
        key: The digest of everything that made it.
        contract: The findings about presence, dtype, shape and finite values.
        values: The metrics of each output that kept its contract. A broken contract leaves nothing to measure.
        seconds: The time of running the check.
        reused: Whether it was stored by an earlier run.
    """

    key: str
    contract: tuple[Finding, ...]
    values: Values
    seconds: float
    reused: bool = False


def measure(
    compared: Iterable[Comparison | Finding], sample_rate: int, asked: Asked = lambda output: ()
) -> tuple[list[Finding], dict[str, dict[str, float]]]:
    """Return the findings on the contract of all outputs, and the metrics of those that kept it.

    Args:
        compared: Outputs beside upstream's, and findings that are passed on.
        sample_rate: Rows per second of outputs that do not declare their own.
        asked: Names the costly metrics to measure for an output.
    """
    findings: list[Finding] = []
    values: dict[str, dict[str, float]] = {}
    for group in compared:
        if isinstance(group, Finding):
            findings.append(group)
            continue
        checked = contract.check(group.declared, group.actual, group.reference, group.dtypes)
        broken = {finding.output for finding in checked if not finding.passed}
        findings += [replace(finding, output=group.prefix + finding.output) for finding in checked]
        for name, tensor in group.declared.items():
            if name in broken:
                continue
            output, rate = group.prefix + name, tensor.rate or sample_rate
            values[output] = {
                metric.name: metric.measure(group.reference[name], group.actual[name], rate, group.turns)
                for metric in metrics.of_kind(tensor.kind)
                if not metric.on_request or metric.name in asked(output)
            }
    return findings, values


def gathered(cache: Cache, parts: Mapping[str, Any], make: Callable[[Path], Evidence]) -> Evidence:
    """Return the evidence stored under everything that decides it, or make it and store it.

    Args:
        cache: The cache to store it in.
        parts: Everything that decides the outcome.
        make: Runs the check, and writes its evidence into a folder.
    """
    key = digest(parts)
    made: list[Evidence] = []
    folder = cache.get(KIND, key, lambda folder: made.append(make(folder)), parts)
    return replace(made[0], key=key) if made else replace(read(folder, key), reused=True)


def write(
    folder: Path,
    compared: Sequence[Comparison | Finding],
    sample_rate: int,
    seconds: float,
    asked: Asked = lambda output: (),
) -> Evidence:
    """Measure what a check compared, and write the evidence into a folder.

    Args:
        folder: The folder.
        compared: Outputs beside upstream's, and findings that are passed on.
        sample_rate: Rows per second of outputs that do not declare their own.
        seconds: The time that it took to run the check.
        asked: Names the costly metrics to measure for an output.
    """
    findings, values = measure(compared, sample_rate, asked)
    measured = {"contract": [asdict(finding) for finding in findings], "values": values, "seconds": seconds}
    (folder / _MEASURED).write_text(json.dumps(measured, indent=1))
    media.write(folder, (group for group in compared if isinstance(group, Comparison)), sample_rate)
    return Evidence("", tuple(findings), values, seconds)


def folder_of(cache: Cache, key: str) -> Path | None:
    """Return the folder of stored evidence, or None if it is gone."""
    return cache.find(KIND, key)


def read(folder: Path, key: str) -> Evidence:
    """Return the evidence in a folder."""
    measured = json.loads((folder / _MEASURED).read_text())
    return Evidence(key, _FINDINGS.validate_python(measured["contract"]), measured["values"], measured["seconds"])
