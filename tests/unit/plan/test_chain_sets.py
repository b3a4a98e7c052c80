"""Chained sets: which variants of the stages run one after another."""

from __future__ import annotations

import pytest

from parity.declarations import Format, Stage, System, Variant, real
from parity.plan.checks import SHIPS, chain_sets, deployed, excused
from tests.support.golden_system import REFERENCE


def variant(name: str, format: Format = "mlpackage", ships: bool = False) -> Variant:
    return Variant(name, "float32", format=format, ships=ships)


FP32, FP16, PROGRAM = variant("fp32", ships=True), variant("fp16"), variant("pte", "pte")


def system(*stages: tuple[Variant, ...]) -> System:
    tensor = {"x": real(1, 4)}
    declared = tuple(
        Stage(f"stage{number}", lambda upstream: upstream, tensor, tensor, variants)
        for number, variants in enumerate(stages)
    )
    return System(REFERENCE, declared, lambda run, case: None)


def names(declared: System) -> dict[str, list[str]]:
    return {name: [own.name for own in chosen.values()] for name, chosen in chain_sets(declared).items()}


def test_a_stage_without_a_choice_goes_along_with_the_others() -> None:
    assert names(system((FP32,), (FP32, FP16))) == {SHIPS: ["fp32", "fp32"], "fp16": ["fp32", "fp16"]}


def test_a_program_beside_packages_gives_no_stage_a_choice_of_packages() -> None:
    found = names(system((FP32, PROGRAM), (FP32, PROGRAM, FP16)))
    assert found == {SHIPS: ["fp32", "fp32"], "pte": ["pte", "pte"], "fp16": ["fp32", "fp16"]}


def test_a_name_that_a_stage_with_a_choice_lacks_is_no_set() -> None:
    assert names(system((FP32, variant("fp16-pal8")), (FP32, FP16))) == {SHIPS: ["fp32", "fp32"]}


def test_a_variant_without_a_chain_gives_no_stage_a_choice() -> None:
    small = Variant("fp16-int8", "float16", unchained="no bound judges its codes")
    assert names(system((FP32, small), (FP32, FP16))) == {SHIPS: ["fp32", "fp32"], "fp16": ["fp32", "fp16"]}


def test_a_format_that_a_stage_lacks_is_no_set() -> None:
    declared = system((FP32,), (FP32, PROGRAM))
    assert names(declared) == {SHIPS: ["fp32", "fp32"]}
    assert deployed(declared, "pte") is None


def test_a_variant_that_a_stage_declares_unchained_has_no_chain_and_a_reason() -> None:
    few = Variant("pte-few", "float32", format="pte", unchained="no bound judges its codes")
    declared = system((FP32, PROGRAM, few), (FP32, PROGRAM, variant("pte-few", "pte")))
    assert names(declared) == {SHIPS: ["fp32", "fp32"], "pte": ["pte", "pte"]}
    assert excused(declared) == {"the chain of pte-few": "no bound judges its codes"}
    shipped = Variant("pte", "float32", format="pte", ships=True, unchained="no bound judges its codes")
    assert names(system((shipped,), (shipped,))) == {}
    other = system((shipped, variant("other", "pte")), (shipped, variant("other", "pte")))
    assert names(other) == {"other": ["other", "other"]}
    assert deployed(other, "pte") is None


def test_a_stage_of_which_nothing_ships_is_named() -> None:
    with pytest.raises(ValueError, match="of the variants of the stage stage0, pte, one ships: mark it by ships=True"):
        system((PROGRAM,), (FP32,))
