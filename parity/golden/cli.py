"""The golden commands: record truth, verify it, show what a refresh would change, show its state."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from parity.base.cache import Cache
from parity.base.libraries import quiet
from parity.base.paths import project
from parity.declarations import Case, Reference
from parity.golden.case_file import tracked
from parity.golden.errors import ExtraWanted, GoldenError
from parity.golden.refresh import ReasonWanted, diff, refresh
from parity.golden.status import status, verify
from parity.golden.store import GoldenStore
from parity.plan import systems
from parity.plan.weights import AUTO, OPTION, Weights, WeightsError, dressed, lacking
from parity.plan.weights import choose as chosen

_TOLD = (GoldenError, WeightsError, ValueError, OSError)
Choose = Callable[[Reference, str, Cache], Weights]


def main(
    arguments: list[str] | None = None,
    references: Mapping[str, Reference] | None = None,
    choose: Choose = chosen,
    root: Path | None = None,
    cache: Cache | None = None,
) -> int:
    """Run a golden command and return its exit code.

    0: all well. 1: something moved, differs or is not fresh. 2: the command failed, or skipped a system.
    """
    options = _parser().parse_args(arguments)
    try:
        known = systems.references() if references is None else references
        kept = Cache.of(project()) if cache is None else cache
        stores = []
        for name in _named(options.systems, known):
            # A reference that was published several times has one truth, except with published weights.
            published = systems.checkpoints(name) if options.weights == "hub" and references is None else []
            several = [(replace(known[name], checkpoint=hub), options.weights) for hub in published]
            for reference, option in several or [(known[name], option) for option in _truths(known[name], options)]:
                weights = choose(reference, option, kept)
                stores.append(GoldenStore(dressed(reference, weights), root or project().golden_folder, kept, weights))
    except _TOLD as error:
        print(f"golden: {error}", file=sys.stderr)
        return 2
    with quiet():
        return max([_done(store, options) for store in stores])


def _truths(reference: Reference, options: argparse.Namespace) -> list[str]:
    """Return the weights to take: without `--weights`, for looking, all whose truth git keeps."""
    if options.weights != AUTO or not options.looks or not reference.trained or not reference.seed:
        return [options.weights]
    if missing := lacking(reference.trained):
        print(f"{reference.name}, trained weights: not looked at, {', '.join(missing)} not installed")
        return ["seeded"]
    return ["trained", "seeded"]


def _done(store: GoldenStore, options: argparse.Namespace) -> int:
    """Run the verb on one system. A failure does not keep the other systems from their turn."""
    try:
        return int(options.do(store, options))
    except ExtraWanted as error:
        print(f"golden: {store.reference.name} skipped: {error}", file=sys.stderr)
    except _TOLD as error:
        print(f"golden: {error}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m parity golden", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, do, help in (
        ("refresh", _refresh, "record again and write it; needs a reason where a recorded value changes"),
        ("verify", _verify, "record again and compare with what is recorded"),
        ("diff", _diff, "what a refresh would change; writes nothing"),
        ("status", _status, "fresh, stale, missing or damaged; records nothing"),
    ):
        verb = verbs.add_parser(name, help=help)
        verb.add_argument("systems", nargs="*", metavar="SYSTEM", help="all by default")
        verb.add_argument("--weights", **OPTION)
        if name != "status":
            verb.add_argument("--cases", nargs="+", default=[], metavar="CASE", help="only these")
        if name == "refresh":
            verb.add_argument("--reason", default="", help="why recorded values change; goes into the history")
            verb.add_argument("--again", action="store_true", help="record again what an unfinished refresh recorded")
        if name == "verify":
            verb.add_argument("--allow-rounding", action="store_true", help="accept another machine's rounding")
        verb.set_defaults(do=do, looks=name in ("status", "verify"))
    return parser


def _refresh(store: GoldenStore, options: argparse.Namespace) -> int:
    try:
        report = refresh(store, _cases(store, options.cases), options.reason, _say, again=options.again)
    except ReasonWanted as refused:
        print(refused.report)
        print(f"golden: {refused}", file=sys.stderr)
        return 1
    print(report)
    size = sum(path.stat().st_size for path in tracked(store.root)) / 1e6
    print(f"  {'written' if report.written else 'nothing to write'}: {size:.1f} MB of goldens in git")
    return 0


def _diff(store: GoldenStore, options: argparse.Namespace) -> int:
    report = diff(store, _cases(store, options.cases), _say)
    print(report)
    return 0 if report.same else 1


def _verify(store: GoldenStore, options: argparse.Namespace) -> int:
    report, faults = verify(store, _cases(store, options.cases), _say)
    print(report)
    for fault in faults:
        print(f"  {fault}")
    holds = not faults and (report.same or (options.allow_rounding and report.same_truth))
    if holds:
        print(
            "  verified: the same bits" if report.same else "  verified: the same truth, up to this machine's rounding"
        )
    elif report.same_truth and not report.same:
        print("  not verified: it differs by rounding only; on another machine, --allow-rounding accepts that")
    else:
        print("  not verified")
    return 0 if holds else 1


def _status(store: GoldenStore, options: argparse.Namespace) -> int:
    found = status(store)
    print(found)
    return 0 if found.fresh else 1


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def _cases(store: GoldenStore, names: list[str]) -> list[Case]:
    return [store.reference.case(name) for name in dict.fromkeys(names)]


def _named(names: list[str], known: Mapping[str, Reference]) -> list[str]:
    if not known:
        places = ", ".join(project().systems)
        raise ValueError(f"there is no system: {places} in {project().root} declares none. Write one there")
    for name in names:
        if name not in known:
            raise ValueError(f"there is no system {name!r}; there are {', '.join(known)}")
    return list(dict.fromkeys(names)) or list(known)
