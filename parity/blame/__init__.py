"""Where a failed gate's error begins: the first value that diverges, the op, its place in the source, and its kind."""

from parity.blame.artifact import blame_artifact
from parity.blame.module import blame_module, blame_unheard

__all__ = ["blame_artifact", "blame_module", "blame_unheard"]
