"""Kokoro in seven Core ML graphs, cut as laishere/kokoro-coreml ships it: what differs from upstream is what tracing or
Core ML forbids, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parity.declarations import Arrays, Case, Dim, Run, Stage, System, Variant, f32, i32, real
from references.kokoro import REFERENCE, STYLE, source_noise

TOKENS = Dim("tokens", 2, 512)
FRAMES = Dim("frames", 2, 2000)
"""Two tokens, the padding at both ends, last a frame each. Upstream refuses one frame: it normalizes over time."""
HARMONICS = 9
SAMPLES_PER_FRAME = 600
F0_HOP = 300
BINS = 11


class Albert(nn.Module):
    """The text model. Batch 1 has no padding, so the mask that upstream builds from it is all ones."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        bert = upstream.bert
        self.embeddings = bert.embeddings
        self.project = bert.encoder.embedding_hidden_mapping_in
        self.layer = bert.encoder.albert_layer_groups[0].albert_layers[0]
        self.depth = bert.config.num_hidden_layers
        self.heads = bert.config.num_attention_heads

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        masked = (1.0 - attention_mask.float())[:, None, None, :] * -1e4
        x = self.project(self.embeddings(input_ids))
        for _ in range(self.depth):
            x = self._block(x, masked)
        return x

    def _block(self, x: Tensor, masked: Tensor) -> Tensor:
        attention = self.layer.attention
        query, key, value = (self._split(part(x)) for part in (attention.query, attention.key, attention.value))
        scores = query @ key.transpose(-1, -2) * attention.attention_head_size**-0.5 + masked
        context = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        x = attention.LayerNorm(x + attention.dense(context))
        hidden = self.layer.ffn_output(self.layer.activation(self.layer.ffn(x)))
        return self.layer.full_layer_layer_norm(hidden + x)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(1, x.shape[1], self.heads, -1).transpose(1, 2)


class PostAlbert(nn.Module):
    """Durations and the two text encodings. One sequence has no padding: nothing is packed and nothing masked."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.bert_encoder = upstream.bert_encoder
        self.predictor = upstream.predictor
        self.text_encoder = upstream.text_encoder

    def forward(
        self, bert_dur: Tensor, input_ids: Tensor, style_s: Tensor, speed: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        valid = attention_mask.to(bert_dur.dtype)[:, :, None]
        style = style_s[:, None, :].expand(1, bert_dur.shape[1], STYLE)
        d = torch.cat([self.bert_encoder(bert_dur), style], -1) * valid
        for block in self.predictor.text_encoder.lstms:
            if isinstance(block, nn.LSTM):
                d = block(d)[0]
            else:
                d = torch.cat([block(d, style_s), style], -1) * valid
        logits = self.predictor.duration_proj(self.predictor.lstm(d)[0])
        duration = torch.sigmoid(logits).sum(-1) / speed
        return duration, d, self._text(input_ids, valid.transpose(1, 2))

    def _text(self, input_ids: Tensor, valid: Tensor) -> Tensor:
        x = self.text_encoder.embedding(input_ids).transpose(1, 2) * valid
        for layer in self.text_encoder.cnn:
            x = layer(x) * valid
        return self.text_encoder.lstm(x.transpose(1, 2))[0].transpose(1, 2) * valid


class Alignment(nn.Module):
    """Repeats each token's columns for as many frames as it lasts, as a product with a 0/1 matrix of FRAMES' width.

    The frame numbers stay int32: in fp16 they would be exact only up to 2048.
    """

    frame: Tensor

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.register_buffer("frame", torch.arange(FRAMES.high, dtype=torch.int32)[None, None])

    def forward(self, pred_dur: Tensor, d: Tensor, t_en: Tensor) -> tuple[Tensor, Tensor]:
        ends = torch.cumsum(pred_dur, 1).to(torch.int32)
        total = ends[0, -1]
        starts = ends - pred_dur
        inside = (self.frame >= starts[:, :, None]) & (self.frame < ends[:, :, None])
        path = inside[:, :, :total].to(d.dtype)
        return d.transpose(1, 2) @ path, t_en @ path


def styled(block: Any, x: Tensor, style: Tensor) -> Tensor:
    """Upstream's residual block; its own forward takes the root of an integer, which the converter refuses."""
    return (block._residual(x, style) + block._shortcut(x)) * 2**-0.5


def snaked(block: Any, x: Tensor, style: Tensor) -> Tensor:
    """Upstream's residual block with Snake activations. Its own forward has `1 / alpha`, to which the converter adds
    0.0001 below the line; a division by alpha is left as it is."""
    layers = (block.convs1, block.convs2, block.adain1, block.adain2, block.alpha1, block.alpha2)
    for conv1, conv2, norm1, norm2, alpha1, alpha2 in zip(*layers, strict=True):
        y = norm1(x, style)
        y = norm2(conv1(y + torch.sin(alpha1 * y) ** 2 / alpha1), style)
        x = conv2(y + torch.sin(alpha2 * y) ** 2 / alpha2) + x
    return x


class Prosody(nn.Module):
    """Pitch and loudness curves."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.predictor = upstream.predictor

    def forward(self, en: Tensor, style_s: Tensor) -> tuple[Tensor, Tensor]:
        shared = self.predictor.shared(en.transpose(1, 2))[0].transpose(1, 2)
        f0 = n = shared
        for block in self.predictor.F0:
            f0 = styled(block, f0, style_s)
        for block in self.predictor.N:
            n = styled(block, n, style_s)
        return self.predictor.F0_proj(f0)[:, 0], self.predictor.N_proj(n)[:, 0]


def forward_stft(fft: int) -> tuple[Tensor, Tensor]:
    """Hann-windowed DFT kernels, (bins, 1, fft). The imaginary parts of the first and last bin are exactly zero."""
    window = torch.hann_window(fft, periodic=True, dtype=torch.float64)
    angle = 2 * torch.pi * torch.outer(torch.arange(fft // 2 + 1), torch.arange(fft)).remainder(fft).double() / fft
    real_part, imaginary = torch.cos(angle) * window, -torch.sin(angle) * window
    imaginary[0] = imaginary[-1] = 0
    return real_part.float()[:, None], imaginary.float()[:, None]


def angle_of(imaginary: Tensor, real_part: Tensor) -> Tensor:
    """atan2 spelled out: the converter's own gives 0 for (0, negative), where upstream's angle is π."""
    right = torch.where(real_part == 0, torch.full_like(real_part, 1e-30), real_part)
    turn = torch.where(imaginary < 0, torch.full_like(right, -torch.pi), torch.full_like(right, torch.pi))
    return torch.atan(imaginary / right) + torch.where(right < 0, turn, torch.zeros_like(right))


class Noise(nn.Module):
    """The harmonic source. Its phase runs to thousands of turns, so all of it stays in fp32.

    Upstream spreads F0 to the sample rate and samples it again 300 times lower, which gives F0 back: that round trip is
    left out. `x % 1` is written `x - floor(x)`, because the converter turns the former into zeros.
    """

    real_kernel: Tensor
    imaginary_kernel: Tensor
    harmonic: Tensor

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        generator = upstream.decoder.generator
        source = generator.m_source
        self.sines, self.merge = source.l_sin_gen, source.l_linear
        self.noise_convs, self.noise_res = generator.noise_convs, generator.noise_res
        self.fft, self.hop = generator.stft.filter_length, generator.stft.hop_length
        real_kernel, imaginary_kernel = forward_stft(self.fft)
        self.register_buffer("real_kernel", real_kernel)
        self.register_buffer("imaginary_kernel", imaginary_kernel)
        self.register_buffer("harmonic", torch.arange(1, HARMONICS + 1, dtype=torch.float32)[None, :, None])

    def forward(self, F0_curve: Tensor, style_timbre: Tensor, source_noise: Tensor) -> tuple[Tensor, Tensor]:
        return self.sources(
            self.spectrum(torch.tanh(self.merge(self._harmonics(F0_curve, source_noise)))), style_timbre
        )

    def spectrum(self, merged: Tensor) -> Tensor:
        """Return magnitudes and angles of the merged harmonics."""
        x = merged.transpose(1, 2)
        x = F.pad(x, (self.fft // 2, self.fft // 2), mode="reflect")
        real_part = F.conv1d(x, self.real_kernel, stride=self.hop)
        imaginary = F.conv1d(x, self.imaginary_kernel, stride=self.hop)
        return torch.cat([torch.sqrt(real_part**2 + imaginary**2), angle_of(imaginary, real_part)], 1)

    def sources(self, spectrum: Tensor, style_timbre: Tensor) -> tuple[Tensor, Tensor]:
        first, second = (
            snaked(block, conv(spectrum), style_timbre)
            for conv, block in zip(self.noise_convs, self.noise_res, strict=True)
        )
        return first, second

    def _harmonics(self, F0_curve: Tensor, source_noise: Tensor) -> Tensor:
        # A divisor, not a constant: the converter would multiply by its rounded inverse, and what follows turns one
        # unit in the last place of a frame's turns into milliradians.
        rate = torch.full_like(F0_curve[:, None], self.sines.sampling_rate)
        turns = F0_curve[:, None] * self.harmonic / rate
        phase = torch.cumsum(turns - torch.floor(turns), 2) * 2 * torch.pi
        phase = F.interpolate(phase * F0_HOP, scale_factor=float(F0_HOP), mode="linear")
        voiced = F.interpolate((F0_curve[:, None] > self.sines.voiced_threshold).float(), scale_factor=float(F0_HOP))
        voiced = voiced.transpose(1, 2)
        amplitude = voiced * self.sines.noise_std + (1 - voiced) * self.sines.sine_amp / 3
        return torch.sin(phase).transpose(1, 2) * self.sines.sine_amp * voiced + amplitude * source_noise


class NoiseSpectrum(nn.Module):
    """The spectrum within the noise stage, as complex numbers, on upstream's merged harmonics.

    An angle jumps by a turn where the imaginary part of a negative number rounds through zero. One such jump in 16,000
    values moves the sources by as much as a bug would; the complex number behind it does not move.
    """

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.noise = Noise(upstream)

    def forward(self, merged: Tensor) -> tuple[Tensor, Tensor]:
        magnitude, angle = self.noise.spectrum(merged).chunk(2, 1)
        return magnitude * torch.cos(angle), magnitude * torch.sin(angle)


class NoiseSources(nn.Module):
    """The rear of the noise stage, on upstream's magnitudes and angles."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.noise = Noise(upstream)

    def forward(self, spectrum: Tensor, style_timbre: Tensor) -> tuple[Tensor, Tensor]:
        return self.noise.sources(spectrum, style_timbre)


class Vocoder(nn.Module):
    """The decoder up to the last convolution. `anchor` keeps the whole body in one piece on the Neural Engine."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.decoder = upstream.decoder

    def forward(
        self,
        asr: Tensor,
        F0_curve: Tensor,
        N_pred: Tensor,
        x_source_0: Tensor,
        x_source_1: Tensor,
        style_timbre: Tensor,
    ) -> tuple[Tensor, Tensor]:
        f0, n = self.decoder.F0_conv(F0_curve[:, None]), self.decoder.N_conv(N_pred[:, None])
        x = styled(self.decoder.encode, torch.cat([asr, f0, n], 1), style_timbre)
        residual = self.decoder.asr_res(asr)
        for block in self.decoder.decode:
            x = styled(block, torch.cat([x, residual, f0, n], 1), style_timbre)
        anchor = x.mean((1, 2), keepdim=True).reshape(1)
        return anchor, self._generate(x, (x_source_0, x_source_1), style_timbre)

    def _generate(self, x: Tensor, sources: tuple[Tensor, Tensor], style: Tensor) -> Tensor:
        generator = self.decoder.generator
        for i, (up, source) in enumerate(zip(generator.ups, sources, strict=True)):
            x = up(F.leaky_relu(x, 0.1))
            if i == generator.num_upsamples - 1:
                x = generator.reflection_pad(x)
            x = x + source
            blocks = generator.resblocks[i * generator.num_kernels : (i + 1) * generator.num_kernels]
            x = sum((snaked(block, x, style) for block in blocks[1:]), snaked(blocks[0], x, style))
            x = x / generator.num_kernels
        return F.leaky_relu(x)


class Tail(nn.Module):
    """conv_post, exp, sin and the inverse STFT as transposed convolutions: Core ML has no complex numbers.

    Overlapping windows add up to 1.5, and to less at both ends, so their sum is computed and divided away.
    """

    real_kernel: Tensor
    imaginary_kernel: Tensor
    window_power: Tensor

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        generator = upstream.decoder.generator
        self.conv_post = generator.conv_post
        self.fft, self.hop = generator.stft.filter_length, generator.stft.hop_length
        self.bins = self.fft // 2 + 1
        real_kernel, imaginary_kernel = forward_stft(self.fft)
        doubled = torch.full((self.bins, 1, 1), 2.0 / self.fft)
        doubled[0] = doubled[-1] = 1.0 / self.fft
        self.register_buffer("real_kernel", real_kernel * doubled)
        self.register_buffer("imaginary_kernel", imaginary_kernel * doubled)
        self.register_buffer("window_power", torch.hann_window(self.fft)[None, None] ** 2)

    def forward(self, x_pre: Tensor) -> Tensor:
        x = self.conv_post(x_pre)
        magnitude, phase = torch.exp(x[:, : self.bins]), torch.sin(x[:, self.bins :])
        audio = F.conv_transpose1d(magnitude * torch.cos(phase), self.real_kernel, stride=self.hop)
        audio = audio + F.conv_transpose1d(magnitude * torch.sin(phase), self.imaginary_kernel, stride=self.hop)
        overlap = F.conv_transpose1d(torch.ones_like(x[:, :1]), self.window_power, stride=self.hop)
        edge = self.fft // 2
        return (audio[:, :, edge:-edge] / overlap[:, :, edge:-edge]).reshape(-1)


def lasting(inputs: Arrays, sizes: Mapping[str, int]) -> Arrays:
    """Durations that add up to the frames."""
    ends = np.linspace(0, sizes["frames"], sizes["tokens"] + 1).round().astype(np.int32)
    return {"pred_dur": np.diff(ends)[None]}


NO_PADDING = {"attention_mask": "the app runs one passage at a time, so that nothing is padded and all are ones"}
ONE_VOICE = "seeded weights have one voice; trained ones take another row of theirs for each length of a passage"
SPEED = "every passage is recorded at speed 1; other speeds are only compared with the module"
FP32 = Variant("fp32", "float32")
FP16 = Variant("fp16", "float16")
FP16_PAL8 = Variant("fp16-pal8", "float16", palettize=8, ships=True)
TRACE_AT = {"tokens": 16, "frames": 40}
NOISE_VARIANTS = (FP32, Variant("fp32-pal8", "float32", palettize=8, ships=True))
SOURCES = {"x_source_0": f32(1, 256, 20 * FRAMES), "x_source_1": f32(1, 128, 120 * FRAMES + 1)}

STAGES = (
    Stage(
        "albert",
        Albert,
        inputs={"input_ids": i32(1, TOKENS), "attention_mask": i32(1, TOKENS)},
        outputs={"bert_dur": real(1, TOKENS, 768)},
        variants=(FP32, FP16, FP16_PAL8),
        trace_at=TRACE_AT,
        compute_units="CPU_AND_NE",
        fixed=NO_PADDING,
    ),
    Stage(
        "post_albert",
        PostAlbert,
        inputs={
            "bert_dur": real(1, TOKENS, 768),
            "input_ids": i32(1, TOKENS),
            "style_s": real(1, STYLE),
            "speed": real(1),
            "attention_mask": i32(1, TOKENS),
        },
        outputs={
            "duration": real(1, TOKENS, kind="durations"),
            "d": real(1, TOKENS, 640),
            "t_en": real(1, 512, TOKENS),
        },
        variants=(FP32, FP16, FP16_PAL8),
        trace_at=TRACE_AT,
        compute_units="CPU_AND_NE",
        fixed={**NO_PADDING, "style_s": ONE_VOICE, "speed": SPEED},
    ),
    Stage(
        "alignment",
        Alignment,
        inputs={"pred_dur": i32(1, TOKENS, kind="durations"), "d": real(1, TOKENS, 640), "t_en": real(1, 512, TOKENS)},
        outputs={"en": real(1, 640, FRAMES), "asr": real(1, 512, FRAMES)},
        variants=(FP32, Variant("fp16", "float16", ships=True)),
        trace_at=TRACE_AT,
        compute_units="CPU_AND_NE",
        resize=lasting,
    ),
    Stage(
        "prosody",
        Prosody,
        inputs={"en": real(1, 640, FRAMES), "style_s": real(1, STYLE)},
        outputs={"F0": real(1, 2 * FRAMES, kind="pitch"), "N": real(1, 2 * FRAMES)},
        variants=(FP32, FP16, FP16_PAL8),
        trace_at=TRACE_AT,
        compute_units="CPU_AND_NE",
        fixed={"style_s": ONE_VOICE},
    ),
    Stage(
        "noise",
        Noise,
        inputs={
            "F0_curve": f32(1, 2 * FRAMES),
            "style_timbre": f32(1, STYLE),
            "source_noise": f32(1, SAMPLES_PER_FRAME * FRAMES, HARMONICS),
        },
        outputs=SOURCES,
        variants=NOISE_VARIANTS,
        trace_at=TRACE_AT,
        fixed={"style_timbre": ONE_VOICE},
    ),
    Stage(
        "vocoder",
        Vocoder,
        inputs={
            "asr": real(1, 512, FRAMES),
            "F0_curve": real(1, 2 * FRAMES),
            "N_pred": real(1, 2 * FRAMES),
            "x_source_0": real(1, 256, 20 * FRAMES),
            "x_source_1": real(1, 128, 120 * FRAMES + 1),
            "style_timbre": real(1, STYLE),
        },
        outputs={"anchor": real(1), "x_pre": real(1, 128, 120 * FRAMES + 1)},
        variants=(FP32, FP16, FP16_PAL8),
        trace_at=TRACE_AT,
        compute_units="CPU_AND_NE",
        fixed={"style_timbre": ONE_VOICE},
    ),
    Stage(
        "tail",
        Tail,
        inputs={"x_pre": f32(1, 128, 120 * FRAMES + 1)},
        outputs={"audio": f32(SAMPLES_PER_FRAME * FRAMES, kind="audio")},
        variants=(Variant("fp32", "float32", ships=True),),
        trace_at=TRACE_AT,
    ),
)

INNER = (
    Stage(
        "noise_spectrum",
        NoiseSpectrum,
        inputs={"merged": f32(1, SAMPLES_PER_FRAME * FRAMES, 1)},
        outputs={"real_part": f32(1, BINS, 120 * FRAMES + 1), "imaginary": f32(1, BINS, 120 * FRAMES + 1)},
        variants=(Variant("fp32", "float32", ships=True),),
        trace_at=TRACE_AT,
        within="noise",
    ),
    Stage(
        "noise_sources",
        NoiseSources,
        inputs={"spectrum": f32(1, 2 * BINS, 120 * FRAMES + 1), "style_timbre": f32(1, STYLE)},
        outputs=SOURCES,
        variants=NOISE_VARIANTS,
        trace_at=TRACE_AT,
        within="noise",
    ),
)


def speak(run: Run, case: Case) -> None:
    """The host glue, as the app does it: durations are rounded half to even, and half-precision values are widened."""
    ids = case.inputs["input_ids"]
    mask = np.ones_like(ids)
    timbre, style_s = case.inputs["ref_s"][:, :STYLE], case.inputs["ref_s"][:, STYLE:]
    text = {"input_ids": ids, "attention_mask": mask}
    bert_dur = run("albert", text)["bert_dur"]
    post = run("post_albert", {**text, "bert_dur": bert_dur, "style_s": style_s, "speed": case.inputs["speed"]})
    durations = np.maximum(np.rint(post["duration"].astype(np.float32)), 1).astype(np.int32)
    pred_dur = run.decide("alignment", "pred_dur", durations)
    aligned = run("alignment", {"pred_dur": pred_dur, "d": post["d"], "t_en": post["t_en"]})
    curves = run("prosody", {"en": aligned["en"], "style_s": style_s})
    noise = source_noise(case, 1, SAMPLES_PER_FRAME * int(pred_dur.sum()), HARMONICS)
    sources = run("noise", {"F0_curve": curves["F0"], "style_timbre": timbre, "source_noise": noise})
    body = {"asr": aligned["asr"], "F0_curve": curves["F0"], "N_pred": curves["N"], "style_timbre": timbre, **sources}
    run("tail", {"x_pre": run("vocoder", body)["x_pre"]})


SYSTEM = System(REFERENCE, STAGES, speak, inner=INNER)
