"""Kokoro-82M as its authors run it (kokoro 0.9.4), in fp32, tapped at the seams where the port cuts it."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import tomllib
import types
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from parity.declarations import Case, Hub, Reference, Seam
from references import seeding

STYLE = 128
CONFIG = {
    "istftnet": {
        "upsample_kernel_sizes": [20, 12],
        "upsample_rates": [10, 6],
        "gen_istft_hop_size": 5,
        "gen_istft_n_fft": 20,
        "resblock_dilation_sizes": [[1, 3, 5]] * 3,
        "resblock_kernel_sizes": [3, 7, 11],
        "upsample_initial_channel": 512,
    },
    "dim_in": 64,
    "dropout": 0.2,
    "hidden_dim": 512,
    "max_conv_dim": 512,
    "max_dur": 50,
    "multispeaker": True,
    "n_layer": 3,
    "n_mels": 80,
    "n_token": 178,
    "style_dim": STYLE,
    "text_encoder_kernel_size": 5,
    "plbert": {
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 2048,
        "max_position_embeddings": 512,
        "num_hidden_layers": 12,
        "dropout": 0.1,
    },
}
CASES = Path(__file__).parents[1] / "golden" / "kokoro" / "cases.toml"


def upstream() -> Any:
    """The package's model classes. Its own front door wants a phonemizer, which a recorded passage does not need."""
    if "kokoro" not in sys.modules:
        spec = importlib.util.find_spec("kokoro")
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError("kokoro is not installed; `make .venv/.ready` installs what the lock names")
        package = types.ModuleType("kokoro")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["kokoro"] = package
    from kokoro.model import KModel
    from loguru import logger

    logger.disable("kokoro")
    return KModel


def build(checkpoint: Path) -> Any:
    vocabulary = tomllib.loads(CASES.read_text())["vocabulary"]
    return upstream()(repo_id="local", config={**CONFIG, "vocab": vocabulary}, model=str(checkpoint)).eval()


# Where seeded weights leave unit gain, so that what the model computes is speech-like and as robust as a trained model:
# durations of 1 to 8 frames, F0 mostly of 80 to 300 Hz with unvoiced stretches, audio well inside ±1. Little attention
# and recurrence keep tokens apart; without that, a random stack gives all of them one and the same value.
_GAINS = {
    "attention.dense.weight": 0.03,
    "ffn_output.weight": 0.03,
    "weight_hh_l0": 0.2,
    "weight_hh_l0_reverse": 0.2,
    "duration_proj.linear_layer.weight": 3.5,
    "F0_proj.weight": 600.0,
    "conv_post.weight_g": 0.25,
}
_BIASES = {"duration_proj.linear_layer.bias": -3.09, "F0_proj.bias": 175.0, "conv_post.bias": -1.0}


def seeded(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """One parameter, from its name: unit gain for weights, small biases, near-neutral norms."""
    values = seeding.uniform(f"kokoro/{name}", *shape)
    last = name.rsplit(".", 1)[-1]
    if last in ("weight_g", "gamma") or last.startswith("alpha") or ("norm" in name.lower() and last == "weight"):
        values = 1 + 0.1 * values
    elif last.startswith("bias") or last == "beta":
        recurrent = last in ("bias_ih_l0", "bias_hh_l0", "bias_ih_l0_reverse", "bias_hh_l0_reverse")
        values = (0.0 if recurrent else 0.1) * values + _of_name(_BIASES, name, 0.0)
    else:
        style = 0.2 if "lstms" in name and name.endswith("fc.weight") else 1.0
        fan_in = 1 if "embedding" in name else np.prod(shape[1:])
        values = style * (3 / fan_in) ** 0.5 * seeding.clustered(f"kokoro/{name}", *shape)
    if "duration_proj" in name:  # one direction for all fifty, or their sum would hardly vary
        values = np.broadcast_to(values[:1], shape)
    return torch.from_numpy((_of_name(_GAINS, name, 1.0) * values).astype(np.float32))


def _of_name(table: dict[str, float], name: str, otherwise: float) -> float:
    return next((value for end, value in table.items() if name.endswith(end)), otherwise)


def seed(checkpoint: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.pth"
        torch.save({}, empty)
        model = build(empty)
    torch.save(
        {
            part: {
                name: seeded(f"{part}.{name}", tuple(value.shape)) if value.is_floating_point() else value
                for name, value in module.state_dict().items()
            }
            for part, module in model.named_children()
        },
        checkpoint,
    )


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
    yield Seam(
        "vocoder",
        {"asr": tap["asr"], "F0_curve": tap["F0"], "N_pred": tap["N"], **sources, "style_timbre": timbre},
        {"anchor": tap.values["body"].mean().reshape(1).numpy(), "x_pre": tap["x_pre"]},
    )
    yield Seam("tail", {"x_pre": tap["x_pre"]}, {"audio": audio.numpy()})


def _cases() -> tuple[Case, ...]:
    recorded = tomllib.loads(CASES.read_text())
    vocabulary = recorded["vocabulary"]
    return tuple(
        Case(
            name,
            {
                "input_ids": np.array([[0, *(vocabulary[symbol] for symbol in passage["phonemes"]), 0]], np.int32),
                "ref_s": np.float32(0.05) * seeding.normal("kokoro/voice", 1, 2 * STYLE),
                "speed": np.ones(1, np.float32),
            },
            short=passage["short"],
            about=passage["text"],
        )
        for name, passage in recorded["passages"].items()
    )


def with_voice(case: Case, files: Mapping[str, Path]) -> Case:
    """The case in the published voice: its style depends on how many phonemes there are, the ends not counted."""
    pack = torch.load(files["voice"], weights_only=True).numpy()
    return replace(case, inputs={**case.inputs, "ref_s": pack[case.inputs["input_ids"].shape[1] - 3]})


REVISION = "f3ff3571791e39611d31c381e3a41a3af07b4987"
REFERENCE = Reference(
    name="kokoro",
    sample_rate=24_000,
    cases=_cases(),
    packages=("kokoro", "transformers", "torch"),
    checkpoint=Hub(
        "hexgrad/Kokoro-82M",
        "kokoro-v1_0.pth",
        revision=REVISION,
        sha256="496dba118d1a58f5f3db2efc88dbdc216e0483fc89fe6e47ee1f2c53f18ad1e4",
    ),
    seed=seed,
    build=build,
    record=record,
    published={
        "voice": Hub(
            "hexgrad/Kokoro-82M",
            "voices/af_heart.pt",
            revision=REVISION,
            sha256="0ab5709b8ffab19bfd849cd11d98f75b60af7733253ad0d67b12382a102cb4ff",
        )
    },
    dress=with_voice,
)
