"""The decoder of the codes: codebooks, a transformer of windowed attention, and convolutions up to samples."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.qwen3_tts.attention import FORBIDDEN, Gated, Norm, Rotary, merged
from references.qwen3_tts.sizes import CODES


class Conv(nn.Module):
    """A causal convolution of stride 1. Upstream computes its padding by floating-point division, which no graph can
    hold for a dynamic size; at stride 1 it is fixed."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.conv, self.padding = upstream.conv, upstream.padding

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x, (self.padding, 0)) if self.padding else x)
        return y


class Transposed(nn.Module):
    """A transposed convolution without the samples behind its last input."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.conv, self.cut = upstream.conv, upstream.right_pad

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y[..., : -self.cut] if self.cut else y


class Snake(nn.Module):
    """Upstream's activation, x + sin²(αx) / β. It keeps both parameters as logarithms; here they are what they mean."""

    alpha: Tensor
    scale: Tensor

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.register_buffer("alpha", upstream.alpha.detach().exp()[None, :, None])
        self.register_buffer("scale", 1 / (upstream.beta.detach().exp() + upstream.no_div_by_zero)[None, :, None])

    def forward(self, x: Tensor) -> Tensor:
        wave = torch.sin(x * self.alpha)
        return x + self.scale * (wave * wave)


class ConvNeXt(nn.Module):
    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.upstream, self.dwconv = upstream, Conv(upstream.dwconv)

    def forward(self, x: Tensor) -> Tensor:
        y = self.upstream.norm(self.dwconv(x).transpose(1, 2))
        y = self.upstream.pwconv2(F.gelu(self.upstream.pwconv1(y)))
        return x + (self.upstream.gamma * y).transpose(1, 2)


class Residual(nn.Module):
    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Snake(upstream.act1), Conv(upstream.conv1), Snake(upstream.act2), Conv(upstream.conv2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def counterpart(layer: Any) -> nn.Module:
    """Return our counterpart of one of upstream's layers."""
    if hasattr(layer, "block"):
        return nn.Sequential(*map(counterpart, layer.block))
    return next(ours(layer) for attribute, ours in COUNTERPARTS.items() if hasattr(layer, attribute))


COUNTERPARTS: dict[str, type[nn.Module]] = {
    "right_pad": Transposed,
    "dwconv": ConvNeXt,
    "act1": Residual,
    "conv": Conv,
    "alpha": Snake,
}
"""Our counterpart of a layer that has an attribute; the first that fits counts."""


class WindowedLayer(nn.Module):
    """One layer of the transformer: each frame sees those of a window that ends with it."""

    def __init__(self, upstream: Any, rotary: Rotary) -> None:
        super().__init__()
        attention = upstream.self_attn
        self.inputs = merged(attention.q_proj, attention.k_proj, attention.v_proj)
        self.output, self.mlp, self.rotary = attention.o_proj, Gated(upstream.mlp), rotary
        self.before, self.between = Norm(upstream.input_layernorm), Norm(upstream.post_attention_layernorm)
        self.attended, self.passed = upstream.self_attn_layer_scale, upstream.mlp_layer_scale
        self.size = attention.head_dim
        self.heads = attention.q_proj.out_features // self.size

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor], hidden: Tensor) -> Tensor:
        x = x + self.attended(self.attend(self.before(x), angles, hidden))
        return x + self.passed(self.mlp(self.between(x)))

    def attend(self, x: Tensor, angles: tuple[Tensor, Tensor], hidden: Tensor) -> Tensor:
        heads = self.inputs(x).reshape(1, -1, 3 * self.heads, self.size)
        both, value = heads[:, :, : 2 * self.heads], heads[:, :, 2 * self.heads :]
        both = self.rotary.turned(both, angles).transpose(1, 2).reshape(2 * self.heads, -1, self.size)
        query, key = both[: self.heads], both[self.heads :]
        value = value.transpose(1, 2).reshape(self.heads, -1, self.size)
        scores = torch.bmm(query, key.transpose(1, 2)) * self.size**-0.5 + hidden
        found = torch.bmm(scores.softmax(-1), value).reshape(1, self.heads, -1, self.size).transpose(1, 2)
        output: Tensor = self.output(found.reshape(1, -1, self.heads * self.size))
        return output


class Decoder(nn.Module):
    """From codes, (1, frames, 16), to their samples."""

    positions: Tensor
    offsets: Tensor

    def __init__(self, upstream: Any, frames: int) -> None:
        super().__init__()
        decoder = upstream.decoder
        first, rest = decoder.quantizer.rvq_first, decoder.quantizer.rvq_rest
        books = [layer._codebook for part in (first, rest) for layer in part.vq.layers]
        rows = [book.embedding_sum / book.cluster_usage.clamp(min=book.epsilon)[:, None] for book in books]
        self.table = nn.Embedding.from_pretrained(torch.cat(rows).detach())  # type: ignore[no-untyped-call]
        self.first, self.rest = first.output_proj, rest.output_proj
        self.pre_conv, self.window = Conv(decoder.pre_conv), decoder.pre_transformer.window_size
        transformer = decoder.pre_transformer
        self.input_proj, self.output_proj = transformer.input_proj, transformer.output_proj
        self.norm = Norm(transformer.norm)
        self.rotary = Rotary(transformer.rotary_emb, frames)
        self.layers = nn.ModuleList(WindowedLayer(layer, self.rotary) for layer in transformer.layers)
        self.register_buffer("positions", torch.arange(frames, dtype=torch.int32))
        self.register_buffer("offsets", torch.arange(len(books), dtype=torch.int32) * CODES)
        upsampling = [counterpart(layer) for pair in decoder.upsample for layer in pair]
        self.convolutions = nn.Sequential(*upsampling, *map(counterpart, decoder.decoder))

    def forward(self, codes: Tensor) -> Tensor:
        x = self.transformed(self.pre_conv(self.quantized(codes)).transpose(1, 2))
        return self.convolutions(x.transpose(1, 2)).clamp(-1, 1).reshape(-1)

    def quantized(self, codes: Tensor) -> Tensor:
        rows = self.table(codes + self.offsets)
        parts = rows[:, :, 0], rows[:, :, 1:].sum(2)
        first, rest = (part.transpose(1, 2) for part in parts)
        total: Tensor = self.first(first) + self.rest(rest)
        return total

    def transformed(self, x: Tensor) -> Tensor:
        positions = self.positions[: x.shape[1]]
        behind = positions[:, None] - positions
        hidden = (~((behind >= 0) & (behind < self.window))).float() * FORBIDDEN
        angles = self.rotary.cosine[: x.shape[1]], self.rotary.sine[: x.shape[1]]
        x = self.input_proj(x)
        for layer in self.layers:
            x = layer(x, angles, hidden)
        found: Tensor = self.output_proj(self.norm(x))
        return found
