"""`python -m parity`: gate a change before it is merged, calibrate the gates, show the last run."""

from __future__ import annotations

import argparse
import sys
import webbrowser

from parity.base import cache_use
from parity.base.cache import Cache
from parity.base.paths import GATES, project
from parity.gate import gate as merge
from parity.gate import report
from parity.gate.git import RevisionError
from parity.judge.calibrate import CalibrationError, calibrate
from parity.judge.measurements import measurements
from parity.plan.systems import systems
from parity.plan.weights import choose
from parity.record import run
from parity.record.run import RunRecord, SessionError, left_out


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: all well; 1: not passed; 2: it could not be told or done."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.do(options))
    except (RevisionError, ValueError, OSError) as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m parity", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    gate = verbs.add_parser("gate", help="before a merge: what this change affects, checked; a report; an exit code")
    gate.add_argument("--base", default="main", metavar="REVISION", help="what to compare with (default: main)")
    gate.set_defaults(do=_gate)
    show = verbs.add_parser("report", help="the last run as a page, in the browser")
    show.set_defaults(do=_report)
    bounds = verbs.add_parser("calibrate", help="bounds from what the last complete run measured")
    bounds.add_argument("system")
    bounds.add_argument("--stages", nargs="+", default=[], metavar="STAGE", help="only these; chain is one of them")
    bounds.add_argument("--reason", default="", help="why bounds may loosen: goes into the gates")
    bounds.set_defaults(do=_calibrate)
    cache = verbs.add_parser("cache", help="what is kept of builds, measurements and runs; --clear removes it")
    cache.add_argument("--clear", nargs="?", const="", metavar="KIND", help="remove all entries, or those of a kind")
    cache.set_defaults(do=_cache)
    return parser


def _gate(options: argparse.Namespace) -> int:
    written = report.Written.below(project().root)
    with merge.alone(project().root, _say):
        written.remove()
        outcome = merge.gate(project().root, options.base, _say)
        report.write(outcome, project().root)
    for problem in outcome.problems:
        _say(f"problem: {problem.line()}")
    _say(f"gate {report.headline(outcome)}")
    _say(f"report: {written.markdown.relative_to(project().root)}, and beside it {written.page.name}")
    return 0 if outcome.passed else 1


def _report(options: argparse.Namespace) -> int:
    record = _latest()
    page = run.folder_of(project().state_folder, record.id) / "report.html"
    print(page.relative_to(project().root))
    webbrowser.open(page.as_uri())
    return 0 if record.passed else 1


def _calibrate(options: argparse.Namespace) -> int:
    record = _latest()
    system = systems().get(options.system)
    if system is None:
        known = ", ".join(systems()) or "none"
        raise CalibrationError(f"converters/ declares no system {options.system!r}; known are {known}")
    if missing := left_out(record, system):
        raise CalibrationError(
            f"the last run has no verdict on {len(missing)} checks of {system.name}, and so too narrow a spread; "
            f"run `pytest -m parity -k {system.name}`"
        )
    found = [
        measured
        for measured in measurements(record.verdicts, system, Cache.of(project()))
        if not options.stages or measured.stage in options.stages
    ]
    weights = choose(system.reference, record.weights, Cache.of(project()))
    path = project().golden_folder / options.system / weights.folder / GATES
    for line in calibrate(found, path, options.reason):
        print(line)
    return 0


def _cache(options: argparse.Namespace) -> int:
    root = project().state_folder
    left = [] if options.clear is None else cache_use.clear(root, options.clear)
    for line in cache_use.table(root):
        print(line)
    print(f"limit: {project().cache_gb:g} GB, set by cache_gb in [tool.parity]; used longest ago, removed first")
    if left:
        print(f"not removed: {len(left)} entries that running processes use. Clear again when these have ended")
    return 0


def _latest() -> RunRecord:
    record = run.latest(project().state_folder)
    if record is None:
        raise SessionError(f"{project().state_folder} has no complete run yet: `pytest -m parity` makes one")
    return record


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
