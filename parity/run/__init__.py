"""What executes an artifact: milrun anywhere, Core ML where there is Core ML, behind one small protocol."""

from __future__ import annotations

from parity.run.runtime import Runtime, RuntimeFailure, Session, State, runtime

__all__ = ["Runtime", "RuntimeFailure", "Session", "State", "runtime"]
