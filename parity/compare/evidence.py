"""What a check measured, kept under everything that made it, so that nothing is measured twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from parity.base.cache import Cache
from parity.base.fingerprint import digest
from parity.compare import contract, metrics
from parity.declarations import AUDIBLE, Arrays, Tensor, Variant
from parity.diarization import rttm
from parity.diarization.turns import turns
from parity.verdict import Finding

KIND = "evidence"
_MEASURED, _AUDIO = "measurements.json", "audio.safetensors"


@dataclass(frozen=True)
class Comparison:
    """Outputs that belong together: what was declared, what came, and what should have come. `turns` are who really
    speaks, where the case knows."""

    declared: Mapping[str, Tensor]
    variant: Variant
    actual: Arrays
    reference: Arrays
    dtypes: Mapping[str, str]
    prefix: str = ""
    turns: np.ndarray | None = None


@dataclass(frozen=True)
class Evidence:
    """`values` has the metrics of each output that kept its contract; a broken contract leaves nothing to measure."""

    key: str
    contract: tuple[Finding, ...]
    values: Mapping[str, Mapping[str, float]]
    seconds: float
    reused: bool = False


def measure(
    comparisons: list[Comparison | Finding], sample_rate: int
) -> tuple[list[Finding], dict[str, dict[str, float]]]:
    findings: list[Finding] = []
    values: dict[str, dict[str, float]] = {}
    for compared in comparisons:
        if isinstance(compared, Finding):
            findings.append(compared)
            continue
        kept = contract.check(
            compared.declared, compared.variant, compared.actual, compared.reference, dict(compared.dtypes)
        )
        broken = {finding.output for finding in kept if not finding.passed}
        findings += [Finding(**{**asdict(finding), "output": compared.prefix + finding.output}) for finding in kept]
        for name, tensor in compared.declared.items():
            if name not in broken:
                expected, actual = compared.reference[name], compared.actual[name]
                values[compared.prefix + name] = {
                    metric.name: metric.measure(expected, actual, tensor.rate or sample_rate, compared.turns)
                    for metric in metrics.of_kind(tensor.kind)
                    if not metric.on_request
                }
    return findings, values


def gathered(cache: Cache, parts: Mapping[str, Any], measure: Callable[[Path], None]) -> Evidence:
    """Return the evidence under these parts, from the cache or as `measure` writes it into a folder."""
    key = digest(parts)
    made: list[bool] = []

    def make(folder: Path) -> None:
        made.append(True)
        measure(folder)

    folder = cache.get(KIND, key, make, parts)
    return read(folder, key, reused=not made)


def write(folder: Path, compared: list[Comparison | Finding], sample_rate: int, seconds: float) -> None:
    """Measure comparisons that took these seconds, and write what they show, with audio and turns, into a folder."""
    findings, values = measure(compared, sample_rate)
    _write(folder, findings, values, seconds)
    _keep_audio(folder, compared, sample_rate)
    _keep_turns(folder, compared)


def folder_of(cache: Cache, key: str) -> Path | None:
    return cache.find(KIND, key)


def _write(folder: Path, findings: list[Finding], values: Mapping[str, Mapping[str, float]], seconds: float) -> None:
    measured = {
        "contract": [asdict(finding) for finding in findings],
        "values": {name: {metric: repr(value) for metric, value in found.items()} for name, found in values.items()},
        "seconds": seconds,
    }
    (folder / _MEASURED).write_text(json.dumps(measured, indent=1))


def read(folder: Path, key: str, reused: bool = False) -> Evidence:
    measured = json.loads((folder / _MEASURED).read_text())
    values = {name: {metric: float(value) for metric, value in of.items()} for name, of in measured["values"].items()}
    found = tuple(Finding(**finding) for finding in measured["contract"])
    return Evidence(key, found, values, measured["seconds"], reused)


def _keep_turns(folder: Path, compared: list[Comparison | Finding]) -> None:
    """Who spoke when, as any tool of the field reads it: the reference's answer, the candidate's, and the truth."""
    for group in compared:
        if isinstance(group, Finding):
            continue
        for name, tensor in group.declared.items():
            made = group.actual.get(name)
            if tensor.kind == "diarization" and tensor.rate and made is not None and made.ndim == 2:
                said = {
                    "reference": turns(group.reference[name] > 0, tensor.rate),
                    "candidate": turns(made > 0, tensor.rate),
                    **({} if group.turns is None else {"truth": group.turns}),
                }
                for role, one in said.items():
                    rttm.write(folder / f"{group.prefix}{name}.{role}.rttm", {role: one})


def _keep_audio(folder: Path, compared: list[Comparison | Finding], sample_rate: int) -> None:
    """What a person will want to listen to: the reference and the candidate of every audio output."""
    heard: dict[str, np.ndarray] = {}
    for group in compared:
        if isinstance(group, Finding):
            continue
        for name, tensor in group.declared.items():
            if tensor.kind in AUDIBLE and name in group.actual and name in group.reference:
                for role, array in (("reference", group.reference[name]), ("candidate", group.actual[name])):
                    heard[f"{group.prefix}{name}.{role}"] = np.ascontiguousarray(array, np.float32).reshape(-1)
    if heard:
        save_file(heard, folder / _AUDIO, metadata={"sample_rate": str(sample_rate)})
