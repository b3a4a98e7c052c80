"""Lines and branches that code takes while it is traced, by the instructions that ran."""

from __future__ import annotations

import ast
import dis
import inspect
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

Spans = Mapping[Path, Sequence[tuple[int, int]]]
EXCUSE = "# unexercised:"
"""A comment that excuses what is not taken on its line, with a reason. At the head of a block that never runs, it
excuses the block."""
_UNFAILING = {"CHECK_EXC_MATCH", "WITH_EXCEPT_START"}
"""Instructions of `except` and `with` before a jump that no `if` stands for."""


@dataclass(frozen=True)
class Missed:
    """A line that never ran, or a condition that only ever had one outcome."""

    path: Path
    line: int
    what: str


@dataclass(frozen=True)
class Excuse:
    """A reason, the lines of the statement that has it, and those of its block."""

    reason: str
    head: range
    block: range


@dataclass
class Trace:
    """Instructions that ran, of the functions within spans of files.

    Attributes:
        spans: First and last lines of the definitions that are traced, by file.
        sure: Those that count even if nothing in them runs; None for all.
    """

    spans: Spans
    sure: Spans | None = None
    _ran: dict[CodeType, set[int]] = field(default_factory=dict)
    _jumped: dict[CodeType, set[tuple[int, int]]] = field(default_factory=dict)
    _known: dict[CodeType, bool] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Trace what runs in the context, in this thread. A debugger's own trace pauses meanwhile."""
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)

    @cached_property
    def excuses(self) -> dict[Path, list[Excuse]]:
        """The excuses in each file."""
        return {path: list(_excuses(path.read_text("utf-8"))) for path in self.spans}

    def counted(self) -> tuple[int, list[Missed]]:
        """Return how many lines and outcomes there are, and those not taken. Excused ones do not count."""
        total, missed = 0, []
        ran = defaultdict(set)
        for code in self._ran:
            ran[_name(code)].add(code)
        for path, spans in self._counting():
            wanted: dict[int, bool] = {}
            for code in _functions(compile(path.read_text("utf-8"), str(path), "exec")):
                if not _within(code, spans):
                    continue
                alive = ran.get(_name(code), {code})
                for one in alive:
                    executed = self._ran.get(one, set())
                    for line, offsets in _lines(one).items():
                        wanted[line] = wanted.get(line, False) or bool(offsets & executed)
            of_file = [Missed(path, line, "never runs") for line, taken in wanted.items() if not taken]
            outcomes = self._outcomes(path)
            of_file += [
                Missed(path, place[0], f"`{text}` is never {'false' if True in seen else 'true'}")
                for (place, text), seen in outcomes.items()
                if len(seen) == 1
            ]
            excused = set()
            for excuse in self.excuses[path]:
                block = [line for line in wanted if line in excuse.block]
                excused |= {*excuse.head, *(() if any(wanted[line] for line in block) else block)}
            total += sum(line not in excused for line in wanted)
            total += sum(2 for place, _ in outcomes if place[0] not in excused)
            missed += [one for one in sorted(of_file, key=lambda one: one.line) if one.line not in excused]
        return total, missed

    def _counting(self) -> Iterator[tuple[Path, Sequence[tuple[int, int]]]]:
        for path, spans in self.spans.items():
            sure = (self.spans if self.sure is None else self.sure).get(path, ())
            ran = [code.co_firstlineno for code in self._ran if Path(code.co_filename) == path]
            yield path, [span for span in spans if span in sure or any(span[0] <= line <= span[1] for line in ran)]

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if code not in self._known:
            path = Path(code.co_filename)
            self._known[code] = path in self.spans and _within(code, self.spans[path]) and _is_function(code)
        if not self._known[code]:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        ran, jumped = self._ran.setdefault(code, set()), self._jumped.setdefault(code, set())
        last = -1

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "opcode":
                ran.add(frame.f_lasti)
                jumped.add((last, frame.f_lasti))
                last = frame.f_lasti
            return step

        return step

    def _outcomes(self, path: Path) -> dict[tuple[tuple[int, int], str], set[bool]]:
        """Return the outcomes of each condition that was met, by its place and text.

        A loop's condition stands in the instructions twice, at its top and its bottom: both count as one.
        """
        found: dict[tuple[tuple[int, int], str], set[bool]] = {}
        source = path.read_text("utf-8")
        for code, pairs in self._jumped.items():
            if Path(code.co_filename) != path:
                continue
            after = dict[int, set[int]]()
            for start, end in pairs:
                after.setdefault(start, set()).add(end)
            instructions = [one for one in dis.get_instructions(code) if one.opname != "EXTENDED_ARG"]
            for before, jump, following in zip(instructions, instructions[1:], instructions[2:], strict=False):
                place = jump.positions
                if "JUMP" not in jump.opname or "IF" not in jump.opname or place is None or place.lineno is None:
                    continue
                if before.opname in _UNFAILING or following.opname == "LOAD_ASSERTION_ERROR":
                    continue
                positive = jump.opname.endswith("TRUE") or ("NONE" in jump.opname and "NOT" not in jump.opname)
                key = (place.lineno, place.col_offset or 0), _text(source, place)
                for end in after.get(jump.offset, ()):
                    fell = jump.offset < end <= following.offset
                    found.setdefault(key, set()).add(positive != fell)
        return found


def _functions(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if _is_function(constant):
                yield constant
            yield from _functions(constant)


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_OPTIMIZED)


def _within(code: CodeType, spans: Sequence[tuple[int, int]]) -> bool:
    return any(first <= code.co_firstlineno <= last for first, last in spans)


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
    lines = source.splitlines()[place.lineno - 1 : place.end_lineno]
    if len(lines) != 1:
        return f"{lines[0][place.col_offset :].strip()} …" if lines else "?"
    return lines[0].encode()[place.col_offset : place.end_col_offset].decode()


def _excuses(source: str) -> Iterator[Excuse]:
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
        yield from (Excuse(comments[number], head, block) for number in set(head) & comments.keys())
