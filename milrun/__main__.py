"""Command line of milrun: look into packages, run them, time them, compare them."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

import numpy as np

from milrun import __version__
from milrun.errors import ModelError
from milrun.guard import WORK_OF_STRANGERS
from milrun.loading import load
from milrun.numerics import NAMES
from milrun.tools.difference import differences
from milrun.tools.inspection import inspect, text
from milrun.tools.sensitivity import sensitivities
from milrun.tools.timing import measure


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: done, and for ``diff`` no divergence. 1: a divergence. 2: a bad package, input or argument."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.do(options) or 0)
    except (ModelError, ValueError, OSError) as error:
        print(f"milrun: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="milrun", description=__doc__)
    parser.add_argument("--version", action="version", version=f"milrun {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser("inspect", help="inputs, outputs, states, functions, ops, weights, precisions")
    verb.add_argument("package")
    verb.add_argument("--mil", action="store_true", help="the programs as text, as a compiled model has them")
    verb.set_defaults(do=lambda o: print(text(o.package) if o.mil else inspect(o.package)))

    verb = verbs.add_parser("run", help="run a package on the arrays of one .npz, write its outputs to another")
    verb.add_argument("package")
    verb.add_argument("inputs")
    verb.add_argument("outputs")
    verb.add_argument("--function", help="one of several functions of the package")
    verb.add_argument("--seed", type=int, help="fixes the random ops")
    _add_numerics(verb)
    _add_work(verb)
    verb.set_defaults(do=_run)

    verb = verbs.add_parser("bench", help="load time, latency, peak memory, the ten costliest ops")
    verb.add_argument("package")
    verb.add_argument("inputs", nargs="?", help="an .npz; random inputs of the default shapes without it")
    verb.add_argument("--repeats", type=int, default=10)
    _add_numerics(verb)
    _add_work(verb)
    verb.set_defaults(do=lambda o: print(measure(o.package, _arrays(o.inputs), o.numerics, o.repeats, o.work)))

    verb = verbs.add_parser("diff", help="the first value that diverges between two packages, by name")
    verb.add_argument("package")
    verb.add_argument("other")
    verb.add_argument("inputs")
    verb.add_argument("--tolerance", type=float, default=1e-2, help="relative L2 that is not a divergence (1e-2)")
    verb.add_argument("--other-numerics", choices=NAMES, help="for the second package, if not the same")
    _add_numerics(verb)
    _add_work(verb)
    verb.set_defaults(do=_diff)

    verb = verbs.add_parser("sensitivity", help="which hazards reported for the Neural Engine break the outputs")
    verb.add_argument("package")
    verb.add_argument("inputs")
    _add_work(verb)
    verb.set_defaults(do=lambda o: print(*sensitivities(o.package, _arrays(o.inputs) or {}, o.work), sep="\n"))
    return parser


def _add_numerics(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--numerics", choices=NAMES, default="declared")


def _add_work(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--work",
        type=_limit,
        default=WORK_OF_STRANGERS,
        metavar="NUMBER",
        help="the most multiplications and elements of one run; the default, 3e12, takes minutes, inf sets no limit",
    )


def _limit(text: str) -> int | None:
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit >= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 up, or inf for no limit")
    return None if limit == math.inf else int(limit)


def _arrays(path: str | None) -> dict[str, Any] | None:
    if path is None:
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _run(options: argparse.Namespace) -> None:
    chosen = {"numerics": options.numerics, "function": options.function, "seed": options.seed, "work": options.work}
    model = load(options.package, **chosen)
    outputs = model.predict(_arrays(options.inputs) or {}, model.make_state())
    for name, value in outputs.items():
        if not isinstance(value, np.ndarray):
            raise ValueError(f"output {name!r} is a {type(value).__name__}, which an .npz can't hold")
    np.savez(options.outputs, **outputs)
    for name, value in outputs.items():
        print(f"{name}  {value.dtype} {value.shape}")


def _diff(options: argparse.Namespace) -> int:
    first = load(options.package, numerics=options.numerics, seed=0, work=options.work)
    second = load(options.other, numerics=options.other_numerics or options.numerics, seed=0, work=options.work)
    compared, worst = 0, None
    for difference in differences(first, second, _arrays(options.inputs) or {}):
        compared += 1
        if not difference.relative_l2 <= options.tolerance or difference.fault:
            print(f"first divergence, after {compared - 1} values that agree: {difference}")
            return 1
        if worst is None or difference.relative_l2 > worst.relative_l2:
            worst = difference
    print(f"{compared} values agree; the furthest apart: {worst}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
