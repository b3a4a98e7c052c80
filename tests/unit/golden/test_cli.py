"""`python -m parity golden`: what it prints, and what its exit codes mean."""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from parity.base.cache import Cache
from parity.declarations import Trained
from parity.golden.cli import main
from parity.plan.weights import Weights
from tests.support.golden_system import REFERENCE, World, weights

Golden = Callable[..., int]


@pytest.fixture
def golden(tmp_path: Path) -> Golden:
    """The command, on a world of its own in which only the tiny system exists."""
    world = World(tmp_path)

    def run(*arguments: str, gain: float = 1.0, references: Any = None) -> int:
        def choose(reference: object, asked: str, cache: object) -> Weights:
            return weights(tmp_path / "weights", gain, "seeded" if asked == "auto" else asked)

        known = {"tiny": REFERENCE} if references is None else references
        return main(list(arguments), known, choose, world.goldens, Cache(tmp_path / "cache"))

    return run


def test_refresh_says_what_it_does_and_what_it_wrote(golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    assert golden("refresh", "tiny") == 0
    printed = capsys.readouterr().out
    assert "hello: recording (1 of 2) …" in printed
    assert "hello: recorded for the first time, 4 tensors" in printed
    assert "tiny: 2 cases: 2 new" in printed
    assert "written: 0.0 MB of goldens in git" in printed
    assert golden("refresh", "tiny") == 0
    assert "nothing to write" in capsys.readouterr().out


def test_a_refresh_that_wants_a_reason_shows_what_moved_and_exits_1(
    golden: Golden, capsys: pytest.CaptureFixture[str]
) -> None:
    golden("refresh", "tiny")
    assert golden("refresh", "tiny", gain=1.5) == 1
    printed = capsys.readouterr()
    assert "    encoder/outputs/hidden: relative L2 0." in printed.out
    assert 'Mend: python -m parity golden refresh tiny --reason "…"' in printed.err
    assert golden("refresh", "tiny", "--reason", "a louder voice", gain=1.5) == 0
    assert golden("verify", "tiny", gain=1.5) == 0


def test_status_is_0_only_if_all_is_fresh(golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    assert golden("status") == 1
    assert "hello            missing" in capsys.readouterr().out
    golden("refresh", "tiny", "--cases", "hello")
    assert golden("status") == 1
    golden("refresh", "tiny")
    capsys.readouterr()
    assert golden("status") == 0
    assert "flight           fresh         9 kB" in capsys.readouterr().out


def test_diff_is_0_only_if_nothing_moved(golden: Golden) -> None:
    assert golden("diff") == 1
    golden("refresh", "tiny")
    assert golden("diff", "tiny") == 0
    assert golden("diff", "tiny", "--cases", "hello", gain=1.5) == 1


def test_verify_is_0_for_the_same_bits_and_for_rounding_only_on_request(
    golden: Golden, capsys: pytest.CaptureFixture[str]
) -> None:
    golden("refresh", "tiny")
    assert golden("verify") == 0
    assert "verified: the same bits" in capsys.readouterr().out
    assert golden("verify", gain=1 + 1e-6) == 1
    assert "--allow-rounding" in capsys.readouterr().out
    assert golden("verify", "--allow-rounding", gain=1 + 1e-6) == 0
    assert golden("verify", "--allow-rounding", gain=1.5) == 1


def test_verify_without_anything_recorded_is_1(golden: Golden) -> None:
    assert golden("verify", "--allow-rounding") == 1


def test_the_worst_of_several_systems_decides(golden: Golden) -> None:
    both = {"tiny": REFERENCE, "other": replace(REFERENCE, name="other")}
    golden("refresh", "tiny")
    assert golden("status", references=both) == 1
    assert golden("refresh", "other", references=both) == 0
    assert golden("status", references=both) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "tinny"], "there is no system 'tinny'; there are tiny"),
        (["refresh", "tiny", "--cases", "hallo"], "tiny has no case 'hallo'; it has hello, flight"),
    ],
)
def test_an_unknown_name_is_told_with_the_known_ones(
    golden: Golden, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert golden(*arguments) == 2
    assert said in capsys.readouterr().err


def test_no_system_at_all_is_an_error(golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    assert golden("status", references={}) == 2
    assert "there is no system" in capsys.readouterr().err


def test_a_refresh_of_no_system_in_particular_is_one_of_all(golden: Golden) -> None:
    both = {"tiny": REFERENCE, "other": replace(REFERENCE, name="other")}
    assert golden("refresh", references=both) == 0
    assert golden("status", references=both) == 0


def test_other_weights_are_kept_apart(golden: Golden) -> None:
    golden("refresh", "tiny")
    assert golden("status", "--weights", "hub") == 1
    assert golden("refresh", "tiny", "--weights", "hub", gain=2.0) == 0
    assert golden("status", "--weights", "hub") == 0
    assert golden("status") == 0


def test_status_and_verify_look_at_every_truth_in_git_unless_weights_are_named(
    golden: Golden, capsys: pytest.CaptureFixture[str]
) -> None:
    here = replace(REFERENCE, trained=Trained({"numpy": version("numpy")}, write=lambda path: None))
    known = {"tiny": here}
    assert golden("refresh", "tiny", "--weights", "seeded", references=known) == 0
    assert golden("status", references=known) == 1
    printed = capsys.readouterr().out
    assert "tiny, trained weights: 2 cases" in printed
    assert "tiny, seeded weights: 2 cases" in printed
    assert golden("status", "--weights", "seeded", references=known) == 0
    assert golden("refresh", "tiny", "--weights", "trained", references=known) == 0
    assert golden("status", references=known) == 0
    assert golden("verify", references=known) == 0
    assert capsys.readouterr().out.count("verified: the same bits") == 2


def test_truth_of_weights_that_are_not_installed_is_left_out_by_name(
    golden: Golden, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"tiny": replace(REFERENCE, trained=Trained({"no-such-package": "1.0"}, write=lambda path: None))}
    golden("refresh", "tiny", "--weights", "seeded", references=known)
    assert golden("status", references=known) == 0
    assert "tiny, trained weights: not looked at, no-such-package 1.0 not installed" in capsys.readouterr().out
