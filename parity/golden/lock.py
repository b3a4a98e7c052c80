"""lock.json: provenance, history, and for each case every tensor's shape, dtype, hash and statistics.

The provenance is the versions of the reference's packages, its weights and its code. The tensors stand at their seams,
in the order of the data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from parity.base import files, fingerprint, libraries
from parity.base.arithmetic import distance
from parity.declarations import Golden, Reference
from parity.golden import recording
from parity.golden.errors import DamagedGolden
from parity.golden.recording import Place, sha256, sketch
from parity.plan.weights import Weights

NAME = "lock.json"
MAX_BYTES = 16 << 20
_WIDTH, _SHOWN = 320, 5
IN_GIT = 512 * 1024
"""Bytes up to which a tensor goes into git whole, if its case still has room."""
CASE_IN_GIT = 4 * IN_GIT
"""Bytes of whole tensors that one case may put into git; the smallest go first."""
MAX_ELEMENTS = 1 << 34
RELATIVE_L2 = 1e-3
"""The distance that the same truth may have on another machine. Other instruction sets and other kernels were seen to
move a well-conditioned stage by up to 2e-5."""
ROOM = 4.0
"""Times the spread that was measured at recording, where that is more. It is one sample of what rounding may do: other
instruction sets were seen to take 1.1 times as much, and 2.3 times where a phase accumulates."""
ZEROS = 1e-2


def _plain(value: float) -> float | int:
    return int(value) if value == int(value) and abs(value) < 1e9 else value


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Number = Annotated[float, PlainSerializer(_plain)]
Key = Annotated[str, AfterValidator(partial(files.key, "the"))]
Texts = Annotated[dict[str, str], Field(min_length=1)]
Provenance = dict[str, dict[str, str]]


class Strict(BaseModel):
    """A part of the lock: unknown fields, other types and numbers that are not finite are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Entry(Strict):
    """One tensor: its statistics, and `spread`, the relative L2 that rounding alone was measured to make.

    A tensor that is stored `whole` is in git; of any other, git has the sketch.
    """

    shape: tuple[Annotated[int, Field(ge=1)], ...]
    dtype: recording.DType
    min: Number
    max: Number
    mean: Number
    rms: Number
    zeros: Count
    nonfinite: Count = 0
    spread: Annotated[float, Field(ge=0, le=recording.WIDEST)] = 0.0
    stored: Literal["whole", "sketch"]
    sha256: Digest

    @model_validator(mode="after")
    def _is_of_a_size(self) -> Entry:
        if self.size > MAX_ELEMENTS:
            raise ValueError(f"shape {list(self.shape)} has more than {MAX_ELEMENTS} elements")
        return self

    @property
    def in_git(self) -> bool:
        return self.stored == "whole"

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize

    @staticmethod
    def of(array: np.ndarray, digest: str, spread: float = 0.0, room: int = IN_GIT) -> Entry:
        """Return the entry of an array, whole if it has at most `room` bytes. A spread within tolerance is left out."""
        wide = float(f"{spread:.3g}") if spread * ROOM > RELATIVE_L2 else 0.0
        known: dict[str, Any] = {"dtype": array.dtype.name, "stored": "whole" if array.nbytes <= room else "sketch"}
        return Entry(shape=array.shape, **recording.statistics(array), spread=wide, sha256=digest, **known)


class SeamEntry(Strict):
    stage: Key
    inputs: Annotated[dict[Key, Entry], Field(min_length=1)]
    outputs: Annotated[dict[Key, Entry], Field(min_length=1)]


class File(Strict):
    """The file of a case in git."""

    sha256: Digest = "0" * 64
    bytes: Count = 0


class CaseEntry(Strict):
    """One case: its file, the hashes of its own inputs, and its tensors."""

    file: File = File()
    inputs: dict[Key, Digest]
    seams: Annotated[tuple[SeamEntry, ...], Field(min_length=1)]

    def triples(self) -> list[recording.Triple[Entry]]:
        return [(seam.stage, seam.inputs, seam.outputs) for seam in self.seams]

    def places(self) -> dict[Place, Entry]:
        """Return every tensor by its place, in the order of the data."""
        return recording.places(self.triples())

    def differing(self, golden: Golden) -> Iterator[tuple[Place, Entry | None, np.ndarray | None]]:
        """Yield each place whose tensor is not bit for bit the recorded one: its entry and its tensor, or None."""
        expected, actual, digest = self.places(), recording.tensors(golden), recording.digests(golden)
        for place in dict.fromkeys((*expected, *actual)):
            was = expected.get(place)
            if was is None or was.sha256 != digest.get(place):
                yield place, was, actual.get(place)

    def kept(self) -> dict[str, Entry]:
        """Return each tensor once, under its key in the file in git: its first place."""
        found: dict[str, tuple[str, Entry]] = {}
        for place, entry in self.places().items():
            found.setdefault(entry.sha256, (f"{entry.stored}/{place}", entry))
        return dict(found.values())

    @property
    def whole(self) -> bool:
        """True if git has every tensor whole."""
        return all(entry.in_git for entry in self.places().values())

    def identity(self) -> str:
        """Return the digest of the case's inputs and truth, wherever these are stored."""
        truth = [[str(place), entry.sha256] for place, entry in self.places().items()]
        return fingerprint.digest({"inputs": dict(self.inputs), "truth": truth})

    @staticmethod
    def of(
        golden: Golden,
        inputs: Mapping[str, np.ndarray],
        spread: Mapping[str, float],
        whole: bool = False,
        room: int = CASE_IN_GIT,
    ) -> CaseEntry:
        """Return the entry of a recorded case.

        Args:
            golden: The recording.
            inputs: Inputs of the case itself.
            spread: Measured spread of tensors, by their sha256.
            whole: Whether git keeps every tensor whole, however large.
            room: Bytes of whole tensors otherwise.
        """
        entries: dict[str, Entry] = {}
        for digest, array in sorted(recording.arrays(golden).items(), key=lambda item: (item[1].nbytes, item[0])):
            most = array.nbytes if whole else min(room, IN_GIT)
            entries[digest] = Entry.of(array, digest, spread.get(digest, 0.0), most)
            room -= array.nbytes if entries[digest].in_git else 0

        parts = recording.mapped(recording.hashed(golden), entries.__getitem__)
        seams = [SeamEntry(stage=stage, inputs=inputs, outputs=outputs) for stage, inputs, outputs in parts]
        return CaseEntry(inputs=hashes(inputs), seams=tuple(seams))


class Refreshed(Strict):
    """One refresh: its date, its reason, and the cases whose values it changed."""

    date: str
    reason: str
    cases: tuple[str, ...]


class Lock(Strict):
    """The lock of one reference under one set of weights."""

    version: Literal[1] = Field(alias="schema")
    system: Annotated[str, AfterValidator(partial(files.file_name, "system"))]
    packages: Texts
    weights: Texts
    code: Texts
    cases: dict[Annotated[str, AfterValidator(partial(files.file_name, "case"))], CaseEntry]
    history: tuple[Refreshed, ...]

    @property
    def provenance(self) -> Provenance:
        return {"packages": self.packages, "weights": self.weights, "code": self.code}


def provenance(reference: Reference, weights: Weights) -> Provenance:
    """Return the provenance of today, without local labels: `2.13.0+cpu` and `2.13.0` are one release of torch."""
    versions = libraries.versions(*reference.packages)
    code = fingerprint.code(reference.build, reference.record)
    if not versions or not code:
        what = "packages" if code else "code of its own"
        raise ValueError(f"reference {reference.name} has no {what}: then nothing tells when its truth is stale")
    packages = {name: version.split("+")[0] for name, version in sorted(versions.items())}
    return {"packages": packages, "weights": dict(weights.identity), "code": code}


def summary(parts: Sequence[str]) -> str:
    """Return the parts of the provenance that changed, as text."""
    more = len(parts) - _SHOWN
    return "; ".join(parts[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def write(lock: Lock) -> bytes:
    """Return the file's bytes: a tensor to a line, in the order of the data, so that git shows which tensors moved."""
    return (_layout(lock.model_dump(mode="json", by_alias=True, exclude_defaults=True)) + "\n").encode()


def read(path: Path) -> Lock | None:
    """Return the lock, or None where nothing was ever recorded."""
    try:
        data = files.read_plain(path, MAX_BYTES)
        json.loads(data, object_pairs_hook=_unique)  # pydantic takes the last of two equal names in silence
        return Lock.model_validate_json(data)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first, *more = error.errors(include_url=False, include_context=False)
        place = ".".join(map(str, first["loc"])) or "the file"
        fault = f"{place}: {first['msg']}" + (f", and {len(more)} more faults" if more else "")
    except ValueError as error:
        fault = str(error)
    except RecursionError:
        fault = "it is nested too deeply"
    raise DamagedGolden(path, f"can't be read: {fault}", f"git checkout -- {path}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError(f"a name is given twice among {', '.join(name for name, _ in pairs)}")
    return content


def _layout(value: Any, indent: str = "") -> str:
    """Return JSON with flat, short values on one line."""
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


def hashes(inputs: Mapping[str, np.ndarray]) -> dict[str, str]:
    return {name: sha256(np.asarray(array)) for name, array in inputs.items()}


def foreign(entry: Entry, kept: np.ndarray, array: np.ndarray) -> str:
    """Return why a tensor is not the recorded one up to another machine's rounding; nothing if it is.

    The same bits are the same truth. So is a tensor of the same shape and dtype whose sketch is within 1e-3 relative
    L2, or four times the measured spread where that is more, and whose statistics are close. Integers have to be equal.

    Args:
        entry: The recorded tensor, as the lock has it.
        kept: What git has of it: the tensor or its sketch.
        array: The tensor to compare.
    """
    if array.shape != entry.shape or array.dtype.name != entry.dtype:
        was, now = f"{entry.dtype}{list(entry.shape)}", f"{array.dtype.name}{list(array.shape)}"
        return f"is {now} where {was} was recorded"
    if recording.exact(array):
        return "" if sha256(array) == entry.sha256 else "has other whole numbers"
    apart = distance(kept, array if entry.in_git else sketch(array))
    bound = max(RELATIVE_L2, ROOM * entry.spread)
    if not apart.relative_l2 <= bound:
        return f"relative L2 {apart.relative_l2:.3g} > {bound:.3g}"
    return _moved(entry, recording.statistics(array), bound)


def _moved(was: Entry, now: Mapping[str, float], bound: float) -> str:
    """Return the statistic that is farther off than rounding explains, with this bound of the relative L2; or nothing.

    Averages hold where values do not; extremes are single values. Where the spread is so wide that the sketch can't
    tell (a phase that is anyone's after minutes), averages still do.
    """
    average = min(max(RELATIVE_L2, bound / 10), 0.05) * was.rms
    extreme = max(10 * RELATIVE_L2, bound) * max(abs(was.min), abs(was.max))
    allowed = {"min": extreme, "max": extreme, "mean": average, "rms": average, "zeros": ZEROS * was.size}
    for name, most in {**allowed, "nonfinite": 0}.items():
        before, after = getattr(was, name), now[name]
        if not abs(after - before) <= most:
            return f"statistics moved: {name} {before:.6g} → {after:.6g}"
    return ""
