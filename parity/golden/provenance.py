"""Provenance of a golden: the versions of the reference's packages, its weights, its code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from parity.base import fingerprint
from parity.declarations import Reference
from parity.plan.weights import Weights

_SHOWN = 5


@dataclass(frozen=True)
class Provenance:
    packages: Mapping[str, str]
    weights: Mapping[str, str]
    code: Mapping[str, str]

    def digest(self) -> str:
        return fingerprint.digest(asdict(self))


def current(reference: Reference, weights: Weights) -> Provenance:
    """Return the provenance of today, without local labels: `2.13.0+cpu` and `2.13.0` are one release of torch."""
    versions = fingerprint.libraries(*reference.packages)
    code = fingerprint.code(reference.build, reference.record)
    if not versions or not code:
        what = "packages" if code else "code of its own"
        raise ValueError(f"reference {reference.name} has no {what}: then nothing tells when its truth is stale")
    packages = {name: version.split("+")[0] for name, version in sorted(versions.items())}
    return Provenance(packages, dict(weights.identity), code)


def changes(recorded: Provenance, now: Provenance) -> list[str]:
    """Return a line for each part that differs."""
    return fingerprint.changed(asdict(recorded), asdict(now))


def summary(parts: Sequence[str]) -> str:
    more = len(parts) - _SHOWN
    return "; ".join(parts[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
