"""The table of squared errors: the order in which the authors published their variants, as far as noise allows."""

from __future__ import annotations

import pytest

from parity.record.suite import Suite
from tests.systems.silero_vad.errors import PUBLISHED, Row, rows, table

EIGHT = ("fp16-mixed", "fp16-pal8", "fp16-int8")
ORDER = ("fp16-pal6", "fp16-pal4", "fp16-pal2")


@pytest.fixture(scope="module")
def found(suite: Suite) -> dict[str, Row]:
    return {row.variant: row for row in rows(suite, "phrase", draws=100)}


@pytest.mark.parametrize("column", ["published", "noise", "speech"])
def test_fewer_bits_cost_more(found: dict[str, Row], column: str) -> None:
    errors = {name: getattr(found[name], column) for name in PUBLISHED}
    assert errors["fp16-pal6"] > max(errors[name] for name in EIGHT)
    assert sorted(ORDER, key=lambda name: errors[name]) == list(ORDER)


def test_the_table_has_a_row_for_each_variant(found: dict[str, Row]) -> None:
    lines = table(list(found.values())).splitlines()
    assert lines[0].startswith("| variant | published |")
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in found]
    assert "| fp16-pal2 | 7.4e-02 |" in lines[-1]
