"""What became easier to pass since another revision, and whether it has a reason."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from parity.gate import bounds
from parity.gate.bounds import Bounds, Declared
from parity.judge import budgets, gates
from parity.judge.gates import GateError
from tests.support.project import Project

GATES = '[front.fp16.y]\ncosine = { min = 0.99, derived_from = "0.999" }\n'
BUDGETS = '[bundle]\nsize_mb = { min = 1.0, max = 2.0, measured = 1.5, derived_from = "1.5" }\n'


def declared(*short: str, long: Sequence[str] = ()) -> Declared:
    return Declared(["tiny"], {"tiny": {**dict.fromkeys(short, True), **dict.fromkeys(long, False)}})


def test_a_system_that_went_with_its_files_needs_a_reason_for_each_bound_or_one_for_all() -> None:
    before = Bounds({"tiny": gates.parse(GATES, "")}, {"tiny": budgets.parse(BUDGETS, "")}, {"tiny": ["hello"]})
    found = bounds.loosenings(before, Bounds())
    assert [one.name for one in found] == ["tiny.front.fp16.y.cosine", "tiny.bundle.size_mb", "tiny.case.hello"]
    assert all("taken away without a reason" in one.problem for one in found)
    assert bounds.loosenings(before, Bounds(reasons={"tiny": "nobody ships it"})) == []


def test_a_gate_of_the_base_whose_metric_is_gone_needs_a_reason(repository: Project) -> None:
    repository.write("golden/tiny/gates.toml", GATES + 'bygone = { max = 1.0, derived_from = "0.5" }\n')
    repository.commit("a metric that this code does not have")
    before = bounds.of_commit(repository.folder, repository.git("rev-parse", "HEAD"))
    (found,) = bounds.loosenings(before, Bounds({"tiny": gates.parse(GATES, "")}))
    assert found.name == "tiny.front.fp16.y.bygone"
    assert "taken away without a reason" in found.problem
    retired = gates.parse(GATES + '[retired]\n"front.fp16.y.bygone" = "it never could fail"\n', "")
    (found,) = bounds.loosenings(before, Bounds({"tiny": retired}))
    assert (found.problem, found.reason) == ("", "it never could fail")
    with pytest.raises(GateError, match="no metric is called 'bygone'"):
        bounds.of_tree(repository.folder)


@pytest.mark.parametrize("text", ["", "[]", '{"cases":'])
def test_a_lock_that_is_none_is_named(repository: Project, text: str) -> None:
    repository.write("golden/tiny/gates.toml", GATES)
    repository.write("golden/tiny/lock.json", text)
    head = repository.commit()
    with pytest.raises(ValueError, match=f"{head[:12]}:golden/tiny/lock.json is not a lock of goldens: "):
        bounds.of_commit(repository.folder, head)
    with pytest.raises(ValueError, match=r"golden/tiny/lock\.json is not a lock of goldens: .* Restore it"):
        bounds.of_tree(repository.folder)


def test_a_looser_budget_is_found_beside_the_gates() -> None:
    before = Bounds(budgets={"tiny": budgets.parse(BUDGETS, "")})
    now = Bounds(budgets={"tiny": budgets.parse(BUDGETS.replace("max = 2.0", "max = 3.0"), "")})
    (found,) = bounds.loosenings(before, now)
    assert found.name == "tiny.bundle.size_mb"
    assert "without a reason" in found.problem


def test_a_case_counts_as_long_as_it_is_declared() -> None:
    before = Bounds(cases={"tiny": ["hello", "flight"]})
    assert bounds.loosenings(before, Bounds(), declared("flight", "hello", "new")) == []
    (found,) = bounds.loosenings(before, before, declared("hello"))
    assert found.line() == (
        "tiny.case.flight: a recorded case → no case: taken away without a reason: "
        'name it under retired.toml, as "tiny.case.flight" and say why'
    )
    retired = Bounds(reasons={"tiny.case.flight": "too long for CI"})
    (found,) = bounds.loosenings(before, retired, declared("hello"))
    assert (found.problem, found.reason) == ("", "too long for CI")


def test_a_short_case_that_became_long_needs_a_reason() -> None:
    before = Bounds(cases={"tiny": ["hello", "flight", "epic"]}, short={"tiny": ["hello", "flight"]})
    assert bounds.loosenings(before, before, declared("hello", "flight", long=["epic"])) == []
    (found,) = bounds.loosenings(before, before, declared("hello", long=["flight", "epic"]))
    assert found.line().startswith("tiny.case.flight: a short case → a long case: taken away without a reason")
    retired = Bounds(reasons={"tiny.case.flight": "too long for CI"})
    (found,) = bounds.loosenings(before, retired, declared("hello", long=["flight", "epic"]))
    assert (found.problem, found.reason) == ("", "too long for CI")


def test_what_is_still_declared_can_not_be_retired() -> None:
    before = Bounds({"tiny": gates.parse(GATES, "")}, cases={"tiny": ["hello"]})
    for name in ("tiny", "tiny.case.hello"):
        (found,) = bounds.loosenings(before, replace(before, reasons={name: "old"}), declared("hello"))
        assert found.line() == (
            f"{name}: declared → retired: the code still declares it: remove it there, or its line in retired.toml"
        )


def test_bounds_of_a_system_that_is_not_declared_need_its_retirement() -> None:
    twins = Bounds(
        {"tiny": gates.parse(GATES, ""), "twin/weights-a": gates.parse(GATES, "")}, cases={"tiny": ["hello"]}
    )
    (found,) = bounds.loosenings(twins, twins, declared("hello"))
    assert found.line().startswith("twin: bounds → no system that is declared: taken away without a reason")
    assert bounds.loosenings(twins, replace(twins, reasons={"twin": "nobody ships it"}), declared("hello")) == []


def test_a_retired_system_leaves_the_cases_of_the_reference_that_it_shared() -> None:
    before = Bounds(cases={"tiny": ["hello", "flight"]})
    twin = replace(declared("hello"), systems=["twin"])
    (found,) = bounds.loosenings(before, Bounds(reasons={"tiny": "the twin has replaced it"}), twin)
    assert found.name == "tiny.case.flight"
    assert found.problem


def test_the_bounds_of_a_commit_lie_where_its_own_configuration_says(repository: Project) -> None:
    repository.write("golden/tiny/gates.toml", GATES)
    repository.write("pyproject.toml", '[tool.parity]\ngolden = "golden"\n')
    base = repository.commit("bounds")
    before = bounds.of_tree(repository.folder)
    repository.git("mv", "golden", "truth [v2]")
    repository.write("pyproject.toml", '[tool.parity]\ngolden = "truth [v2]"\n')
    assert bounds.of_commit(repository.folder, base) == before == bounds.of_tree(repository.folder)
    assert bounds.of_commit(repository.folder, repository.commit("moved")) == before
    repository.write("truth [v2]/tiny/gates.toml", GATES.replace("0.99,", "0.9,"))
    assert bounds.loosenings(bounds.of_commit(repository.folder, base), bounds.of_tree(repository.folder))


def test_the_bounds_of_a_commit_and_of_the_tree_are_read_alike(repository: Project) -> None:
    repository.write("golden/tiny/gates.toml", GATES)
    repository.write("golden/tiny/weights-hub-a/budgets.toml", BUDGETS)
    repository.write("golden/tiny/lock.json", json.dumps({"schema": 0, "cases": {"hello": {}}}))
    repository.write("golden/retired.toml", 'other = "nobody ships it"\n')
    repository.commit("bounds")
    found = bounds.of_commit(repository.folder, repository.git("rev-parse", "HEAD"))
    assert found == bounds.of_tree(repository.folder)
    assert (found.gates.keys(), found.budgets.keys()) == ({"tiny"}, {"tiny/weights-hub-a"})
    assert (found.cases, found.reasons) == ({"tiny": ["hello"]}, {"other": "nobody ships it"})


@pytest.mark.parametrize("text", ['tiny = ""', "tiny = 3", "tiny = "])
def test_a_retirement_without_a_reason_is_an_error(repository: Project, text: str) -> None:
    repository.write("golden/tiny/gates.toml", GATES)
    repository.write("golden/retired.toml", text)
    with pytest.raises(GateError, match=r"retired\.toml"):
        bounds.of_tree(repository.folder)
