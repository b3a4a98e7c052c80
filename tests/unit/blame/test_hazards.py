"""The table of known hazards is read strictly."""

from __future__ import annotations

import pytest

from parity.blame.hazards import FILE, HazardError, read


def test_every_hazard_is_recognized_by_something_and_has_a_mend() -> None:
    hazards = read(FILE.read_text())
    assert len(hazards) > 5
    assert all(hazard.mend for hazard in hazards.values())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[H99]\nname = "a"\nmend = "b"\nopp = ["sub"]', r"\[H99\] unknown key 'opp'; did you mean 'op'\?"),
        ('[H99]\nname = "a"\nop = ["sub"]', r"\[H99\] has no mend"),
        ('[H99]\nname = "a"\nmend = "b"\nop = "sub"', "where a list is expected"),
        ('[H99]\nname = "a"\nmend = "b"\nfault = "graph"', "is recognized by nothing"),
    ],
)
def test_a_table_of_hazards_that_is_not_understood_is_an_error(text: str, says: str) -> None:
    with pytest.raises(HazardError, match=says):
        read(text)
