import math
from pathlib import Path
from typing import Any

import pytest

from parity.declarations import Stage, Variant
from parity.gate.bounds import loosened
from parity.judge import budgets as judged
from parity.judge.budgets import KINDS, Budget, BudgetError, Budgets, Profile, load, parse, suggest
from parity.plan.checks import Deployed

KOKORO = Path(__file__).parents[3] / "golden/kokoro/budgets.toml"
MAC = """
[profile.mac]
about = "A Mac"
system = "Darwin"
model = "Mac16,10"
runtime = "coreml"
source = "measured"
"""
LINUX = """
[profile.linux]
about = "Any Linux machine"
system = "Linux"
runtime = "milrun"
source = "measured"
"""
BUDGET = '{ min = 50.0, max = 130.0, measured = 100.0, derived_from = "m" }'
RATIO = '{ min = 0.5, max = 1.3, measured = 1.0, derived_from = "m" }'


def stage(name: str, *variants: str) -> Stage:
    made = tuple(Variant(variant, "float32", ships=variant == variants[-1]) for variant in variants)
    return Stage(name, module=_no_module, inputs={}, outputs={}, variants=made)


def _no_module(_: Any) -> Any:
    raise AssertionError("budgets look at declarations alone")


def size(entry: str) -> Budgets:
    return parse(f"[artifact.vocoder.fp16]\nsize_mb = {entry}\n", "budgets.toml")


def at(budgets: Budgets, path: str) -> Budget:
    return budgets.by_name()[path]


def profile(budgets: Budgets, name: str) -> Profile:
    return next(one for one in budgets.profiles if one.name == name)


def complete(budgets: Budgets, stages: list[Stage], profile: Profile | None) -> list[str]:
    return judged.complete(budgets, stages, profile, Deployed("ships", {one.name: one.shipping for one in stages}))


def problems(before: Budgets, after: Budgets) -> list[str]:
    return [found.problem for found in loosened(before, after)]


def test_a_budget_is_found_by_its_path() -> None:
    budgets = parse(f"{MAC}stage_ms.vocoder.512 = {BUDGET}\nchain_ms.512 = {BUDGET}", "budgets.toml")
    assert at(budgets, "profile.mac.stage_ms.vocoder.512").measured == 100
    assert at(budgets, "profile.mac.chain_ms.512").subject == ("chain", "512")


def test_a_budget_holds_between_its_bounds() -> None:
    budget = at(size(BUDGET), "artifact.vocoder.fp16.size_mb")
    assert all(budget.check(value).passed for value in (50, 100, 130))
    assert budget.check(131).line() == "vocoder.fp16: size_mb 131 breaks ≤ 130 MB"


def test_what_is_too_good_fails_and_asks_for_an_update() -> None:
    halved = at(size(BUDGET), "artifact.vocoder.fp16.size_mb").check(49)
    assert not halved.passed
    assert halved.line() == (
        "vocoder.fp16: size_mb 49 MB is too good, not ≥ 50 MB: is something left out? If it isn't, update the budget"
    )
    fast = at(parse(f"{MAC}rtfx = {BUDGET}", "budgets.toml"), "profile.mac.rtfx")
    assert not fast.check(49).message
    assert "too good, not ≤ 130 ×" in fast.check(131).message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_an_impossible_value_breaks_every_budget(value: float) -> None:
    load_s = f'{MAC}load_s.vocoder = {{ max = 2.0, measured = 1.0, derived_from = "m" }}'
    for budget in (*size(BUDGET).budgets, *parse(load_s, "budgets.toml").budgets):
        assert not budget.check(value).passed


def test_a_share_can_be_zero_and_no_more_than_one() -> None:
    text = (
        '[placement.vocoder.fp16]\nneural_engine_share = { min = 0.95, measured = 0.99, derived_from = "m" }\n'
        'cpu_share = { max = 0.05, measured = 0.0, derived_from = "m" }'
    )
    share, cpu = parse(text, "budgets.toml").budgets
    assert share.check(1.0).passed
    assert share.check(0.9).line() == "vocoder.fp16: neural_engine_share 0.9 breaks ≥ 0.95"
    assert "can't be" in share.check(1.01).message
    assert cpu.check(0.0).passed
    assert not share.check(0.0).passed


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('{ max = 130, measured = 100, derived_from = "m" }', "has no min: add min = …, in MB"),
        ('{ min = 50, measured = 100, derived_from = "m" }', "has no max"),
        ('{ min = 50, max = 130, derived_from = "m" }', "has no measured"),
        ("{ min = 50, max = 130, measured = 100 }", "has no derived_from"),
        ('{ min = 50, max = 130, mesured = 100, derived_from = "m" }', "did you mean 'measured'"),
        ('{ min = 50, max = inf, measured = 100, derived_from = "m" }', "not finite"),
        ('{ min = "50", max = 130, measured = 100, derived_from = "m" }', "where a number is expected"),
        ('{ min = 50, max = 90, measured = 100, derived_from = "m" }', "does not lie within its own bounds"),
        ('{ min = 110, max = 130, measured = 100, derived_from = "m" }', "does not lie within its own bounds"),
        ('{ min = 50, max = 400, measured = 100, derived_from = "m" }', "400 can hardly fail"),
        ('{ min = 25, max = 130, measured = 100, derived_from = "m" }', "25 can hardly fail"),
        ("130", "where a table is expected"),
    ],
)
def test_a_wrong_budget_is_refused_with_its_table_and_the_mend(entry: str, message: str) -> None:
    with pytest.raises(BudgetError, match=message) as raised:
        size(entry)
    assert str(raised.value).startswith("budgets.toml: [artifact.vocoder.fp16.size_mb")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"[artefact.vocoder.fp16]\nsize_mb = {BUDGET}", "unknown key 'artefact'; did you mean 'artifact'"),
        (f"[artifact.vocoder.fp16]\nsize = {BUDGET}", "unknown key 'size'"),
        ("[artifact.vocoder]\nfp16 = 3", r"\[artifact.vocoder.fp16\] is 3 where a table"),
        (f"{MAC}chain_mss.512 = {BUDGET}", "unknown key 'chain_mss'; did you mean 'chain_ms'"),
        (f"{MAC}chain_ms = {BUDGET}", "'min' is not a T_enc"),
        (f"{MAC}chain_ms.hello = {BUDGET}", "'hello' is not a T_enc"),
        (f"{MAC}stage_ms.512 = {BUDGET}", "'min' is not a T_enc"),
        (f"{MAC}stage_ratio.vocoder = {RATIO}", "stage_ratio means nothing for coreml: give rtfx"),
        (f"{LINUX}chain_ms.512 = {BUDGET}", "chain_ms means nothing for milrun: give chain_ratio"),
        (MAC.replace("coreml", "corml") + f"rtfx = {BUDGET}", "unknown runtime 'corml'; did you mean 'coreml'"),
        (MAC.replace('source = "measured"', "") + f"rtfx = {BUDGET}", "has no source"),
        (f"{MAC}rtfx = {BUDGET}\n{MAC.replace('profile.mac', 'profile.mini')}rtfx = {BUDGET}", "same machines as mac"),
        (f"{MAC}rtfx = {BUDGET}\nrtfx = {BUDGET}", "line 9"),
        (MAC, "holds no budget at all"),
        ("", "holds no bound at all"),
        (f"[bundle]\nsize_mb = {BUDGET}\n[retired]\nbundle = 'why'", "takes bundle.size_mb away, which is still there"),
        ("[placement.a.b]\ncpu_share = { max = 1.0, measured = 0.9, derived_from = 'm' }", "can hardly fail"),
        ("[placement.a.b]\ncpu_share = { max = 0.4, measured = 0.1, derived_from = 'm' }", "can hardly fail"),
    ],
)
def test_a_wrong_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        parse(text, "budgets.toml")


def test_a_machine_has_the_profile_of_its_model_or_of_its_system() -> None:
    budgets = parse(f"{MAC}rtfx = {BUDGET}\n{LINUX}chain_ratio = {RATIO}", "budgets.toml")
    mac, linux = budgets.here("Darwin", "Mac16,10", "coreml"), budgets.here("Linux", "", "milrun")
    assert mac == profile(budgets, "mac")
    assert linux == budgets.here("Linux", "whatever", "milrun") == profile(budgets, "linux")
    assert budgets.here("Darwin", "Mac14,3", "coreml") is None
    assert budgets.here("Darwin", "Mac16,10", "milrun") is None


def test_complete_budgets_leave_nothing_to_say() -> None:
    text = f"[artifact.vocoder.fp16]\nsize_mb = {BUDGET}\n{LINUX}stage_ratio.vocoder = {RATIO}"
    budgets = parse(text, "budgets.toml")
    assert complete(budgets, [stage("vocoder", "fp32", "fp16")], profile(budgets, "linux")) == []
    assert complete(budgets, [], None) != []


@pytest.mark.parametrize("bounds", ["min = 50.0, max = 140.0", "min = 40.0, max = 130.0"])
def test_a_budget_looser_than_its_measurement_suggests_needs_a_reason(bounds: str) -> None:
    def said(entry: str) -> list[str]:
        text = f"[artifact.vocoder.fp16]\nsize_mb = {{ {bounds}, measured = 100.0, {entry} }}"
        return complete(parse(text, "budgets.toml"), [stage("vocoder", "fp16")], None)

    (line,) = said('derived_from = "m"')
    assert line.startswith("artifact.vocoder.fp16.size_mb: ")
    assert "min = 50.0, max = 130.0, which 100 suggests, and it lacks a reason" in line
    assert said('derived_from = "m", reason = "an old disk"') == []


BUDGET_FILES = sorted(Path(__file__).parents[3].glob("golden/**/budgets.toml"))


@pytest.mark.parametrize("path", BUDGET_FILES, ids=lambda path: path.parent.name)
def test_each_budget_of_this_repository_follows_from_its_measurement_or_has_a_reason(path: Path) -> None:
    assert [line for line in complete(load(path), [stage("none", "fp32")], None) if "lacks a reason" in line] == []


def test_a_missing_budget_is_named() -> None:
    budgets = parse(f"{LINUX}stage_ratio.vocoder_2 = {RATIO}", "budgets.toml")
    said = complete(budgets, [stage("vocoder", "fp16"), stage("vocoder_2", "fp16")], profile(budgets, "linux"))
    assert any("artifact.vocoder.fp16.size_mb is missing" in line for line in said)
    assert [line for line in said if "bounds no speed of vocoder:" in line]
    assert not [line for line in said if "bounds no speed of vocoder_2:" in line]


def test_a_budget_for_something_undeclared_is_named_with_the_nearest() -> None:
    text = (
        f"[artifact.vocoder.fp61]\nsize_mb = {BUDGET}\n[artifact.vocoder.fp16]\nsize_mb = {BUDGET}\n"
        f"{MAC}stage_ms.vocodr.512 = {BUDGET}"
    )
    said = complete(parse(text, "budgets.toml"), [stage("vocoder", "fp32", "fp16")], None)
    assert len(said) == 2
    assert "a stage that is declared nowhere; did you mean 'vocoder'?" in said[0]
    assert "a variant that is declared nowhere; did you mean 'fp16'?" in said[1]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (BUDGET, []),
        ('{ min = 50.0, max = 120.0, measured = 100.0, derived_from = "m" }', []),
        ('{ min = 25.0, max = 65.0, measured = 50.0, derived_from = "faster" }', []),
        ('{ min = 50.0, max = 140.0, measured = 100.0, derived_from = "m" }', ["without a reason"]),
        ('{ min = 30.0, max = 130.0, measured = 100.0, derived_from = "m" }', ["without a reason"]),
        ('{ min = 50.0, max = 140.0, measured = 100.0, derived_from = "m", reason = "a bigger model" }', [""]),
    ],
)
def test_a_looser_budget_needs_a_reason(entry: str, problem: list[str]) -> None:
    found = problems(size(BUDGET), size(entry))
    assert len(found) == len(problem)
    assert all(expected in said and bool(said) == bool(expected) for said, expected in zip(found, problem, strict=True))


def test_a_budget_is_taken_away_only_with_a_reason() -> None:
    rest = f"[bundle]\nsize_mb = {BUDGET}\n"
    before = parse(f"{rest}[artifact.vocoder.fp16]\nsize_mb = {BUDGET}", "budgets.toml")
    (said,) = problems(before, parse(rest, "budgets.toml"))
    assert "taken away without a reason" in said
    assert problems(before, parse(f"{rest}[retired]\n'artifact.vocoder' = 'merged'", "budgets.toml")) == [""]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_suggested_budget_can_be_written_into_the_file(kind: str) -> None:
    entry = suggest(kind, 0.9, "median of 20")
    if KINDS[kind].is_share:
        text = f"[placement.vocoder.fp16]\n{kind} = {entry}"
    elif kind == "size_mb":
        text = f"[artifact.vocoder.fp16]\n{kind} = {entry}"
    else:
        keys = {"stage": "vocoder", "T_enc": "512"}
        path = ".".join([kind, *(keys[key] for key in KINDS[kind].subject)])
        text = f"{MAC if 'coreml' in KINDS[kind].runtimes else LINUX}{path} = {entry}"
    (budget,) = parse(text, "budgets.toml").budgets
    assert budget.check(0.9).passed
    assert not budget.check(0.9 * 1.4 if KINDS[kind].better == "lower" else 0.6).passed


@pytest.mark.parametrize("measured", [math.nan, 0.0, -1.0])
def test_no_budget_is_suggested_for_an_impossible_measurement(measured: float) -> None:
    with pytest.raises(BudgetError, match="no budget can be taken"):
        suggest("chain_ms", measured, "m")


def test_the_budgets_of_kokoro_hold_what_was_published() -> None:
    budgets = load(KOKORO)
    sizes = [at(budgets, f"profile.m4-mac-mini.chain_ms.{size}") for size in "13 66 128 272 457 512".split()]
    assert [budget.measured for budget in sizes] == [75.6, 172.3, 294.6, 642.6, 1047.1, 1101.1]
    assert at(budgets, "profile.m4-mac-mini.stage_ms.vocoder.512").measured == 635
    assert at(budgets, "profile.iphone-16-pro.rtfx").measured == 16.9
