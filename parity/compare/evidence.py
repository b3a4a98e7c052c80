"""The evidence of a check: its measurements, audio to listen to and turns to look at.

It is stored under everything that made it, so that nothing is measured twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from parity.base.cache import Cache
from parity.base.fingerprint import digest
from parity.compare import contract, metrics
from parity.compare.modes import Comparison
from parity.declarations import AUDIBLE
from parity.diarization import rttm
from parity.diarization.rttm import RttmError
from parity.diarization.turns import Turns, turns
from parity.verdict import Finding

KIND = "evidence"
_MEASURED = "measurements.json"
_FINDINGS = TypeAdapter(tuple[Finding, ...])
AUDIO = "audio.safetensors"
LARGEST_AUDIO, LARGEST_TURNS = 512 * 2**20, 8 * 2**20
"""Bytes."""
RATES = range(4_000, 192_001)
LONGEST = 86_400.0
"""Seconds: nothing that a check hears lasts a day."""
SPEAKERS = tuple(f"s{number}" for number in range(32))
"""Names in the files of turns. The number is the column of the output, in the truth the order of arrival."""
REFERENCE, CANDIDATE, TRUTH = "reference", "candidate", "truth"


Samples = NDArray[np.float32]
Values = Mapping[str, Mapping[str, float]]
"""The metrics of each output."""
Asked = Callable[[str], Collection[str]]
"""Names the costly metrics that are to be measured for an output: those that a gate names."""


class MediaError(ValueError):
    """Kept audio or turns that can't be trusted; the message names the file, the fault and the mend."""


@dataclass(frozen=True)
class Pair:
    """Upstream's audio and the artifact's, for one output."""

    output: str
    rate: int
    reference: Samples
    candidate: Samples


@dataclass(frozen=True)
class Meeting:
    """The turns of one output: upstream's, the artifact's, and the true ones, None where the case does not know."""

    reference: Turns
    candidate: Turns
    truth: Turns | None

    @property
    def agreed(self) -> bool:
        return np.array_equal(self.reference, self.candidate)

    @property
    def content(self) -> tuple[bytes | None, ...]:
        """The bytes of all turns: equal for meetings that are the same."""
        return tuple(None if one is None else one.tobytes() for one in (self.reference, self.candidate, self.truth))


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
        checked = contract.check(group)
        broken = {finding.output for finding in checked if not finding.passed}
        findings += checked
        for name, tensor in group.declared.items():
            output, rate = group.prefix + name, tensor.rate or sample_rate
            if output not in broken:
                values[output] = {
                    metric.name: metric.measure(group.reference[name], group.actual[name], rate, group.turns)
                    for metric in metrics.of_kind(tensor.kind)
                    if not metric.on_request or metric.name in asked(output)
                }
    return findings, values


def gathered(cache: Cache, parts: Mapping[str, Any], make: Callable[[Path], object]) -> Evidence:
    """Return the evidence stored under everything that decides it, or make it and store it.

    Args:
        cache: The cache to store it in.
        parts: Everything that decides the outcome.
        make: Runs the check, and writes its evidence into a folder.
    """
    key, made = digest(parts), list[object]()
    folder = cache.get(KIND, key, lambda folder: made.append(make(folder)), parts)
    return replace(read(folder, key), reused=not made)


def write(
    folder: Path,
    compared: Sequence[Comparison | Finding],
    sample_rate: int,
    seconds: float,
    asked: Asked = lambda output: (),
) -> None:
    """Measure what a check compared, and write the evidence into a folder, with its audio and turns.

    Args:
        folder: The folder.
        compared: Outputs beside upstream's, and findings that are passed on.
        sample_rate: Rows per second of outputs that do not declare their own, and samples per second of all audio.
        seconds: The time that it took to run the check.
        asked: Names the costly metrics to measure for an output.
    """
    findings, values = measure(compared, sample_rate, asked)
    measured = {"contract": [asdict(finding) for finding in findings], "values": values, "seconds": seconds}
    (folder / _MEASURED).write_text(json.dumps(measured, indent=1))
    heard: dict[str, np.ndarray] = {}
    for group in compared:
        if isinstance(group, Comparison):
            _keep(folder, group, heard)
    if heard:
        save_file(heard, folder / AUDIO, metadata={"sample_rate": str(sample_rate)})


def _keep(folder: Path, group: Comparison, heard: dict[str, np.ndarray]) -> None:
    """Keep the turns of outputs in a folder, and gather their audio."""
    for name, tensor in group.declared.items():
        if name not in group.actual or name not in group.reference:
            continue
        sides = {REFERENCE: group.reference[name], CANDIDATE: group.actual[name]}
        output = f"{group.prefix}{name}"
        if tensor.kind in AUDIBLE:
            for role, array in sides.items():
                heard[f"{output}.{role}"] = np.ascontiguousarray(array, np.float32).reshape(-1)
        elif tensor.kind == "diarization" and tensor.rate and sides[CANDIDATE].ndim == 2:
            said = {role: turns(array > 0, tensor.rate) for role, array in sides.items()}
            for role, one in (said if group.turns is None else {**said, TRUTH: group.turns}).items():
                rttm.write(folder / f"{output}.{role}.rttm", {role: one})


def read(folder: Path, key: str) -> Evidence:
    """Return the evidence in a folder."""
    measured = json.loads((folder / _MEASURED).read_text())
    return Evidence(key, _FINDINGS.validate_python(measured["contract"]), measured["values"], measured["seconds"])


def folder_of(cache: Cache, key: str) -> Path | None:
    """Return the folder of stored evidence, or None if it is gone."""
    return cache.find(KIND, key)


def read_audio(folder: Path) -> list[Pair]:
    """Return every audio output of an evidence folder; none where it holds no audio."""
    path = folder / AUDIO
    if not path.exists():
        return []
    if path.stat().st_size > LARGEST_AUDIO:
        raise MediaError(f"{path} has {path.stat().st_size} bytes; more than {LARGEST_AUDIO} is not audio of a check")
    try:
        with safe_open(path, framework="numpy") as file:
            said = (file.metadata() or {}).get("sample_rate", "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise MediaError(f"{path} is damaged: {error}; delete it and run the check again") from error
    if not re.fullmatch("[0-9]{1,6}", said) or int(said) not in RATES:
        raise MediaError(f"{path}: sample_rate is {said!r} where {RATES[0]} to {RATES[-1]} is expected")
    outputs = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
    if not outputs:
        raise MediaError(f"{path} holds no tensor; delete it and run the check again")

    def signal(name: str) -> Samples:
        if name not in tensors:
            raise MediaError(f"{path} lacks the tensor {name!r}; it has {', '.join(tensors)}")
        found: Samples = tensors[name]
        if found.dtype != np.float32 or found.ndim != 1 or not found.size:
            raise MediaError(f"{path}: {name!r} is {found.dtype} of shape {found.shape}, not a float32 signal")
        return found

    return [Pair(name, int(said), signal(f"{name}.{REFERENCE}"), signal(f"{name}.{CANDIDATE}")) for name in outputs]


def with_turns(folder: Path) -> list[str]:
    """Return the outputs of an evidence folder that have turns."""
    ends = tuple(f".{role}.rttm" for role in (REFERENCE, CANDIDATE, TRUTH))
    return sorted({path.name.removesuffix(end) for end in ends for path in folder.glob(f"*{end}")})


def read_meeting(folder: Path, output: str) -> Meeting:
    """Return the turns of one output. A file without any line is a recording in which nobody speaks."""

    def turns_of(role: str) -> Turns:
        path = folder / f"{output}.{role}.rttm"
        if not path.is_file():
            raise MediaError(f"{path} is missing or not a file; delete the evidence and run the check again")
        size = path.stat().st_size
        if size > LARGEST_TURNS:
            raise MediaError(f"{path} has {size} bytes; more than {LARGEST_TURNS} are not turns of a check")
        try:
            found = rttm.read(path, role, SPEAKERS)[role] if size else np.zeros((0, 3))
        except (RttmError, OSError) as error:
            raise MediaError(f"{error}; delete it and run the check again") from error
        if len(found) and found[:, 1].max() > LONGEST:
            raise MediaError(
                f"{path}: a turn ends at {found[:, 1].max():g} s; what a check hears lasts less than a day"
            )
        return found

    known = (folder / f"{output}.{TRUTH}.rttm").exists()
    return Meeting(turns_of(REFERENCE), turns_of(CANDIDATE), turns_of(TRUTH) if known else None)
