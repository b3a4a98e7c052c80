"""A run of upstream's model on a case, tapped at the seams where the port cuts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from parity.declarations import Case, Seam
from references import seeding
from references.kokoro.cases import STYLE


class FedNoise(TorchFunctionMode):
    """Gives the upstream's random draws the case's own numbers, and remembers them by the order of drawing."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        self.drawn: list[torch.Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.rand:
            return self._draw(initial_phase(self.case, *args))
        if func is torch.randn_like:
            return self._draw(source_noise(self.case, *args[0].shape, draw=len(self.drawn)))
        return func(*args, **(kwargs or {}))

    def _draw(self, values: np.ndarray) -> torch.Tensor:
        self.drawn.append(torch.from_numpy(values))
        return self.drawn[-1].clone()


def initial_phase(case: Case, *shape: int) -> np.ndarray:
    return np.float32(0.5) + np.float32(0.5) * seeding.uniform(f"kokoro/{case.name}/phase", *shape)


def source_noise(case: Case, *shape: int, draw: int = 1) -> np.ndarray:
    return seeding.normal(f"kokoro/{case.name}/noise{draw}", *shape)


class Taps:
    """Copies of what modules were given and gave, under the names of the taps."""

    def __init__(self) -> None:
        self.values: dict[str, torch.Tensor] = {}
        self._stack = ExitStack()

    def input(self, name: str, module: torch.nn.Module, position: int = 0) -> None:
        def hook(_: Any, args: tuple[torch.Tensor, ...]) -> None:
            self.values[name] = args[position].clone()

        self._stack.callback(module.register_forward_pre_hook(hook).remove)

    def output(self, name: str, module: torch.nn.Module) -> None:
        def hook(_: Any, args: Any, output: torch.Tensor) -> None:
            self.values[name] = output.clone()

        self._stack.callback(module.register_forward_hook(hook).remove)

    def __enter__(self) -> Taps:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name].detach().numpy()


def record(model: Any, case: Case) -> Iterator[Seam]:
    ids = torch.from_numpy(case.inputs["input_ids"]).long()
    style = torch.from_numpy(case.inputs["ref_s"])
    speed = float(case.inputs["speed"][0])
    predictor, decoder = model.predictor, model.decoder
    generator = decoder.generator
    with Taps() as tap, FedNoise(case) as noise:
        tap.output("bert_dur", model.bert)
        tap.output("d", predictor.text_encoder)
        tap.output("duration_logits", predictor.duration_proj)
        tap.output("t_en", model.text_encoder)
        tap.input("en", predictor.shared)
        for position, name in enumerate(("asr", "F0", "N")):
            tap.input(name, decoder, position)
        tap.output("body", decoder.decode[-1])
        tap.output("merged", generator.m_source.l_tanh)
        tap.input("spectrum", generator.noise_convs[0])
        for i, block in enumerate(generator.noise_res):
            tap.output(f"x_source_{i}", block)
        tap.input("x_pre", generator.conv_post)
        audio, durations = model.forward_with_tokens(ids, style, speed)

    duration = torch.sigmoid(tap.values["duration_logits"]).sum(-1) / speed
    timbre, style_s = style[:, :STYLE].numpy(), style[:, STYLE:].numpy()
    input_ids = case.inputs["input_ids"]
    mask = np.ones_like(input_ids)
    en = np.ascontiguousarray(tap["en"].swapaxes(1, 2))
    sources = {name: tap[name] for name in ("x_source_0", "x_source_1")}

    yield Seam("albert", {"input_ids": input_ids, "attention_mask": mask}, {"bert_dur": tap["bert_dur"]})
    yield Seam(
        "post_albert",
        {
            "bert_dur": tap["bert_dur"],
            "input_ids": input_ids,
            "style_s": style_s,
            "speed": case.inputs["speed"],
            "attention_mask": mask,
        },
        {"duration": duration.numpy(), "d": tap["d"], "t_en": tap["t_en"]},
    )
    yield Seam(
        "alignment",
        {"pred_dur": durations.numpy().astype(np.int32)[None], "d": tap["d"], "t_en": tap["t_en"]},
        {"en": en, "asr": tap["asr"]},
    )
    yield Seam("prosody", {"en": en, "style_s": style_s}, {"F0": tap["F0"], "N": tap["N"]})
    yield Seam(
        "noise",
        {"F0_curve": tap["F0"], "style_timbre": timbre, "source_noise": noise.drawn[1].numpy()},
        sources,
    )
    magnitude, angle = tap.values["spectrum"].double().chunk(2, 1)
    parts = {"real_part": magnitude * torch.cos(angle), "imaginary": magnitude * torch.sin(angle)}
    yield Seam(
        "noise_spectrum", {"merged": tap["merged"]}, {name: part.float().numpy() for name, part in parts.items()}
    )
    yield Seam("noise_sources", {"spectrum": tap["spectrum"], "style_timbre": timbre}, sources)
    yield Seam(
        "vocoder",
        {"asr": tap["asr"], "F0_curve": tap["F0"], "N_pred": tap["N"], **sources, "style_timbre": timbre},
        {"anchor": tap.values["body"].mean().reshape(1).numpy(), "x_pre": tap["x_pre"]},
    )
    yield Seam("tail", {"x_pre": tap["x_pre"]}, {"audio": audio.numpy()})
