"""Errors of recorded truth."""

# ruff: noqa: N818 (StaleGolden says what it is)

from __future__ import annotations


class GoldenError(Exception):
    """Recorded truth that can't be used or written: the place, what is wrong there, and the mend."""

    def __init__(self, where: object, why: str, mend: str) -> None:
        super().__init__(f"{where}: {why}. Mend: {mend}")
        self.why = why
        self.mend = mend


class MissingGolden(GoldenError):
    """Nothing was recorded for a case."""


class StaleGolden(GoldenError):
    """Golden whose origin no longer matches the code, packages, weights or inputs."""


class DamagedGolden(GoldenError):
    """A recorded file is not what the lock says it is."""


class UnusableRecording(GoldenError):
    """The reference gave what can't serve as truth."""


class NotTheSameTruth(GoldenError):
    """Recorded again, the reference gave something else."""


class ExtraWanted(GoldenError):
    """Reference whose extra is not installed here."""


class RefreshRefused(GoldenError):
    """A refresh that would bless what nobody looked at, or can't be written."""
