"""Inputs that the cases never vary, and branches of the host code that none takes: no golden shows a bug there.

A trace of the instructions that ran tells the lines and branches that were taken, and the limits that were met.
"""

from __future__ import annotations

import ast
import dis
import hashlib
import inspect
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

from parity.base.fingerprint import spans
from parity.base.limits import Limits
from parity.declarations import HOST, Arrays, Case, Golden, Seam, Stage, System
from parity.run import stepping
from parity.run.chain import Rehearsal
from parity.steps import SLOTS
from parity.verdict import Bound, Finding

Spans = Mapping[Path, Sequence[tuple[int, int]]]
EXCUSE = "# unexercised:"
"""A comment that excuses what is not taken on its line, with a reason. At the head of a block that never runs, it
excuses the block."""
_UNFAILING = {"CHECK_EXC_MATCH", "WITH_EXCEPT_START"}
"""Instructions of `except` and `with` before a jump that no `if` stands for."""
MOST = 6
MEND = f'Add a case that takes it, or say why none does: "{EXCUSE} …" on the line'


def inputs(system: System, goldens: Sequence[Golden]) -> Iterator[Finding]:
    """Yield whether each input of each stage takes at least two values over all cases and steps.

    Args:
        system: The system. `Stage.fixed` gives reasons for inputs that never vary.
        goldens: The goldens of the cases that count.
    """
    cases = ", ".join(golden.case for golden in goldens)
    for stage in system.stages:
        seams = [golden[stage.name] for golden in goldens]
        if unknown := [name for name in stage.fixed if name not in stage.inputs]:
            said = "`fixed` gives a reason for it, but it is not an input"
            yield Finding(f"{stage.name}.{unknown[0]}", "exercised", False, message=said)
        for name in stage.inputs:
            varies = _varies(stage, name, seams)
            reason = stage.fixed.get(name, "").strip()
            said = "takes several values" if varies else f"never varies: {reason}" if reason else ""
            fault = (
                f"declared, never exercised: it has the same value in every case and step of {cases}. Add a case, or "
                "give a reason in `fixed` of the stage"
            )
            yield Finding(f"{stage.name}.{name}", "exercised", bool(said), message=said or fault)


def _varies(stage: Stage, name: str, seams: Sequence[Seam]) -> bool:
    """Return whether an input takes several values. Of a single case, several within one tensor are enough."""
    seen: set[str] = set()
    for seam in seams:
        for value in _values(stage, name, seam):
            seen.add(_content(value))
            if len(seen) > 1 or (len(seams) == 1 and not _constant(value)):
                return True
    return False


def _constant(value: np.ndarray) -> bool:
    equal_nan = value.dtype.kind == "f"
    return bool(value.size) and np.array_equal(value, np.broadcast_to(value.flat[0], value.shape), equal_nan=equal_nan)


def _values(stage: Stage, name: str, seam: Seam) -> Iterator[np.ndarray]:
    """Yield what an input was at each step. Of a cache of slots, yield the slots written before the step instead."""
    output = next((made for made, source in stage.carries.items() if source == name), None)
    if stage.stepped and output is None:
        yield from seam.inputs[name]
        return
    yield seam.inputs[name]
    if stage.stepped and output is not None:
        axis, made = stepping.slots_of(stage).get(output), seam.outputs[output]
        if axis is None:
            yield from made[:-1]
        elif rows := made.shape[axis] - int((seam.inputs[f"{output}{SLOTS}"][-1] >= 0).sum()):
            yield np.take(made, np.arange(rows), axis)


def _content(value: np.ndarray) -> str:
    """Return a digest. Arrays of one and the same number count as equal, whatever their shape: a mask of ones."""
    constant = _constant(value)
    told = value.reshape(-1)[:1] if constant else np.ascontiguousarray(value)
    shape = () if constant else value.shape
    return f"{shape} {value.dtype} {hashlib.sha256(told.tobytes()).hexdigest()}"


def excuses(system: System) -> list[str]:
    """Return every excuse in the host code, with its place."""
    return _listed(_excuses(spans(system.chain)))


def branches(system: System, runs: Iterable[tuple[Case, Golden, Arrays]], root: Path) -> Iterator[Finding]:
    """Yield the share of lines and outcomes of conditions that the host code takes, and what it makes otherwise.

    A chain tells the latter too. Of what ships unchained, nothing else runs the host code.

    The host code is everything of the project that `system.chain` reaches by functions and classes, and of what it
    reaches by variables, such as a list of stages, whatever runs.

    Args:
        system: The system.
        runs: Each case, with its golden and tables. The host code runs on upstream's values.
        root: The project's folder.
    """
    trace = _Trace(spans(system.chain, root=root), spans(system.chain, root=root, by_data=False))
    for case, golden, tables in runs:
        rehearsal = Rehearsal(system, golden, tables)
        with trace.running():
            system.chain(rehearsal, case)
        for found in rehearsal.findings():
            if not found.passed:
                yield replace(found, message=f"case {case.name}: {found.message}")
    excused = _excuses(trace.spans)
    total, missed = trace.counted(excused, root)
    more = [f"and {len(missed) - MOST} more"] if len(missed) > MOST else []
    held = "; ".join([f"{total} lines and outcomes, all taken", *(f"excused: {one}" for one in _listed(excused))])
    message = f"{'; '.join([*missed[:MOST], *more])}. {MEND}" if missed else held
    bound = Bound("min", 1.0, 1.0)
    yield Finding(HOST, "branches", not missed, 1 - len(missed) / max(total, 1), bound, message)


@dataclass
class _Trace:
    """Instructions that ran, of the functions within spans of files.

    Attributes:
        spans: First and last lines of the definitions that are traced, by file.
        sure: Those that count even if nothing in them runs.
    """

    spans: Spans
    sure: Spans
    _ran: dict[CodeType, set[tuple[int, int]]] = field(default_factory=dict)
    """The pairs of instructions that ran one after the other, by their offsets; -1 before the first."""
    _known: dict[CodeType, bool] = field(default_factory=dict)

    @cached_property
    def limits(self) -> Limits:
        return Limits(self._counts)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Trace what runs in the context, in this thread. A debugger's own trace pauses meanwhile."""
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)
            self.limits.restore()

    def counted(self, excuses: Mapping[Path, Sequence[_Excuse]], root: Path) -> tuple[int, list[str]]:
        """Return how many lines and outcomes there are, and those not taken. Excused ones do not count.

        A limit has an outcome for each of its values: that it lets this one through.
        """
        total, missed = 0, list[str]()
        for path, within in self._counting():
            source = path.read_text("utf-8")
            lines, outcomes = self._taken(path, source, within), self._outcomes(path)
            of_file = [(line, "never runs") for line, taken in lines.items() if not taken]
            for place, seen in outcomes.items():
                if len(seen) == 1:
                    never = f"`{_text(source, place)}` is never {'false' if True in seen else 'true'}"
                    of_file.append((place.lineno or 0, never))
            limits = list(self._limited(path, source))
            of_file += [(line, never) for line, _, of_limit in limits for never in of_limit]
            excused = set[int | None]()
            for excuse in excuses[path]:
                block = [line for line in lines if line in excuse.block]
                excused |= {*excuse.head, *(() if any(lines[line] for line in block) else block)}
            total += sum(line not in excused for line in lines)
            total += sum(2 for place in outcomes if place.lineno not in excused)
            total += sum(values for line, values, _ in limits if line not in excused)
            of_file.sort(key=lambda one: one[0])
            missed += [f"{path.relative_to(root)}:{line} {what}" for line, what in of_file if line not in excused]
        return total, missed

    def _counting(self) -> Iterator[tuple[Path, Sequence[tuple[int, int]]]]:
        for path, every in self.spans.items():
            sure = self.sure.get(path, ())
            ran = [code.co_firstlineno for code in self._ran if Path(code.co_filename) == path]
            yield path, [span for span in every if span in sure or any(span[0] <= line <= span[1] for line in ran)]

    def _limited(self, path: Path, source: str) -> Iterator[tuple[int, int, list[str]]]:
        """Yield each limit in a file: its line, how many values it has, and what is said of those it never gives."""
        for limit, values, won in self.limits.found():
            if limit.path == path and (call := limit.call(source)) is not None:
                never = [ast.unparse(call.args[place]) for place in range(values) if place not in won]
                yield limit.line, values, [f"`{ast.unparse(call)}` never gives `{value}` alone" for value in never]

    def _counts(self, code: CodeType) -> bool:
        if code not in self._known:
            path = Path(code.co_filename)
            self._known[code] = path in self.spans and _within(code, self.spans[path]) and _is_function(code)
        return self._known[code]

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if not self._counts(code):
            return None
        self.limits.watch(frame.f_globals)
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        ran, last = self._ran.setdefault(code, set()), -1

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "opcode":
                ran.add((last, frame.f_lasti))
                last = frame.f_lasti
            return step

        return step

    def _taken(self, path: Path, source: str, within: Sequence[tuple[int, int]]) -> dict[int, bool]:
        """Return whether each line of the functions within these lines ran."""
        ran = defaultdict(set)
        for code in self._ran:
            ran[_name(code)].add(code)
        found: dict[int, bool] = {}
        for code in _functions(compile(source, str(path), "exec")):
            for one in ran.get(_name(code), {code}) if _within(code, within) else ():
                executed = {offset for _, offset in self._ran.get(one, ())}
                for line, offsets in _lines(one).items():
                    found[line] = found.get(line, False) or bool(offsets & executed)
        return found

    def _outcomes(self, path: Path) -> dict[dis.Positions, set[bool]]:
        """Return the outcomes of each condition that was met, by its place.

        A loop's condition stands in the instructions twice, at its top and its bottom: both count as one.
        """
        found: dict[dis.Positions, set[bool]] = {}
        for code, pairs in self._ran.items():
            if Path(code.co_filename) != path:
                continue
            instructions = [one for one in dis.get_instructions(code) if one.opname != "EXTENDED_ARG"]
            for before, jump, following in zip(instructions, instructions[1:], instructions[2:], strict=False):
                place = jump.positions
                if "JUMP" not in jump.opname or "IF" not in jump.opname or place is None or place.lineno is None:
                    continue
                if before.opname in _UNFAILING or following.opname == "LOAD_ASSERTION_ERROR":
                    continue
                positive = jump.opname.endswith("TRUE") or ("NONE" in jump.opname and "NOT" not in jump.opname)
                for end in (end for start, end in pairs if start == jump.offset):
                    fell = jump.offset < end <= following.offset
                    found.setdefault(place, set()).add(positive != fell)
        return found


def _functions(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if _is_function(constant):
                yield constant
            yield from _functions(constant)


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_OPTIMIZED)


def _within(code: CodeType, lines: Sequence[tuple[int, int]]) -> bool:
    return any(first <= code.co_firstlineno <= last for first, last in lines)


def _name(code: CodeType) -> tuple[str, int, str]:
    return code.co_filename, code.co_firstlineno, code.co_qualname


def _lines(code: CodeType) -> dict[int, set[int]]:
    """Return the offsets of each line's instructions, without those that only set up the function."""
    found: dict[int, set[int]] = defaultdict(set)
    for one in dis.get_instructions(code):
        line = one.positions.lineno if one.positions else None
        if line and one.opname not in {"RESUME", "COPY_FREE_VARS", "MAKE_CELL", "RETURN_GENERATOR", "POP_TOP"}:
            found[line].add(one.offset)
    return dict(found)


def _text(source: str, place: Any) -> str:
    first, *more = (ast.get_source_segment(source, place) or "?").splitlines()
    return f"{first.strip()} …" if more else first


@dataclass(frozen=True)
class _Excuse:
    """A reason, the lines of the statement that has it, and those of its block."""

    reason: str
    head: range
    block: range


def _listed(excuses: Mapping[Path, Sequence[_Excuse]]) -> list[str]:
    return [f"{path.name}:{one.head.start} {one.reason}" for path, every in excuses.items() for one in every]


def _excuses(paths: Iterable[Path]) -> dict[Path, list[_Excuse]]:
    """Return the excuses in each file."""
    return {path: list(_excuses_in(path.read_text("utf-8"))) for path in paths}


def _excuses_in(source: str) -> Iterator[_Excuse]:
    comments = {
        number: reason
        for number, line in enumerate(source.splitlines(), 1)
        if (reason := line.partition(EXCUSE)[2].strip())
    }
    for node in ast.walk(ast.parse(source)) if comments else ():
        if not isinstance(node, ast.stmt):
            continue
        body = getattr(node, "body", None)
        last = node.end_lineno or node.lineno
        head = range(node.lineno, body[0].lineno if body else last + 1)
        block = range(head.stop, (body[-1].end_lineno or last) + 1) if body else range(0)
        yield from (_Excuse(comments[number], head, block) for number in set(head) & comments.keys())
