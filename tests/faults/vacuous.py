"""Ways in which other tools let a wrong artifact pass, by number, where each was seen, and the tests that refuse it."""

from __future__ import annotations

from collections.abc import Mapping

HERE = "faults/test_vacuous_passes.py"
BENCH = "e2e/test_bench.py"
VACUOUS: Mapping[int, tuple[str, str, tuple[str, ...]]] = {
    1: ("without Core ML nothing is compared", "coremltools, testing utilities", (HERE,)),
    2: ("a tolerance that hardly anything breaks", "coremltools, testing utilities", (HERE,)),
    3: ("only the first output is compared", "argmaxtools", (HERE,)),
    4: ("inputs drawn anew each time; speed tests skipped", "argmaxtools, whisperkittools", (HERE, BENCH)),
    5: ("no check is a pass", "Polygraphy", (HERE,)),
    6: ("a missing output only warns", "Polygraphy", (HERE,)),
    7: ("a quiet tensor passes whatever its shape", "tt-xla", (HERE,)),
    8: ("a gain or an offset is not seen", "tt-xla", (HERE,)),
    9: ("a failed conversion is called a success", "optimum-onnx#1755", (HERE,)),
    10: ("outputs of indices are skipped", "huggingface/exporters", (HERE,)),
    11: ("a package is taken for another by its name", "torch2coreml", (HERE,)),
    12: ("without a flag nothing is compared", "pytest-mpl, pytest-arraydiff", (HERE,)),
    13: ("NaN equals NaN, and another dtype is accepted", "pytest-regressions", (HERE,)),
    14: ("a renamed or missing benchmark is not compared", "pytest-benchmark", (BENCH,)),
    15: ("a missing baseline is skipped", "tt-xla", (HERE, "unit/bench/test_results.py")),
    16: ("a bound that can hardly fail", "HTDemucsCoreML", (HERE,)),
    17: ("placement only echoes what was asked for", "mattmireles/kokoro-coreml", (HERE, "unit/run/test_placement.py")),
    18: ("a measurement depends on the first axis", "coremltools, debugging utilities", (HERE,)),
    19: ("only the first case is compared", "TensorRT#4607", (HERE,)),
    20: ("a gate is deleted, or a check switched off", "coremlit", (HERE, "unit/judge/test_gates.py")),
}
