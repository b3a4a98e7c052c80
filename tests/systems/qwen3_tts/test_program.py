"""The program of Qwen3-TTS against its host: a stale one fails by the name of what differs.

Two methods of it are built here. Their lookups take seconds to lower; those of all stages take minutes.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from converters.qwen3_tts import SYSTEMS
from converters.qwen3_tts.stages import CONTRACT
from parity.base.libraries import installed
from parity.build import program as building
from parity.build.convert import traceable
from parity.declarations import Stage, System, i32
from parity.judge import program as gates
from parity.run.executorch import ExecuTorch
from parity.run.program import Program
from references.qwen3_tts.sizes import SMALL
from references.qwen3_tts.upstream import blank

pytestmark = pytest.mark.skipif(
    not installed("executorch"), reason="executorch is not installed: make extra-executorch"
)
LOOKED_UP = SYSTEMS[0].stage("codec_embed")
SCORED = SYSTEMS[0].stage("cp_head")
VARIANT = LOOKED_UP.variant("pte-fp32")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The program as a version 1 of the port leaves it: without `cp_generate`."""
    path = tmp_path_factory.mktemp("program") / "model.pte"
    stages, upstream = (LOOKED_UP, SCORED), blank(SMALL)
    modules = {stage.name: traceable(stage, upstream) for stage in stages}
    building.write(stages, modules, path, {}, CONTRACT)
    return ExecuTorch().describe(path)


def faults(program: Program, stage: Stage = LOOKED_UP, system: System = SYSTEMS[0]) -> list[str]:
    found = gates.findings(program, stage, VARIANT, system.contract, {}, nn.Identity)
    return [f"{finding.gate}: {finding.message}" for finding in found if not finding.passed]


def test_a_program_of_this_host_passes(built: Program) -> None:
    assert not faults(built)
    assert not faults(built, SCORED)
    assert set(built.constants) == set(CONTRACT)


def test_a_method_that_the_host_calls_and_the_program_lacks_is_named(built: Program) -> None:
    (told,) = faults(built, SYSTEMS[0].stage("cp_generate"))
    assert told.startswith("manifest: method `cp_generate` is missing, there is codec_embed, cp_head")


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("contract_version", 1),
        ("top_k", 40),
        ("greedy_below", 1e-5),
        ("codec_eos", 2150 + 2048),
        ("tts_eos", 151_672),
        ("code_groups", 32),
    ],
)
def test_a_stale_program_is_named_by_the_number_that_differs(built: Program, name: str, number: float) -> None:
    stale = replace(built, constants={**built.constants, name: number})
    (told,) = faults(stale)
    assert told.startswith(f"contract: `{name}` is {number}, the host uses {CONTRACT[name]:g}")


def test_a_number_that_the_program_does_not_tell_is_named(built: Program) -> None:
    untold = {name: number for name, number in built.constants.items() if name != "codec_pad"}
    (told,) = faults(replace(built, constants=untold))
    assert told.startswith("contract: `codec_pad` is missing, the host uses 2148")


def test_a_manifest_of_another_interface_is_named(built: Program) -> None:
    method = built.methods["codec_embed"]
    swapped = replace(method, inputs=dict(reversed(method.inputs.items())))
    (told,) = faults(replace(built, methods={**built.methods, "codec_embed": swapped}))
    assert "the inputs are group, token in their order, declared are token, group" in told
    wider = replace(LOOKED_UP, inputs={**LOOKED_UP.inputs, "token": i32(2)})
    (told,) = faults(built, wider)
    assert "input `token` is int32 (1,), declared is int32 (2,)" in told
