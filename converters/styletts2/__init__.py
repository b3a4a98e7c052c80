"""StyleTTS2 in four Core ML graphs, some of them in several sizes, and the host code between them."""

from __future__ import annotations

from converters.styletts2.glue import Glue, tables
from converters.styletts2.stages import INNER, STAGES
from parity.declarations import Dim, System, f32, i32
from references.styletts2 import REFERENCE

SYSTEM = System(
    REFERENCE,
    STAGES,
    Glue(),
    tables=tables,
    inner=INNER,
    decisions={
        "durations": i32(Dim("tokens", 2, 512), kind="durations"),
        "audio": f32(Dim("samples", 1, 600 * 4096, offset=-50), kind="audio"),
    },
)
