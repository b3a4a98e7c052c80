"""Branches of the host code that no case takes: a bug in one of them shows in no golden."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from parity.base.branches import EXCUSE, Trace
from parity.base.fingerprint import spans
from parity.declarations import HOST, Arrays, Case, Golden, System
from parity.run.rehearsal import Rehearsal
from parity.verdict import Bound, Finding

GATE = "branches"
MOST = 6
MEND = f'Add a case that takes it, or say why none does: "{EXCUSE} …" on the line'


def excuses(system: System) -> list[str]:
    """Return every excuse in the host code, with its place."""
    found = Trace(spans(system.chain)).excuses.items()
    return [f"{path.name}:{excuse.head.start} {excuse.reason}" for path, every in found for excuse in every]


def findings(system: System, runs: Iterable[tuple[Case, Golden, Arrays]], root: Path) -> Iterator[Finding]:
    """Yield the share of lines and outcomes of conditions that the host code takes, and what it makes otherwise.

    A chain tells the latter too. Of what ships unchained, nothing else runs the host code.

    The host code is everything of the project that `system.chain` reaches by functions and classes, and of what it
    reaches by variables, such as a list of stages, whatever runs.

    Args:
        system: The system.
        runs: Each case, with its golden and tables. The host code runs on upstream's values.
        root: The project's folder.
    """
    trace = Trace(spans(system.chain, root=root), spans(system.chain, root=root, by_data=False))
    for case, golden, tables in runs:
        rehearsal = Rehearsal(system, golden, tables)
        with trace.running():
            system.chain(rehearsal, case)
        for found in rehearsal.findings():
            if not found.passed:
                yield replace(found, message=f"case {case.name}: {found.message}")
    total, missed = trace.counted()
    told = [f"{one.path.relative_to(root)}:{one.line} {one.what}" for one in missed[:MOST]]
    more = [f"and {len(missed) - MOST} more"] if len(missed) > MOST else []
    reasons = [f"{path.name}:{one.head.start} {one.reason}" for path, every in trace.excuses.items() for one in every]
    held = "; ".join([f"{total} lines and outcomes, all taken", *(f"excused: {reason}" for reason in reasons)])
    message = f"{'; '.join([*told, *more])}. {MEND}" if missed else held
    bound = Bound("min", 1.0, 1.0)
    yield Finding(HOST, GATE, not missed, 1 - len(missed) / max(total, 1), bound, message)
