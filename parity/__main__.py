"""The command line: start a project, record truth, calibrate gates, gate a change, show the last run."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from datetime import UTC, datetime
from pathlib import Path

from parity.base.cache import Cache
from parity.base.libraries import quiet
from parity.base.paths import GATES, project
from parity.base.progress import Progress
from parity.gate import gate as merge
from parity.gate import report
from parity.gate.git import RevisionError
from parity.golden import cli as golden_cli
from parity.judge.calibrate import CalibrationError, calibrate, counted, far, measurements
from parity.plan import starter
from parity.plan.checks import CHAIN
from parity.plan.systems import system
from parity.plan.weights import OPTION
from parity.record import run, workers
from parity.record.obstacles import obstacles
from parity.record.run import SessionError
from parity.record.suite import Options, Suite
from parity.verdict import Verdict


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code. 0: all well. 1: not passed. 2: the command failed."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["golden"]:
        return golden_cli.main(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        with quiet():
            return int(options.do(options))
    except (RevisionError, ValueError, OSError) as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="parity", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    gate = verbs.add_parser("gate", help="before a merge: what this change affects, checked; a report; an exit code")
    gate.add_argument("--base", default="main", metavar="REVISION", help="what to compare with (default: main)")
    gate.set_defaults(do=_gate)
    show = verbs.add_parser("report", help="the last run as a page, in the browser")
    show.set_defaults(do=_report)
    bounds = verbs.add_parser("calibrate", help="measure a system, and write bounds that follow from it")
    bounds.add_argument("system")
    bounds.add_argument(
        "--runtime", choices=("auto", "coreml", "milrun", "executorch"), default="auto", help="default: auto"
    )
    bounds.add_argument("--numerics", default="declared", metavar="NAME[,NAME]", help="default: declared")
    bounds.add_argument("--weights", **OPTION)
    bounds.add_argument("--cases", default="short", metavar="short|all|NAME[,NAME]", help="default: short")
    bounds.add_argument("--stages", nargs="+", default=[], metavar="STAGE", help="only these; chain is one of them")
    bounds.add_argument("--reason", default="", help="why bounds may loosen: goes into the gates")
    bounds.set_defaults(do=_calibrate)
    cache = verbs.add_parser("cache", help="what is kept of builds, measurements and runs; --clear removes it")
    cache.add_argument("--clear", nargs="?", const="", metavar="KIND", help="remove all entries, or those of a kind")
    cache.set_defaults(do=_cache)
    first = verbs.add_parser("init", help="a first system for this project: the example of the tutorial")
    first.add_argument("--one-file", action="store_true", help="one file, port.py, instead of two")
    first.set_defaults(do=_init)
    golden = verbs.add_parser("golden", add_help=False, help="record truth: refresh, verify, diff, status")
    golden.set_defaults(do=lambda options: 0)
    return parser


def _gate(options: argparse.Namespace) -> int:
    written = report.Written.below(project().root)
    with merge.alone(project().root):
        written.remove()
        outcome = merge.gate(project().root, options.base)
        report.write(outcome, project().root)
    for problem in outcome.problems:
        _say(f"problem: {problem.line()}")
    _say(f"gate {report.headline(outcome)}")
    _say(f"report: {written.markdown.relative_to(project().root)}, and beside it {written.page.name}")
    return 0 if outcome.passed else 1


def _report(options: argparse.Namespace) -> int:
    record = run.latest(project().state_folder)
    if record is None:
        raise SessionError(f"{project().state_folder} has no complete run yet: `pytest -m parity` makes one")
    page = run.folder_of(project().state_folder, record.id) / "report.html"
    print(page.relative_to(project().root))
    webbrowser.open(page.as_uri())
    return 0 if record.passed else 1


def _calibrate(options: argparse.Namespace) -> int:
    """Measure what is missing of a system, and write the bounds that follow from it."""
    chosen = Options(
        runtime=options.runtime,
        numerics=tuple(options.numerics.split(",")),
        weights=options.weights,
        cases=options.cases,
    )
    suite = Suite(chosen, run.new_id(datetime.now(UTC)))
    declared = system(options.system)
    # No bound follows from probes of large sizes, which take longest.
    common = (check for check in suite.checks(declared) if check.mode != "stretched")
    checks = [check for check in common if not options.stages or check.stage in options.stages]
    if not checks:
        stages = ", ".join([*(stage.name for stage in declared.stages), CHAIN])
        raise CalibrationError(
            f"{declared.name} has nothing to measure: its stages are {stages}, and --cases all runs its long cases too"
        )
    if found := obstacles(suite, checks, gated=False):
        raise CalibrationError("\n".join(dict.fromkeys(found.values())))
    workers.prepare(suite, checks, measure=True)
    verdicts = []
    with Progress(len(checks), "measuring", every=10) as progress:
        for check in checks:
            verdicts.append(suite.workbench(check).run(check))
            progress.step(check.id)
    if broken := [f"{verdict.check.id}: {fault}" for verdict in verdicts if (fault := _broken(verdict))]:
        raise CalibrationError("\n".join(["these can't be measured; mend them first", *broken]))
    path = suite.project.golden_folder / declared.name / suite.weights(declared).folder / GATES
    measured = list(measurements(verdicts, declared, suite.cache))
    for line in (*calibrate(measured, path, options.reason), counted(measured), *far(measured, declared)):
        print(line)
    return 0


def _broken(verdict: Verdict) -> str:
    """Return why a check did not measure every output. Bounds that are missing or broken don't matter here."""
    faults = [found for found in verdict.failures if found.gate != "gated" and found.bound is None]
    return faults[0].line() if faults else ""


def _init(options: argparse.Namespace) -> int:
    root = Path.cwd()
    for name in starter.write(root, options.one_file):
        print(f"written: {name}")
    print(f"""
Now record the truth, measure the artifacts, and check them:

  parity golden refresh {starter.NAME} --reason "first recording"
  parity calibrate {starter.NAME}
  pytest -m parity

Then put your own model in place of the example, and commit golden/; .parity/ belongs in .gitignore.""")
    return 0


def _cache(options: argparse.Namespace) -> int:
    kept = Cache.of(project())
    left = [] if options.clear is None else kept.clear(options.clear)
    for line in kept.table():
        print(line)
    print(f"limit: {project().cache_gb:g} GB, set by cache_gb in [tool.parity]; used longest ago, removed first")
    if left:
        print(f"not removed: {len(left)} entries that running processes use. Clear again when these have ended")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
