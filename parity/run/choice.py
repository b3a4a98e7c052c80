"""The choice of a runtime: Core ML where it can predict, milrun anywhere, ExecuTorch for its own programs."""

from __future__ import annotations

from typing import Literal

from milrun.guard import WORK_OF_STRANGERS
from parity.run import coreml, executorch
from parity.run.milrun import Milrun
from parity.run.runtime import Runtime

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
        return Milrun(numerics, None if trusted else WORK_OF_STRANGERS)
    if name not in ("coreml", "executorch"):
        raise ValueError(f"unknown runtime {name!r}; choose auto, coreml, milrun or executorch")
    if why := (coreml if name == "coreml" else executorch).unavailable():
        raise ValueError(why)
    if numerics != "declared":
        said = "Core ML computes as the package" if name == "coreml" else "ExecuTorch computes as the program"
        raise ValueError(
            f"numerics {numerics!r} are for milrun, and {said} declares: use --runtime milrun, or leave --numerics at "
            "declared"
        )
    return coreml.CoreML() if name == "coreml" else executorch.ExecuTorch()
