"""Sortformer, the streaming diarizer: NeMo's model in a small size, and everything that trains it and measures it.

`python -m references.sortformer.train` makes a checkpoint out of meetings that espeak-ng's voices hold, and `python -m
references.sortformer.evaluate` says how well it tells them apart. NeMo is needed for both, and to record goldens.
"""

from __future__ import annotations

from functools import partial
from operator import attrgetter

from parity.declarations import Hub, Reference
from references.sortformer import cases, checkpoint
from references.sortformer.config import DEFAULT, EFFICIENT, NVIDIA_HIGH, NVIDIA_LOW
from references.sortformer.record import record
from references.sortformer.speaking import RATE

__all__ = ["SHIPPED", "V2", "V2_1"]

SHIPPED = {"default": DEFAULT, "low": NVIDIA_LOW, "high": NVIDIA_HIGH, "efficient": EFFICIENT}


def _reference(version: str, revision: str, sha256: str) -> Reference:
    """Both versions are the same model with other weights; where only the trained ones are, these stand for both."""
    name = f"diar_streaming_sortformer_4spk-{version}"
    return Reference(
        name="sortformer",
        sample_rate=RATE,
        cases=tuple(cases.case(name) for name in cases.MEETINGS),
        packages=("nemo-toolkit", "torch"),
        checkpoint=Hub(f"nvidia/{name}", f"{name}.nemo", revision, sha256),
        seed=checkpoint.trained,
        build=checkpoint.Source,
        record=partial(record, SHIPPED),
        extra="sortformer",
        layers=attrgetter("nemo"),
    )


V2 = _reference(
    "v2",
    revision="84edd514b8ef68004c10086918cd62f2148cbd59",
    sha256="b371afce2c4958186469df33d939936b9746c89f38b10a69cfd2c61254e83329",
)
V2_1 = _reference(
    "v2.1",
    revision="cd03eee90fbec18297ac31b8c21546e596b7f71c",
    sha256="8abd32832159c6ac1148c926b7276f35ba34582c444e559dce1f1253fea42ef8",
)
