"""`python -m parity`: calibrate the gates, show the last run."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from pathlib import Path

from parity import evidence, session
from parity.cache import Cache
from parity.calibrate import CalibrationError, Measured, calibrate
from parity.gates import GateError
from parity.session import RunRecord, SessionError
from parity.suite import ROOT, STATE


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: all well; 1: not passed; 2: it could not be told or done."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.do(options))
    except (CalibrationError, GateError, SessionError, ValueError, OSError) as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m parity", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    show = verbs.add_parser("report", help="the last run as a page, in the browser")
    show.set_defaults(do=_report)
    bounds = verbs.add_parser("calibrate", help="bounds from what the last complete run measured")
    bounds.add_argument("system")
    bounds.add_argument("--stages", nargs="+", default=[], metavar="STAGE", help="only these; chain is one of them")
    bounds.add_argument("--reason", default="", help="why bounds may loosen: goes into the gates")
    bounds.set_defaults(do=_calibrate)
    return parser


def _report(options: argparse.Namespace) -> int:
    record = _latest()
    page = session.folder_of(ROOT / STATE, record.id) / "report.html"
    print(page.relative_to(ROOT))
    webbrowser.open(page.as_uri())
    return 0 if record.passed else 1


def _calibrate(options: argparse.Namespace) -> int:
    record = _latest()
    if record.partial:
        raise CalibrationError("the last run was a partial one, whose spread is too narrow; run `pytest -m parity`")
    found = [
        measured
        for measured in measurements(record, options.system, Cache(ROOT / STATE))
        if not options.stages or measured.stage in options.stages
    ]
    path = ROOT / "golden" / options.system / "gates.toml"
    for line in calibrate(found, path, options.reason):
        print(line)
    return 0


def measurements(record: RunRecord, system: str, cache: Cache) -> list[Measured]:
    """Every number that a run measured of a system."""
    found = []
    for verdict in record.verdicts:
        if verdict.system == system:
            folder = evidence.folder_of(cache, verdict.evidence)
            if folder is None:
                raise CalibrationError(f"{verdict.id}: its evidence is gone from {STATE}; run `pytest -m parity` again")
            for output, values in evidence.read(folder, verdict.evidence).values.items():
                found += [
                    Measured(verdict.stage, verdict.variant, output, metric, value, verdict.case, verdict.numerics)
                    for metric, value in values.items()
                ]
    return found


def _latest() -> RunRecord:
    record = session.latest(ROOT / STATE)
    if record is None:
        raise SessionError(f"{Path(STATE)} has no complete run yet: `pytest -m parity` makes one")
    return record


if __name__ == "__main__":
    sys.exit(main())
