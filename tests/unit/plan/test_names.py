"""Names of stages, variants and cases: those that gates, golden files and options use themselves are refused."""

from __future__ import annotations

import pytest

from parity.declarations import Case, Stage, Variant, real


def stage(name: str = "net", variant: str = "fp32") -> Stage:
    tensor = {"x": real(1, 4)}
    return Stage(name, lambda upstream: upstream, tensor, tensor, (Variant(variant, "float32", ships=True),))


@pytest.mark.parametrize("name", ["chain", "host", "retired", "net.v2"])
def test_a_stage_is_not_called_what_gates_use(name: str) -> None:
    with pytest.raises(ValueError, match=rf"stage '{name}': .*Rename the stage"):
        stage(name)


@pytest.mark.parametrize("name", ["module", "ships", "glue", "fp16.1"])
def test_a_variant_is_not_called_what_gates_use(name: str) -> None:
    with pytest.raises(ValueError, match=rf"variant '{name}': .*Rename the variant"):
        stage(variant=name)


@pytest.mark.parametrize("name", ["all", "short"])
def test_a_case_is_not_called_what_cases_takes(name: str) -> None:
    with pytest.raises(ValueError, match=f"case '{name}': this name is reserved, as are all of all, short"):
        Case(name, {})
