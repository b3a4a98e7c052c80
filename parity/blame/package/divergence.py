"""Result of a search: the first value that diverges, with all that is known of its op."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from milrun.program import Operation


@dataclass(frozen=True)
class Divergence:
    """`reference` and `candidate` are the value as it should be and as the package has it.

    `nodes` are the module's ops that make it out of values that agree, `spelled` the package's for the same, and
    `behind` all ops of the package that it is computed from.
    """

    value: str
    operation: Operation | None
    reference: Tensor | None
    candidate: Tensor | None
    nodes: Sequence[str] = ()
    source: str = ""
    spelled: Sequence[str] = ()
    behind: frozenset[str] = frozenset()
    own: float = 0.0
    """The relative L2 that the op made by itself, on the same operands."""
    said: tuple[str, ...] = ()
    traits: frozenset[str] = frozenset()
    """Words that hazards are recognized by: palettized, overflow, whole numbers past 2048, same operands, …"""
