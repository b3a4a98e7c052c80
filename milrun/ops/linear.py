"""Matrix products, and the attention built from them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from milrun.blob import forget
from milrun.registry import op, prepare

_PACKING_PAYS_FROM = 2**18
"""Elements of a weight matrix, below which the packed product's fixed cost outweighs what it saves."""
_PACKING_PAYS_ROWS = 4
"""Rows of the other operand, below which the plain product is faster."""


def _promoted(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return two operands in one type: from iOS17 on, a constant may have another type than the tensor it meets."""
    if x.dtype == y.dtype:
        return x, y
    dtype = torch.promote_types(x.dtype, y.dtype)
    return x.to(dtype), y.to(dtype)


def _packed(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor] | None:
    """Return ``x * weight.T + bias`` as a kernel whose weight is laid out in advance for oneDNN."""
    if weight.dtype != torch.float32 or weight.numel() < _PACKING_PAYS_FROM:
        return None
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    multiply, pack = torch.ops.mkldnn._linear_pointwise, torch.ops.mkldnn._reorder_linear_weight
    plain: Tensor | None = weight
    packed: Tensor | None = None

    def product(x: Tensor) -> Tensor:
        nonlocal plain, packed
        if plain is not None:
            if x.numel() < _PACKING_PAYS_ROWS * x.shape[-1]:
                return F.linear(x, plain, bias)
            # At the first use that gains by it, and in place of the plain weight: a model keeps one form of each.
            packed = pack(plain.contiguous(), None)
            forget(plain)
            plain = None
        out: Tensor = multiply(x, packed, bias, "none", [], "")
        return out

    return product


@op("linear")
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x, weight = _promoted(x, weight)
    return F.linear(x, weight, None if bias is None else bias.to(x.dtype))


@prepare("linear")
def prepare_linear(weight: Tensor, bias: Tensor | None = None) -> Callable[..., Tensor] | None:
    if bias is not None and not bias.any():
        # The specification's linear has a bias always: to add zeros is a second pass over the result for nothing.
        bias = None
    if weight.dtype != torch.float32 or (bias is not None and bias.dtype != torch.float32):
        return None
    return _packed(weight, bias) or (lambda x: F.linear(x, weight, bias))


@op("matmul")
def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    if transpose_x and x.dim() > 1:
        x = x.mT
    if transpose_y and y.dim() > 1:
        y = y.mT
    if x.dtype is not y.dtype:
        x, y = _promoted(x, y)
    if x.dim() == 2 and y.dim() > 2:
        # One matrix for all of a batch, as of mel filters: torch would copy it for each.
        return F.linear(y.mT, x).mT
    return torch.matmul(x, y)


@prepare("matmul")
def prepare_matmul(y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Callable[..., Tensor] | None:
    """Treat the product with a constant matrix as a linear layer."""
    if y.dim() != 2:
        return None
    product = _packed(y if transpose_y else y.mT, None)
    if product is None:
        return None

    def kernel(x: Tensor) -> Tensor:
        return product(x.mT if transpose_x and x.dim() > 1 else x)

    return kernel


@prepare("matmul")
def prepare_matmul_in_front(
    x: Tensor, transpose_x: bool = False, transpose_y: bool = False
) -> Callable[..., Tensor] | None:
    """Lay out a constant matrix that comes first, as of mel filters, in the order in which the product reads it."""
    if x.dim() != 2 or x.dtype != torch.float32:
        return None
    matrix = (x if transpose_x else x.mT).contiguous()
    forget(x)

    def kernel(y: Tensor) -> Tensor:
        if y.dim() < 2 or y.dtype is not matrix.dtype:
            return matmul(matrix, y, True, transpose_y)
        return torch.matmul(y if transpose_y else y.mT, matrix).mT

    return kernel


@op("einsum")
def einsum(values: list[Tensor], equation: str) -> Tensor:
    return torch.einsum(equation, values)


@op("scaled_dot_product_attention", since="iOS18")
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    if attn_mask is None:
        return _attention(query, key, value, None)
    # Where all of a row is masked, torch's kernels give zeros, and the formula of the specification gives NaN.
    taken = attn_mask if attn_mask.dtype is torch.bool else attn_mask != -torch.inf
    is_empty = ~taken.any(-1, keepdim=True)
    if attn_mask.dtype not in (torch.bool, query.dtype):
        attn_mask = attn_mask.to(query.dtype)
    # Torch has its fast kernel for four axes, in the operands and in the mask.
    y = _attention(query, key, value, attn_mask[(None,) * (4 - attn_mask.dim())])
    return y.masked_fill(is_empty, torch.nan) if key.shape[-2] and bool(is_empty.any()) else y


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    if query.dim() == 3:
        return F.scaled_dot_product_attention(query[None], key[None], value[None], mask)[0]
    return F.scaled_dot_product_attention(query, key, value, mask)
