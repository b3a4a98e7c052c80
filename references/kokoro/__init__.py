"""Kokoro-82M as its authors run it (kokoro 0.9.4), in fp32, tapped at the seams where the port cuts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from parity.declarations import Case, Hub, Reference
from references.kokoro.cases import STYLE, cases
from references.kokoro.recording import record, source_noise
from references.kokoro.seeds import seed
from references.kokoro.upstream import build
from references.kokoro.wheels import TRAINED

__all__ = ["REFERENCE", "STYLE", "source_noise"]


def with_voice(case: Case, files: Mapping[str, Path]) -> Case:
    """The case in the published voice: its style depends on how many phonemes there are, the ends not counted."""
    pack = torch.load(files["voice"], weights_only=True).numpy()
    return replace(case, inputs={**case.inputs, "ref_s": pack[case.inputs["input_ids"].shape[1] - 3]})


REVISION = "f3ff3571791e39611d31c381e3a41a3af07b4987"
REFERENCE = Reference(
    name="kokoro",
    sample_rate=24_000,
    cases=cases(),
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
    trained=TRAINED,
)
