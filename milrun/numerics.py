"""Numerics: the precision in which an op gets its operands, and the rounding of its result.

``fp32``      everything in fp32, whatever the package declares.
``declared``  every op computes in fp32 and rounds once, to the type that the package declares for its result.
``ane``       ``declared`` plus the hazards of ``milrun.hazards``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from milrun import dtypes
from milrun.dtypes import DType
from milrun.hazards import Rule, select

NAMES = ("fp32", "declared", "ane")

EXACT = frozenset(
    """
    abs argsort band_part batch_to_space cast ceil concat crop depth_to_space equal expand_dims fill fill_like
    flatten2d floor gather gather_along_axis gather_nd greater greater_equal identity less less_equal list_gather
    list_length list_read list_scatter list_write logical_and logical_not logical_or logical_xor make_list maximum
    minimum non_zero not_equal one_hot pad pixel_shuffle pixel_unshuffle reduce_argmax reduce_argmin reduce_max
    reduce_min relu reshape reshape_like reverse reverse_sequence round select shape sign slice_by_index
    slice_by_size slice_update sliding_windows space_to_batch space_to_depth split squeeze stack tile topk
    transpose
    """.split()
)
"""Ops whose results are their operands, or are exact in any precision: they work on values as they are stored."""

ROUND_ONCE = frozenset(
    """
    acos add asin atan atanh clip cos cosh elu exp exp2 leaky_relu log mul real_div reduce_mean relu6 sigmoid silu sinh
    softplus square sub tan tanh threshold
    """.split()
)
"""Ops that torch's fp16 kernels compute in fp32 and round once, as ``declared`` wants (the tests try every value)."""


@dataclass(frozen=True)
class Numerics:
    """One way to compute; ``rules`` are the hazards in force."""

    name: str
    rules: tuple[Rule, ...] = ()

    def storage(self, dtype: DType) -> torch.dtype:
        """Return the torch dtype that holds values declared as this type."""
        if self.name == "fp32" and dtype in (dtypes.FP16, dtypes.BF16):
            return torch.float32
        return dtype.storage

    def works_as_stored(self, op_type: str) -> bool:
        """Return whether an op takes its operands as they are stored; others get them widened to fp32."""
        return op_type in EXACT or op_type in ROUND_ONCE


def choose(name: str, rules: list[str] | None = None) -> Numerics:
    """Return the numerics of this name; for ``ane`` with the hazard rules named, or all of them."""
    if name not in NAMES:
        raise ValueError(f"unknown numerics {name!r}, one of {', '.join(NAMES)}")
    if rules is not None and name != "ane":
        raise ValueError(f"hazard rules belong to numerics 'ane', not to {name!r}")
    return Numerics(name, select(rules) if name == "ane" else ())
