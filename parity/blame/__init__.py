"""Blame for a failed gate: the first value that diverges, its op, its place in the source, and its kind."""

from parity.blame.module.search import blame_module, blame_unheard
from parity.blame.package.search import blame_artifact

__all__ = ["blame_artifact", "blame_module", "blame_unheard"]
