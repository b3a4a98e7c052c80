"""Run coremltools' suites on milrun: ``python -m tests.conformance``."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.conformance import entries, records
from tests.conformance.progress import Progress
from tests.conformance.records import Record
from tests.conformance.shards import Settings, Shards, kill
from tests.conformance.suites import SUITES, coremltools_folder
from tests.conformance.summary import Summary


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--suite", action="append", choices=SUITES, help="run this suite (may be repeated)")
    parser.add_argument("--sample", type=fraction, default=1, metavar="1/N", help="run one test in N, always the same")
    parser.add_argument("--match", metavar="GLOB", action="append", help="run the tests whose id matches, * being any")
    parser.add_argument("--shards", type=int, default=min(os.cpu_count() or 1, 8), help="processes at a time")
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="SECONDS", help="for each test")
    parser.add_argument("--resume", action="store_true", help="keep the results of an earlier run that did not end")
    parser.add_argument("--out", type=Path, default=Path("build/conformance"), help="where the results go")
    parser.add_argument("--every-opset", action="store_true", help="run op tests for every newer opset as well")
    parser.add_argument("--export", action="store_true", help="run the torch tests through torch.export as well")
    parser.add_argument("--known", type=Path, default=entries.KNOWN_FILE, help=argparse.SUPPRESS)
    parser.add_argument("--bounds", type=Path, default=entries.BOUNDS_FILE, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def fraction(text: str) -> int:
    one, _, number = text.partition("/")
    if one != "1" or not number.isdigit() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 1/N")
    return int(number)


def settings_of(options: argparse.Namespace) -> Settings:
    environment = {
        "OMP_NUM_THREADS": "1",
        "TQDM_DISABLE": "1",
        "PYMIL_TEST_TARGETS": "mlprogram",
        "INCLUDE_MIL_FP32_UNIT_TESTS": "1",
        "RUN_BACKWARD_COMPATIBILITY": "1" if options.every_opset else "0",
        "TORCH_FRONTENDS": "TORCHSCRIPT,TORCHEXPORT" if options.export else "TORCHSCRIPT",
    }
    root = (options.root or coremltools_folder()).resolve()
    return Settings(
        root, options.out.resolve(), options.time_limit, options.bounds.resolve(), options.bare, environment
    )


def collect(settings: Settings, paths: list[str]) -> tuple[list[str], dict[str, str]]:
    """The ids of all tests, and what could not be collected, with the reason."""
    ids, errors, log = (settings.out / name for name in ("collected.ids", "collected.errors", "collect.log"))
    for file in (ids, errors):
        file.unlink(missing_ok=True)
    options = ["--collect-only", "-q", "--conformance-ids", str(ids), "--conformance-errors", str(errors)]
    process = settings.run(settings.command(paths, *options), settings.out / "scratch" / "collect", log)
    try:
        process.wait()
    finally:
        kill(process)
        shutil.rmtree(settings.out / "scratch" / "collect", ignore_errors=True)
    if not ids.exists():
        raise SystemExit(f"collecting the tests failed:\n{log.read_text(errors='replace')[-3000:]}")
    failed = errors.read_text().splitlines() if errors.exists() else []
    return ids.read_text().splitlines(), {path: reason for path, _, reason in (line.partition("\t") for line in failed)}


def sampled(test_id: str, one_in: int) -> bool:
    return int.from_bytes(hashlib.sha256(test_id.encode()).digest()[:8], "big") % one_in == 0


def run(settings: Settings, ids: list[str], shards: int) -> None:
    """Run the tests that have no result yet."""
    done = records.latest(settings.results).keys() & set(ids)
    left = [test_id for test_id in ids if test_id not in done]
    if not left:
        return
    progress = Progress(settings.results, len(ids), set(ids))
    workers = Shards(settings, left, max(1, min(shards, len(left))))
    workers.start()
    try:
        while workers.alive():
            progress.show()
            time.sleep(0.2)
        progress.show(last=True)
    finally:
        workers.stop()


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    known, wider = entries.load(options.known, "known"), entries.load(options.bounds, "wider")
    settings = settings_of(options)
    settings.out.mkdir(parents=True, exist_ok=True)
    if options.resume:
        records.mend(settings.results)
    else:
        settings.results.unlink(missing_ok=True)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        paths = ["."] if options.root else [path for name in options.suite or SUITES for path in SUITES[name]]
        collected, not_collected = collect(settings, paths)
        chosen = [test_id for test_id in collected if sampled(test_id, options.sample)]
        if options.match:
            patterns = [entries.Entry(glob, "") for glob in options.match]
            chosen = [test_id for test_id in chosen if any(pattern.matches(test_id) for pattern in patterns)]
        print(f"{len(collected)} tests collected, {len(chosen)} chosen", flush=True)
        run(settings, chosen, options.shards)
    except KeyboardInterrupt:
        print("interrupted; --resume goes on from here", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
        shutil.rmtree(settings.out / "scratch", ignore_errors=True)
    return report(settings, chosen, collected, not_collected, known, wider)


def report(
    settings: Settings, chosen: list[str], collected: list[str], not_collected: Any, known: Any, wider: Any
) -> int:
    results: dict[str, Record] = records.latest(settings.results)
    chosen_results = {test_id: results[test_id] for test_id in chosen if test_id in results}
    summary = Summary(chosen_results, collected, not_collected, known, wider)
    if left := len(chosen) - len(chosen_results):
        summary.faults.append(f"{left} tests have no result: see the newest log of a worker; --resume runs them")
    summary.write(settings.out)
    print(summary.as_text(), end="", flush=True)
    return 0 if summary.good else 1


if __name__ == "__main__":
    sys.exit(main())
