import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.base.toml import comments
from parity.compare import metrics
from parity.gate.bounds import loosened
from parity.judge.gates import Gate, GateError, Gates, complete, judge, load, parse, render
from parity.judge.gates import gate as make

X_PRE = ("vocoder", "fp16-pal8", "x_pre")
FILE = """
[vocoder.fp16-pal8.x_pre]
cosine      = { min = 0.9995, derived_from = "two passages", reason = "8-bit palettization" }
relative_l2 = { max = 0.0093, derived_from = { worst = 0.0031, median = 0.002, cases = 2, numerics = "declared" } }
rms_ratio   = { within = 0.005, derived_from = "by hand", reason = "a gain is heard from there on" }

[chain.ships."vocoder.x_pre"]
relative_l2 = { max = 0.09, derived_from = { worst = 0.03, median = 0.02, cases = 2, numerics = "declared" } }
"""


def one(entry: str, table: str = "vocoder.fp16-pal8.x_pre") -> Gates:
    return parse(f"[{table}]\n{entry}\n", "gates.toml")


def gate(entry: str) -> Gate:
    return one(entry).gates[0]


def cosine(bound: float, reason: str = "") -> Gates:
    return Gates((make(X_PRE, metrics.find("cosine"), bound, "measured", reason),))


def problem(before: Gates, after: Gates) -> str:
    (found,) = loosened(before, after)
    return found.problem


def test_gates_are_found_by_stage_variant_and_output(tmp_path: Path) -> None:
    path = tmp_path / "gates.toml"
    path.write_text(FILE)
    gates = load(path)
    assert [found.metric for found in gates.tables[X_PRE]] == ["cosine", "relative_l2", "rms_ratio"]
    assert gates.tables[X_PRE][0].reason == "8-bit palettization"
    assert tuple(gates.tables) == (X_PRE, ("chain", "ships", "vocoder.x_pre"))
    assert ("vocoder", "fp32", "x_pre") not in gates.tables


@pytest.mark.parametrize(
    ("entry", "held", "broken", "bound"),
    [
        ('cosine = { min = 0.9995, derived_from = "m" }', (0.9995, 1.0), (0.9994, -1.0), "≥ 0.9995"),
        ('relative_l2 = { max = 0.02, derived_from = "m" }', (0.0, 0.02), (0.0201, 9.0), "≤ 0.02"),
        (
            'rms_ratio = { within = 0.005, derived_from = "m" }',
            (0.995, 1.0, 1.005),
            (0.9949, 1.0051),
            "within 0.005 of 1",
        ),
        ('gain_db = { within = 0.1, derived_from = "m" }', (-0.1, 0.1), (-0.11, 3.5), "within 0.1 of 0"),
        ('equal = { min = 1, derived_from = "m" }', (1.0,), (0.999,), "≥ 1"),
    ],
)
def test_a_gate_holds_up_to_its_bound_and_no_farther(
    entry: str, held: tuple[float, ...], broken: tuple[float, ...], bound: str
) -> None:
    assert all(gate(entry).check(value).passed for value in held)
    assert not any(gate(entry).check(value).passed for value in broken)
    assert gate(entry).check(held[0]).bound == gate(entry).bound
    assert str(gate(entry).bound) == bound


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("gated", parse(FILE, "gates.toml").gates, ids=lambda gated: gated.metric)
def test_a_value_that_is_not_finite_breaks_every_gate(gated: Gate, value: float) -> None:
    assert not gated.check(value).passed


def test_a_metric_that_was_not_measured_fails() -> None:
    found = judge(parse(FILE, "gates.toml").tables[X_PRE], {"cosine": 1.0, "rms_ratio": 1.0})
    assert [finding.passed for finding in found] == [True, False, True]
    assert "relative_l2 was not measured" in found[1].line()


def test_an_output_without_gates_is_not_judged() -> None:
    with pytest.raises(GateError, match="without a gate"):
        judge((), {"cosine": 1.0})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('cosin = { min = 0.9, derived_from = "m" }', "did you mean 'cosine'"),
        ('cosine = { min = 0.9, derived = "m" }', "unknown key 'derived'; did you mean 'derived_from'"),
        ('cosine = { max = 0.9, derived_from = "m" }', "takes min, for higher is better; it has max"),
        ('cosine = { min = 0.9, max = 1.0, derived_from = "m" }', "takes min, .* it has min and max"),
        ('rms_ratio = { max = 1.1, derived_from = "m" }', "takes within, for near is better"),
        ('cosine = { derived_from = "m" }', "it has no bound"),
        ("cosine = { min = 0.9 }", "has no derived_from"),
        ('cosine = { min = 0.9, derived_from = " " }', r"derived_from\] is ' '"),
        ("cosine = { min = 0.9, derived_from = 0.9 }", r"derived_from\] is 0.9"),
        ('cosine = { min = 0.9, derived_from = "m", reason = "" }', r"reason\] is ''"),
        ('cosine = { min = "0.9", derived_from = "m" }', r"min\] is '0.9' where a number"),
        ('cosine = { min = true, derived_from = "m" }', r"min\] is True where a number"),
        ('cosine = { min = nan, derived_from = "m" }', "not finite bounds nothing"),
        ('relative_l2 = { max = inf, derived_from = "m" }', "not finite bounds nothing"),
        ("cosine = 0.9", "is 0.9 where a table is expected"),
        ("cosine = {}", "is empty"),
        ('cosine = { min = -20, derived_from = "m" }', "can hardly fail"),
        ('cosine = { min = 0.0, derived_from = "m" }', "can hardly fail"),
        ('relative_l2 = { max = 1.0, derived_from = "m" }', "can hardly fail"),
        ('rms_ratio = { within = 1.0, derived_from = "m" }', "can hardly fail"),
        ('rms_ratio = { within = 0.51, derived_from = "m" }', "can hardly fail"),
        ('gain_db = { within = 3.6, derived_from = "m" }', "can hardly fail"),
        ('cosine = { min = 1.01, derived_from = "m" }', "can't be met"),
        ('relative_l2 = { max = -0.1, derived_from = "m" }', "can't be met"),
        ('rms_ratio = { within = -0.1, derived_from = "m" }', "can't be met"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_table_and_the_mend(entry: str, message: str) -> None:
    with pytest.raises(GateError, match=message) as raised:
        one(entry)
    assert str(raised.value).startswith("gates.toml: [vocoder.fp16-pal8.x_pre")


def test_a_table_of_the_wrong_depth_is_refused() -> None:
    entry = 'cosine = { min = 0.9, derived_from = "m" }'
    with pytest.raises(GateError, match=r"A table is \[stage.variant.output\]"):
        one(entry, "vocoder.fp16-pal8")
    with pytest.raises(GateError, match=r"no metric is called 'x_pre'.*a name with a dot in quotes"):
        one(entry, "chain.ships.vocoder.x_pre")
    with pytest.raises(GateError, match="a dot in the name of its stage"):
        one(entry, '"vocoder.fp16".pal8.x_pre')


def test_what_is_there_twice_is_refused_with_its_line() -> None:
    entry = 'cosine = { min = 0.9, derived_from = "m" }\n'
    with pytest.raises(GateError, match=r"gates.toml: .*line 2"):
        parse(f"[a.b.c]\n[a.b.c]\n{entry}", "gates.toml")
    with pytest.raises(GateError, match=r"gates.toml: .*line 3"):
        parse(f"[a.b.c]\n{entry}{entry}", "gates.toml")


@pytest.mark.parametrize("text", ["", "# only talk\n", '[retired]\n"a.b.c" = "why"\n'])
def test_a_file_without_a_gate_is_refused(text: str) -> None:
    with pytest.raises(GateError, match="nothing may pass"):
        parse(text, "gates.toml")


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="no such file"):
        load(tmp_path / "gates.toml")
    (tmp_path / "gates.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(GateError, match="not UTF-8"):
        load(tmp_path / "gates.toml")


def test_complete_gates_leave_nothing_to_say() -> None:
    gates = parse(FILE, "gates.toml")
    assert complete(gates, [X_PRE, ("chain", "ships", "vocoder.x_pre")]) == []


def test_an_expected_output_without_a_gate_is_named() -> None:
    wanted = [X_PRE, ("chain", "ships", "vocoder.x_pre"), ("tail", "fp32", "audio")]
    (said,) = complete(parse(FILE, "gates.toml"), wanted)
    assert said == "tail.fp32.audio has no gate: calibrate it"


def test_a_gate_for_something_undeclared_is_named_with_the_nearest() -> None:
    said = complete(parse(FILE, "gates.toml"), [("vocoder", "fp16-pal8", "x_pro"), ("chain", "ships", "vocoder.x_pre")])
    mend = "rename its table, or take it out and name it under [retired] with a reason"
    told = f"vocoder.fp16-pal8.x_pre is gated but declared nowhere ({mend})"
    assert f"{told}; did you mean 'vocoder.fp16-pal8.x_pro'?" in said


def test_nothing_expected_is_a_problem() -> None:
    assert complete(parse(FILE, "gates.toml"), []) != []


@pytest.mark.parametrize(
    ("entries", "unseen"),
    [
        ("cosine = { min = 0.9", "a correlation alone is not a gate"),
        ("f0_correlation = { min = 0.9", "a correlation alone is not a gate"),
        ("rms_ratio = { within = 0.01", "can't see order, shift"),
    ],
)
def test_gates_that_share_a_blind_spot_are_not_enough(entries: str, unseen: str) -> None:
    (said,) = complete(one(f'{entries}, derived_from = "m", reason = "why" }}'), [X_PRE])
    assert unseen in said


def test_gates_that_cover_each_others_blind_spots_are_enough() -> None:
    entries = (
        f'{bound}, derived_from = "m", reason = "why" }}'
        for bound in ("cosine = { min = 0.9", "rms_ratio = { within = 0.01")
    )
    assert complete(one("\n".join(entries)), [X_PRE]) == []


@pytest.mark.parametrize("limit", [0.0092, 0.0095, 0.02])
def test_a_bound_that_does_not_follow_from_its_measurements_needs_a_reason(limit: float) -> None:
    origin = '{ worst = 0.0031, median = 0.002, cases = 2, numerics = "declared" }'
    text = f"relative_l2 = {{ max = {limit}, derived_from = {origin}"
    (said,) = complete(one(f"{text} }}"), [X_PRE])
    assert said.startswith(f"vocoder.fp16-pal8.x_pre.relative_l2: ≤ {limit} does not follow from its derived_from")
    assert complete(one(f'{text}, reason = "a wider kernel" }}'), [X_PRE]) == []


def test_a_bound_of_unknown_origin_needs_a_reason() -> None:
    (said,) = complete(one('relative_l2 = { max = 0.01, derived_from = "a guess" }'), [X_PRE])
    assert "'a guess', and it lacks a reason" in said


def test_tightening_and_new_gates_are_free() -> None:
    assert list(loosened(cosine(0.99), cosine(0.999))) == []
    assert list(loosened(cosine(0.99), cosine(0.99))) == []
    assert list(loosened(cosine(0.99), parse(FILE, "gates.toml"))) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('cosine = { min = 0.99, derived_from = "m" }', 'cosine = { min = 0.98, derived_from = "m" }'),
        ('relative_l2 = { max = 0.1, derived_from = "m" }', 'relative_l2 = { max = 0.2, derived_from = "m" }'),
        ('rms_ratio = { within = 0.1, derived_from = "m" }', 'rms_ratio = { within = 0.2, derived_from = "m" }'),
    ],
)
def test_a_looser_bound_needs_a_reason(before: str, after: str) -> None:
    assert "without a reason" in problem(one(before), one(after))


def test_a_reason_excuses_a_loosening_only_if_it_is_a_new_one() -> None:
    assert problem(cosine(0.99), cosine(0.98, "4 bits")) == ""
    assert problem(cosine(0.99, "8 bits"), cosine(0.98, "4 bits")) == ""
    assert "its reason is the old one" in problem(cosine(0.99, "8 bits"), cosine(0.98, "8 bits"))
    (found,) = loosened(cosine(0.99), cosine(0.98, "4 bits"))
    assert found.line() == "vocoder.fp16-pal8.x_pre.cosine: ≥ 0.99 → ≥ 0.98 (4 bits)"


def test_a_gate_is_taken_away_only_with_a_reason() -> None:
    rest = 'relative_l2 = { max = 0.1, derived_from = "m" }'
    before = one(f'cosine = {{ min = 0.99, derived_from = "m" }}\n{rest}')
    assert "taken away without a reason" in problem(before, one(rest))
    retired = '[retired]\n"vocoder.fp16-pal8.x_pre.cosine" = "drifts with the phase"'
    assert problem(before, one(f"{rest}\n{retired}")) == ""
    elsewhere = one('cosine = { min = 0.99, derived_from = "m" }\n[retired]\n"vocoder.fp16-pal8" = "no more"', "a.b.c")
    assert [found.problem for found in loosened(before, elsewhere)] == ["", ""]


def test_a_retired_gate_that_still_gates_is_refused() -> None:
    with pytest.raises(GateError, match=r"takes vocoder\.fp16-pal8\.x_pre\.cosine away, which is still there"):
        one('cosine = { min = 0.9, derived_from = "m" }\n[retired]\n"vocoder.fp16-pal8" = "no more"')
    with pytest.raises(GateError, match="where some text is expected"):
        one('cosine = { min = 0.9, derived_from = "m" }\n[retired]\n"tail" = ""')


def gates_of(metric: str) -> st.SearchStrategy[Gate]:
    declared = metrics.find(metric)
    limit = min(declared.limit, 100.0)
    text = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)
    room = st.floats(0, limit * 0.99)
    bound = (
        room
        if declared.better == "near"
        else room.map(lambda far: declared.ideal - far if declared.better == "higher" else declared.ideal + far)
    )
    return st.builds(
        make,
        st.tuples(
            st.sampled_from(["vocoder", "a stage", "chain"]),
            st.sampled_from(["fp16-pal8", "ships"]),
            st.sampled_from(["x_pre", "vocoder.x_pre", 'say "é"', "a\\b"]),
        ),
        st.just(declared),
        bound,
        text,
        st.just("") | text,
    )


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(sorted(metrics.METRICS)).flatmap(gates_of), min_size=1, unique_by=lambda gate: gate.name)
)
def test_rendered_gates_are_read_back_as_they_were(gates: list[Gate]) -> None:
    again = parse(render(Gates(tuple(gates), {"tail": "why"})), "gates.toml")
    assert again.by_name() == Gates(tuple(gates)).by_name()
    assert again.retired == {"tail": "why"}


GATE_FILES = sorted(Path(__file__).parents[3].glob("golden/**/gates.toml"))


@pytest.mark.parametrize("path", GATE_FILES, ids=lambda path: path.parent.name)
def test_each_bound_of_this_repository_follows_from_its_measurements_or_has_a_reason(path: Path) -> None:
    found = load(path)
    assert complete(found, list(found.tables)) == []


def test_a_hash_within_a_string_is_no_comment() -> None:
    text = '# head\n\n[a]\nb = "no # comment \\" # here"\nc = 1 # but here\n'
    assert comments(text) == ("# head\n\n", (5,))
