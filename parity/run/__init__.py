"""Runtimes that execute an artifact, milrun anywhere and Core ML on macOS, behind one small protocol."""

from __future__ import annotations

from parity.run.choose import runtime
from parity.run.runtime import Runtime, RuntimeFailure, Session, State

__all__ = ["Runtime", "RuntimeFailure", "Session", "State", "runtime"]
