"""The finding of a search: the first value that went its own way, with all that is known of the op that made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from milrun.program import Operation


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first value that diverges.

    Attributes:
        value: Its name in the package.
        operation: The op that made it; None for an input.
        reference: The value as it should be.
        candidate: The value as the package has it.
        nodes: The module's ops that make it out of values that agree.
        source: The line of the module that computes it.
        spelled: The package's ops that make it out of values that agree.
        behind: All ops of the package that it is computed from.
        own: The relative L2 that the op made by itself, on the same operands.
        said: Sentences for the blame.
        traits: Words that hazards are recognized by: palettized, overflow, whole numbers past 2048, same operands, …
    """

    value: str
    operation: Operation | None = None
    reference: Tensor | None = None
    candidate: Tensor | None = None
    nodes: Sequence[str] = ()
    source: str = ""
    spelled: Sequence[str] = ()
    behind: frozenset[str] = frozenset()
    own: float = 0.0
    said: tuple[str, ...] = ()
    traits: frozenset[str] = frozenset()
