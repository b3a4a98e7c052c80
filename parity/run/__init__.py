"""Runtimes that execute an artifact, milrun anywhere and Core ML on macOS, behind one small protocol."""

from __future__ import annotations

from typing import Literal

from parity.run import coreml
from parity.run.runtime import Runtime, RuntimeFailure, Session, State

__all__ = ["Runtime", "RuntimeFailure", "Session", "State", "runtime"]


def runtime(name: Literal["auto", "coreml", "milrun"], numerics: str = "declared", trusted: bool = True) -> Runtime:
    """Return the runtime of a name.

    Args:
        name: `auto` is Core ML where it can predict, and milrun elsewhere. Asking for `coreml` where it cannot predict
            raises a ValueError: milrun never stands in for it unasked.
        numerics: How milrun computes. Core ML only takes `declared`.
        trusted: Whether the harness made the packages itself. milrun bounds the work of others.
    """
    if name == "auto":
        name = "milrun" if coreml.unavailable() else "coreml"
    if name == "milrun":
        # Imports torch, which the child processes of this package do without.
        from parity.run.milrun import WORK_OF_STRANGERS, Milrun

        return Milrun(numerics, None if trusted else WORK_OF_STRANGERS)
    if name != "coreml":
        raise ValueError(f"unknown runtime {name!r}; choose auto, coreml or milrun")
    if why := coreml.unavailable():
        raise ValueError(why)
    if numerics != "declared":
        raise ValueError(
            f"numerics {numerics!r} are for milrun, and Core ML computes as the package declares: "
            "use --runtime milrun, or leave --numerics at declared"
        )
    return coreml.CoreML()
