"""Obstacles to a run: truth, gates and weights that are missing, found before anything is built and said once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from parity.base.text import duration, many
from parity.declarations import Case, System
from parity.golden.errors import DamagedGolden, GoldenError, MissingGolden
from parity.golden.store import GoldenStore
from parity.plan.checks import CHAIN, chosen, tables
from parity.plan.systems import systems
from parity.plan.weights import Weights, WeightsError
from parity.record.suite import Suite
from parity.verdict import Check

Table = tuple[str, str]


def obstacles(suite: Suite, checks: Iterable[Check], gated: bool = True) -> dict[str, str]:
    """Return the checks that can't be judged, by id, each with the reason and the mend.

    Args:
        suite: The suite of the run.
        checks: The checks to be made.
        gated: Whether a check needs gates.
    """
    found: dict[str, str] = {}
    by_system: dict[str, list[Check]] = {}
    for check in checks:
        by_system.setdefault(check.system, []).append(check)
    known: dict[int, dict[str, str]] = {}
    for name, own in by_system.items():
        try:
            truth = _of_truth(suite, systems()[name], own, known)
            unseamed = _of_seams(suite, systems()[name], [case for case, said in truth.items() if not said])
            ungated = _of_gates(suite, systems()[name]) if gated else {}
        except (WeightsError, ValueError) as error:  # weights that are not there, gates that can't be read
            found |= {check.id: str(error) for check in own}
            continue
        for check in own:
            untrue = (truth[case.name] for case in chosen(systems()[name], check.case) if truth[case.name])
            unknown = unseamed.get(check.stage)
            if said := next(untrue, "") or unknown or ungated.get((check.stage, check.variant)):
                found[check.id] = said
    return found


def _of_truth(
    suite: Suite, system: System, checks: Sequence[Check], known: dict[int, dict[str, str]]
) -> Mapping[str, str]:
    """Return the cases whose truth can't be used. Systems that share a reference have the same obstacles."""
    store = suite.goldens(system)
    said = known.setdefault(id(store.transaction), {})
    names = {case.name: None for check in checks for case in chosen(system, check.case)}
    if not names.keys() <= said.keys():
        said |= _unusable(store, [store.reference.case(name) for name in names])
    return said


def _unusable(store: GoldenStore, cases: Sequence[Case]) -> dict[str, str]:
    """Return what is wrong with the truth of each case, the same words for cases that have the same fault."""
    faults: dict[tuple[str, str], list[str]] = {}
    missing: list[Case] = []
    for case in cases:
        try:
            store.assert_usable(case)
        except MissingGolden:
            missing.append(case)
        except DamagedGolden as error:
            faults.setdefault((f"{error}", ""), []).append(case.name)
        except GoldenError as error:
            faults.setdefault((error.why, error.mend), []).append(case.name)
    if missing:
        seconds = store.estimate(missing)
        time = f"about {duration(seconds)}" if seconds else "how long that takes is not known on this machine"
        key = f"no truth was ever recorded with {_named(store.weights)}", f"{store.mending(missing)}, {time}"
        faults[key] = [case.name for case in missing]
    found = dict.fromkeys((case.name for case in cases), "")
    for (why, mend), names in faults.items():
        said = f"{store.reference.name}, case{'s' * (len(names) > 1)} {', '.join(names)}: {why}. Mend: {mend}"
        found |= dict.fromkeys(names, said if mend else why)
    return found


def _of_seams(suite: Suite, system: System, cases: Sequence[str]) -> dict[str, str]:
    """Return the stages that no seam of the reference is named after; then the chain can't be judged either."""
    store = suite.goldens(system)
    lock = store.read_lock() if cases else None
    if lock is None:
        return {}
    seams = dict.fromkeys(seam.stage for case in cases for seam in lock.cases[case].seams)
    lost = [stage.name for stage in system.every if not {stage.name, f"{system.scope}.{stage.name}"} & seams.keys()]
    said = (
        f"{system.name}: the reference {system.reference.name} has no seam for {', '.join(lost)}; its seams are "
        f"{', '.join(seams)}. Mend: rename the stage, or rename the seam in the reference, then {store.mend}"
    )
    return dict.fromkeys([*lost, CHAIN], said) if lost else {}


def _named(weights: Weights) -> str:
    return f"the weights {weights.path}" if weights.path else f"{weights.source} weights"


def _of_gates(suite: Suite, system: System) -> dict[Table, str]:
    """Return the stages and variants of which an output has no gates, or gates that are blind to the same fault."""
    gates = suite.gates(system)
    wanted = list(dict.fromkeys(tables(system)))
    bare = [table for table in wanted if table not in gates.tables]
    said: dict[Table, str] = {table[:2]: gates.blind[table] for table in wanted if table in gates.blind}
    if bare:
        weights = suite.weights(system)
        option = f" --weights {weights.option}" if weights.folder else ""
        first = f"{many(len(bare), 'output')} without a gate, such as {'.'.join(bare[0])}"
        line = f"{system.name}: {first}. Measure them: python -m parity calibrate {system.name}{option}"
        said |= {table[:2]: line for table in bare}
    return said
