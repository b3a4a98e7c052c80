"""Runtimes that execute an artifact behind one small protocol: milrun anywhere, Core ML on macOS, ExecuTorch."""

from __future__ import annotations

from typing import Literal

from parity.run import coreml, executorch
from parity.run.runtime import Runtime, RuntimeFailure, Session, State

__all__ = ["Name", "Runtime", "RuntimeFailure", "Session", "State", "runtime"]

Name = Literal["auto", "coreml", "milrun", "executorch"]


def runtime(name: Name, numerics: str = "declared", trusted: bool = True) -> Runtime:
    """Return the runtime of a name.

    Args:
        name: `auto` is Core ML where it can predict, and milrun elsewhere. Asking for `coreml` or `executorch` where it
            cannot run raises a ValueError: nothing stands in for it unasked.
        numerics: How milrun computes. The others only take `declared`.
        trusted: Whether the harness made the packages itself. milrun bounds the work of others.
    """
    if name == "auto":
        name = "milrun" if coreml.unavailable() else "coreml"
    if name == "milrun":
        # Imports torch, which the child processes of this package do without.
        from parity.run.milrun import WORK_OF_STRANGERS, Milrun

        return Milrun(numerics, None if trusted else WORK_OF_STRANGERS)
    if name == "executorch":
        if why := executorch.unavailable():
            raise ValueError(why)
        _as_declared("ExecuTorch", "program", numerics)
        return executorch.ExecuTorch()
    if name != "coreml":
        raise ValueError(f"unknown runtime {name!r}; choose auto, coreml, milrun or executorch")
    if why := coreml.unavailable():
        raise ValueError(why)
    _as_declared("Core ML", "package", numerics)
    return coreml.CoreML()


def _as_declared(runtime: str, artifact: str, numerics: str) -> None:
    if numerics != "declared":
        raise ValueError(
            f"numerics {numerics!r} are for milrun, and {runtime} computes as the {artifact} declares: "
            "use --runtime milrun, or leave --numerics at declared"
        )
