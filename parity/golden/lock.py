"""lock.json: provenance, history, and for each case every tensor's shape, dtype, hash and statistics."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parity.golden.errors import DamagedGolden
from parity.golden.names import file_name, key
from parity.golden.provenance import Provenance
from parity.golden.sketch import DTYPES, WIDEST, Statistics
from parity.golden.tensors import CaseEntry, Entry, SeamEntry

SCHEMA = 1
NAME = "lock.json"
MAX_BYTES = 16 << 20
MAX_ELEMENTS = 1 << 34
_WIDTH = 320
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Refreshed:
    date: str
    reason: str
    cases: tuple[str, ...]


@dataclass(frozen=True)
class Lock:
    system: str
    provenance: Provenance
    cases: Mapping[str, CaseEntry] = field(default_factory=dict)
    history: tuple[Refreshed, ...] = ()


def write(lock: Lock) -> bytes:
    """A tensor to a line, in the order of the data: git's diff shows which tensors moved, and nothing else."""
    content = {
        "schema": SCHEMA,
        "system": lock.system,
        "packages": dict(lock.provenance.packages),
        "weights": dict(lock.provenance.weights),
        "code": dict(lock.provenance.code),
        "cases": {name: case_as_json(entry) for name, entry in lock.cases.items()},
        "history": [{"date": entry.date, "reason": entry.reason, "cases": list(entry.cases)} for entry in lock.history],
    }
    return (_layout(content) + "\n").encode()


def read(path: Path) -> Lock | None:
    """None where nothing was ever recorded."""
    mend = f"git checkout -- {path}"
    try:
        if path.is_symlink() or not path.is_file():
            if path.is_symlink() or path.exists():
                raise DamagedGolden(path, "is no plain file", mend)
            return None
        if path.stat().st_size > MAX_BYTES:
            raise DamagedGolden(path, f"has {path.stat().st_size} bytes; a lock has at most {MAX_BYTES}", mend)
        return parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedGolden(path, f"is no lock that this version can read: {error}", mend) from error


def parse(data: bytes) -> Lock:
    content = json.loads(data, object_pairs_hook=_unique)
    _keys("the lock", content, "schema", "system", "packages", "weights", "code", "cases", "history")
    if content["schema"] != SCHEMA:
        raise ValueError(f"it has schema {content['schema']!r}; this version reads {SCHEMA}")
    provenance = Provenance(*(_texts(part, content[part]) for part in ("packages", "weights", "code")))
    cases = {file_name("case", name): case_from_json(case) for name, case in content["cases"].items()}
    history = tuple(Refreshed(_text(e["date"]), _text(e["reason"]), tuple(e["cases"])) for e in content["history"])
    return Lock(file_name("system", content["system"]), provenance, cases, history)


def case_as_json(case: CaseEntry) -> dict[str, Any]:
    return {
        "file": {"sha256": case.file_sha256, "bytes": case.file_bytes},
        "inputs": dict(case.inputs),
        "seams": [
            {
                "stage": seam.stage,
                "inputs": {name: _entry_as_json(entry) for name, entry in seam.inputs.items()},
                "outputs": {name: _entry_as_json(entry) for name, entry in seam.outputs.items()},
            }
            for seam in case.seams
        ],
    }


def case_from_json(content: Any) -> CaseEntry:
    _keys("a case", content, "file", "inputs", "seams")
    _keys("a case's file", content["file"], "sha256", "bytes")
    inputs = {key("input", name): _digest(value) for name, value in content["inputs"].items()}
    seams = tuple(_seam_from_json(seam) for seam in content["seams"])
    if not seams:
        raise ValueError("a case has no seams")
    return CaseEntry(inputs, seams, _digest(content["file"]["sha256"]), _whole(content["file"]["bytes"]))


def _seam_from_json(content: Any) -> SeamEntry:
    _keys("a seam", content, "stage", "inputs", "outputs")
    if not content["inputs"] or not content["outputs"]:
        raise ValueError(f"stage {content['stage']} has no inputs or no outputs")
    inputs, outputs = (
        {key("tensor", name): _entry_from_json(entry) for name, entry in content[side].items()}
        for side in ("inputs", "outputs")
    )
    return SeamEntry(key("stage", content["stage"]), inputs, outputs)


def _entry_as_json(entry: Entry) -> dict[str, Any]:
    found = entry.statistics
    counts = {"zeros": found.zeros} | ({"nonfinite": found.nonfinite} if found.nonfinite else {})
    return {
        "shape": list(entry.shape),
        "dtype": entry.dtype,
        "min": _plain(found.min),
        "max": _plain(found.max),
        "mean": _plain(found.mean),
        "rms": _plain(found.rms),
        **counts,
        **({"spread": entry.spread} if entry.spread else {}),
        "stored": "whole" if entry.in_git else "sketch",
        "sha256": entry.sha256,
    }


def _entry_from_json(content: Any) -> Entry:
    _keys("a tensor", {"nonfinite": 0, "spread": 0, **content}, *_ENTRY)
    shape = tuple(_whole(size, least=1) for size in content["shape"])
    if content["dtype"] not in DTYPES:
        raise ValueError(f"unknown dtype {content['dtype']!r}")
    if content["stored"] not in ("whole", "sketch"):
        raise ValueError(f"a tensor is stored {content['stored']!r}; it is either whole or sketch")
    low, high, mean, rms = (_number(content[name]) for name in ("min", "max", "mean", "rms"))
    statistics = Statistics(low, high, mean, rms, _whole(content["zeros"]), _whole(content.get("nonfinite", 0)))
    size = 1
    for extent in shape:
        size *= extent
        if size > MAX_ELEMENTS:
            raise ValueError(f"shape {list(shape)} is beyond {MAX_ELEMENTS} elements")
    spread = _number(content.get("spread", 0))
    if not 0 <= spread <= WIDEST:
        raise ValueError(f"a spread of {spread} would let any tensor pass")
    stored = content["stored"] == "whole"
    return Entry(shape, content["dtype"], _digest(content["sha256"]), statistics, stored, spread)


_ENTRY = ("shape", "dtype", "min", "max", "mean", "rms", "zeros", "nonfinite", "spread", "stored", "sha256")


def _plain(value: float) -> float | int:
    return int(value) if value == int(value) and abs(value) < 1e9 else value


def _keys(what: str, content: Any, *expected: str) -> None:
    if not isinstance(content, dict):
        raise ValueError(f"{what} is a {type(content).__name__}")
    if set(content) != set(expected):
        off = ", ".join(sorted(set(content) ^ set(expected)))
        raise ValueError(f"{what} has keys too many or too few: {off}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError(f"a name is given twice among {', '.join(name for name, _ in pairs)}")
    return content


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _texts(part: str, content: Any) -> dict[str, str]:
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{part} is empty or no table")
    return {name: _text(value) for name, value in content.items()}


def _digest(value: Any) -> str:
    if not _SHA256.fullmatch(_text(value)):
        raise ValueError(f"{value!r} is no sha256")
    return str(value)


def _whole(value: Any, least: int = 0) -> int:
    if type(value) is not int or value < least:
        raise ValueError(f"{value!r} is no count")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) < float("inf"):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


def _layout(value: Any, indent: str = "") -> str:
    """JSON with what is flat and short on one line."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    nested = isinstance(value, dict | list) and any(
        isinstance(item, dict) for item in (value.values() if isinstance(value, dict) else value)
    )
    if not isinstance(value, dict | list) or not value or (not nested and len(line) <= _WIDTH):
        return line
    deeper = indent + "  "
    if isinstance(value, dict):
        items = [f"{json.dumps(name, ensure_ascii=False)}: {_layout(item, deeper)}" for name, item in value.items()]
        return "{\n" + ",\n".join(deeper + item for item in items) + f"\n{indent}}}"
    return "[\n" + ",\n".join(deeper + _layout(item, deeper) for item in value) + f"\n{indent}]"
